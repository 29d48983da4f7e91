"""Filters of the lists: what of a wallet, or of all wallets, is asked for."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from db.lists import FIRST_ID, LAST_ID, Span
from gateway.contract.cursors import read_cursor
from gateway.contract.idempotency_keys import KEY_PATTERN, BadKey, plain_key
from gateway.contract.parameters import (
    LIMIT_DEFAULT,
    LIMIT_MAX,
    OFFSET_MAX,
    WAIT_S_MAX,
    CurrencyText,
)
from gateway.contract.request_models import CURSOR_PATTERN
from gateway.contract.response_models import StatusName
from gateway.contract.transfer_models import HoldStatusName
from gateway.contract.user_ids import UserIdText
from wallet.errors import ValidationFailed
from wallet.ids import first_id_of

CursorText = Annotated[
    str, Meta(pattern=CURSOR_PATTERN, description="`next_cursor` of the page before, with the same filters.")
]
LimitNumber = Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="Items on a page, at most.")]
CreatedFrom = Annotated[
    datetime, Meta(tz=True, description="RFC 3339 with an offset: only what came into being then or later.")
]
CreatedTo = Annotated[
    datetime, Meta(tz=True, description="RFC 3339 with an offset: only what came into being before.")
]
KeyText = Annotated[
    str,
    Meta(
        extra_json_schema={"pattern": KEY_PATTERN},
        description="Key of the request that made it: what is within the quotes, if it came in quotes. Blanks "
        "around it are no part of it. It finds the one object, and goes together with no filter.",
    ),
]


class TimeQuery(msgspec.Struct, kw_only=True):
    """Names a part of a list."""

    created_from: CreatedFrom | None = None
    created_to: CreatedTo | None = None
    limit: LimitNumber = LIMIT_DEFAULT
    cursor: CursorText | None = None

    def span(self) -> Span:
        """Return the identifiers that the time and the cursor let through. Raises ValidationFailed."""
        if self.created_from and self.created_to and self.created_from >= self.created_to:
            raise ValidationFailed([("created_to", "must be after created_from")])
        ends = [LAST_ID]
        if self.created_to is not None:
            ends.append(first_id_of(self.created_to))
        if self.cursor is not None:
            ends.append(read_cursor(self.cursor))
        return Span(FIRST_ID if self.created_from is None else first_id_of(self.created_from), min(ends))


class TransactionsQuery(TimeQuery, kw_only=True):
    """Names a wallet and a part of its list."""

    user_id: UserIdText
    currency: CurrencyText | None = None
    type: (
        Annotated[
            Literal["charge", "withdrawal"],
            Meta(title="TransactionKind", description="Only these. Left out, both."),
        ]
        | None
    ) = None
    status: (
        Annotated[
            StatusName, Meta(description="Only those that are there now. Charges are always completed.")
        ]
        | None
    ) = None
    page: (
        Annotated[
            int,
            Meta(
                ge=1,
                description=f"From 1; page × limit may reach {OFFSET_MAX}. Further down, and with a filter, use "
                "`cursor`.",
            ),
        ]
        | None
    ) = None

    def check(self) -> None:
        """Raise ValidationFailed unless the parameters go together."""
        if self.page is None:
            return
        others = ("cursor", "type", "status", "created_from", "created_to")
        given = [name for name in others if getattr(self, name) is not None]
        if given:
            raise ValidationFailed([("page", f"can't be given together with {', '.join(given)}")])
        if self.page * self.limit > OFFSET_MAX:
            raise ValidationFailed(
                [("page", f"page × limit must be at most {OFFSET_MAX}; go on with cursor")]
            )

    @property
    def is_filtered(self) -> bool:
        """Whether it names a part by something else than a page."""
        filters = (self.cursor, self.type, self.status, self.created_from, self.created_to)
        return any(value is not None for value in filters)


class ListQuery(TimeQuery, kw_only=True):
    """Names a wallet and a part of its list, or one object by its key."""

    user_id: UserIdText | None = None
    currency: CurrencyText | None = None
    idempotency_key: KeyText | None = None

    def key(self) -> str:
        """Return the key in its one form. Raises ValidationFailed."""
        try:
            return plain_key(self.idempotency_key or "")
        except BadKey as bad:
            raise ValidationFailed([("idempotency_key", str(bad))]) from None

    def check(self, *, of_all: bool) -> None:
        """Raise ValidationFailed unless the parameters go together. `of_all`: a list needs no `user_id`."""
        errors = []
        if self.idempotency_key is not None:
            others = (
                name for name in self.__struct_fields__ if name not in ("idempotency_key", "limit", "wait")
            )
            errors += [
                (name, "can't be given together with idempotency_key")
                for name in others
                if getattr(self, name) is not None
            ]
        elif self.user_id is None:
            if not of_all:
                errors.append(("user_id", "is required, or idempotency_key"))
            if self.currency is not None:
                errors.append(("currency", "needs user_id"))
        if errors:
            raise ValidationFailed(errors)


class ChargesQuery(ListQuery, kw_only=True):
    """Names charges."""


class TransfersQuery(ListQuery, kw_only=True):
    """Names transfers."""

    type: (
        Annotated[
            Literal["sent", "received"],
            Meta(
                title="TransferDirection",
                description="What the wallet has paid, or what it was paid. Left out, both.",
            ),
        ]
        | None
    ) = None


class HoldsQuery(ListQuery, kw_only=True):
    """Names holds."""

    status: Annotated[HoldStatusName, Meta(description="As they are now.")] | None = None


class WithdrawalsQuery(ListQuery, kw_only=True):
    """Names withdrawals."""

    status: Annotated[StatusName, Meta(description="As they are now.")] | None = None
    wait: Annotated[
        float,
        Meta(
            ge=0,
            le=WAIT_S_MAX,
            description="With `idempotency_key`: seconds to wait for an end state before answering.",
        ),
    ] = 0.0

    def check(self, *, of_all: bool) -> None:
        """Raise ValidationFailed unless the parameters go together."""
        ListQuery.check(self, of_all=of_all)
        if self.wait and self.idempotency_key is None:
            raise ValidationFailed([("wait", "needs idempotency_key")])
