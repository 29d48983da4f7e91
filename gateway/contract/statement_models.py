"""Statements: what is asked for, what is answered, and the lines of a CSV file."""

import csv
from collections.abc import Iterable
from datetime import datetime
from io import StringIO
from typing import Annotated, Literal, cast
from uuid import UUID

import msgspec
from msgspec import Meta

from db import statements
from gateway.contract.parameters import LIMIT_DEFAULT, LIMIT_MAX, CurrencyText, within_books
from gateway.contract.request_models import STATEMENT_CURSOR_PATTERN
from gateway.contract.response_models import Balance, Money
from gateway.contract.user_ids import UserIdBack, UserIds, UserIdText

CSV = "text/csv"

EntryKind = Annotated[
    Literal[
        "charge",
        "release",
        "reserve",
        "payout",
        "refund",
        "return",
        "reversal",
        "send",
        "receive",
        "hold",
        "void",
        "capture",
        "adjustment",
    ],
    Meta(title="EntryKind"),
]
Change = Annotated[int, Meta(description="Minor units; negative if it has become less.")]


class StatementQuery(msgspec.Struct, kw_only=True):
    """Names a wallet and a time."""

    user_id: UserIdText
    currency: CurrencyText | None = None
    from_: (
        Annotated[
            datetime,
            Meta(
                tz=True,
                description="RFC 3339 with an offset: the first instant. Left out, from the beginning.",
            ),
        ]
        | None
    ) = msgspec.field(default=None, name="from")
    to: (
        Annotated[
            datetime,
            Meta(
                tz=True,
                description="RFC 3339 with an offset, not in the future: the instant after the last. Left out, now.",
            ),
        ]
        | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="Entries on a page, at most.")] = LIMIT_DEFAULT
    cursor: (
        Annotated[
            str,
            Meta(
                pattern=STATEMENT_CURSOR_PATTERN,
                description="`next_cursor` of the page before, with the same `from`. It carries `to`.",
            ),
        ]
        | None
    ) = None


class UserWallets(msgspec.Struct):
    """All wallets of a user, by currency."""

    user_id: UserIdBack
    wallets: list[Balance]


class Split(msgspec.Struct, gc=False):
    """What there is in a wallet: total = withdrawable + locked + held."""

    total: Money
    withdrawable: Money
    locked: Money
    held: Money


class Effect(msgspec.Struct, gc=False):
    """What an entry adds to each part of the split."""

    withdrawable: Change
    locked: Change
    held: Change


class StatementEntry(msgspec.Struct, gc=False):
    """A movement, and what there was after it."""

    id: Annotated[
        UUID,
        Meta(
            description="Version 7; version 8 for the end of a lock and the expiry of a hold, which take the rest from "
            "what they end."
        ),
    ]
    kind: EntryKind
    amount: Annotated[int, Meta(description="Minor units: what it adds to the total. 0 within the wallet.")]
    effect: Effect
    balance_after: Split
    reference: Annotated[
        UUID,
        Meta(description="What it belongs to: the charge, transfer, hold, reversal or withdrawal."),
    ]
    counterparty: Annotated[
        UserIdBack | None, Meta(description="The other user of a transfer; null: none, or several.")
    ]
    by: Annotated[
        str | None, Meta(description="The API key that asked for it, or who else did it; null: unknown.")
    ]
    created_at: Annotated[datetime, Meta(description="When it took effect.")]


class Statement(msgspec.Struct):
    """A part of a wallet's statement, oldest first. Opening and closing are those of the whole time."""

    user_id: UserIdBack
    currency: str
    from_: Annotated[
        datetime | None,
        Meta(description="Null: from the beginning."),
    ] = msgspec.field(name="from")
    to: datetime
    opening: Split
    closing: Split
    entries: list[StatementEntry]
    next_cursor: Annotated[
        str | None,
        Meta(
            description="Send it as `cursor`, with the same `from`, for the next page; null at the end. A page may "
            "have fewer entries than `limit`, or none, though more follow."
        ),
    ]


def split_of(split: statements.Split) -> Split:
    """Return a split as responses have it."""
    return Split(split.total, *split)


def entry_of(entry: statements.Entry, user_ids: UserIds) -> StatementEntry:
    """Return an entry as responses have it."""
    return StatementEntry(
        entry.id,
        cast(EntryKind, entry.kind),
        entry.effect.total,
        Effect(*entry.effect),
        split_of(entry.after),
        entry.reference,
        None if entry.counterparty is None else user_ids.back(entry.counterparty),
        entry.by,
        entry.created_at,
    )


FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""What begins so is a formula to a spreadsheet, quoted or not."""

CSV_COLUMNS = (
    "id",
    "kind",
    "amount",
    "withdrawable",
    "locked",
    "held",
    "total_after",
    "withdrawable_after",
    "locked_after",
    "held_after",
    "reference",
    "counterparty",
    "by",
    "created_at",
)


def csv_lines(rows: Iterable[Iterable[object]]) -> bytes:
    """Return lines of a CSV file (RFC 4180)."""
    text = StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def csv_of(entry: statements.Entry) -> list[object]:
    """Return the columns of an entry."""
    return [
        entry.id,
        entry.kind,
        entry.effect.total,
        *entry.effect,
        entry.after.total,
        *entry.after,
        entry.reference,
        _as_text(entry.counterparty),
        _as_text(entry.by),
        _spelled(entry.created_at),
    ]


def csv_of_split(kind: str, split: statements.Split, at: datetime | None) -> list[object]:
    """Return the columns of the `opening` or `closing` split."""
    return [None, kind, *[None] * 4, split.total, *split, None, None, None, at and _spelled(at)]


def _spelled(at: datetime) -> str:
    return within_books(at).isoformat().replace("+00:00", "Z")


def _as_text(value: str | None) -> str | None:
    """Return a text so that a spreadsheet shows it, and does not take it for a formula: it comes from outside."""
    return f"'{value}" if value is not None and value.startswith(FORMULAS) else value
