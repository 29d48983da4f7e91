"""Reads of balances, transactions and withdrawals. Each costs the same however long the history is."""

from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from db.connections import Reader
from db.errors import MalformedAnswer
from db.lists import EVER, LOOKED_AT_MAX, Span
from db.sql import load
from db.strict import one, require, whole
from wallet.errors import WithdrawalNotFound
from wallet.ledger import WalletId

_SQL = load("reads")
_NULLABLE = (
    "release_at",
    "destination",
    "metadata",
    "failure_code",
    "failure_reason",
    "bank_reference",
    "reference",
)
_NULLABLE_OF_A_CHARGE = (*_NULLABLE, "status")

_NUMBER = itemgetter("number")

CURRENCIES_MAX = 4
"""Number of currencies per query for balances, which looks for each of its users in each of its currencies."""

NUMBERED_LOOKED_AT_MAX = 20_000
"""Rows that numbered pages look at, all of them at the same ones: the wallet's newest. A cursor leads on from there."""


class Balance(NamedTuple):
    """A wallet's split, in minor units: total = withdrawable + locked + held."""

    user_id: str
    currency: str
    total: int
    withdrawable: int
    locked: int
    held: int


class TransactionRow(NamedTuple):
    """A charge (status `completed`) or a withdrawal (with its present status); `amount` is always positive."""

    id: UUID
    kind: str
    amount: int
    status: str
    release_at: datetime | None
    destination: str | None
    metadata: str | None
    created_at: datetime


class TransactionPage(NamedTuple):
    """Transactions, newest first; `total` counts all of the wallet's, `next` is where the next page begins, if any."""

    items: list[TransactionRow]
    total: int
    next: UUID | None


class AskedPage(NamedTuple):
    """Names a page of a wallet's transactions: `limit` of those in the span, newest first."""

    wallet: WalletId
    span: Span
    limit: int


class HistoryEntry(NamedTuple):
    """One state of a withdrawal: its start, reason and author, who is None in rows older than that record."""

    status: str
    at: datetime
    reason: str
    by: str | None


class WithdrawalView(NamedTuple):
    """A withdrawal as it is now."""

    id: UUID
    user_id: str
    currency: str
    amount: int
    status: str
    attempts: int
    next_attempt_at: datetime
    destination: str | None
    metadata: str | None
    failure_code: str | None
    failure_reason: str | None
    bank_reference: str | None
    reference: UUID | None
    created_at: datetime
    updated_at: datetime
    history: list[HistoryEntry]


async def balances(reader: Reader, ids: Sequence[WalletId]) -> dict[WalletId, Balance]:
    """Return the balances of wallets, with one query per CURRENCIES_MAX currencies. Unknown wallets have zeros.

    Raises Unavailable.
    """
    found: dict[WalletId, Balance] = {}
    currencies = sorted({currency for _, currency in ids})
    for first in range(0, len(currencies), CURRENCIES_MAX):
        some = currencies[first : first + CURRENCIES_MAX]
        users = {user_id for user_id, currency in ids if currency in some}
        rows = await reader.fetch(_SQL["balances"], users, some)
        for user_id, currency, available, locked, held, matured, expired in rows:
            found[user_id, currency] = Balance(  # a NULL would make the sums fail
                user_id,
                currency,
                available + locked + held,
                available + matured + expired,
                locked - matured,
                held - expired,
            )
    for id in ids:
        if id not in found:
            found[id] = Balance(*id, 0, 0, 0, 0)
    return found


async def pages(
    reader: Reader,
    asked: Sequence[AskedPage],
    *,
    skip: int | None = None,
    kind: str | None = None,
    status: str | None = None,
) -> dict[AskedPage, TransactionPage | MalformedAnswer]:
    """Return pages of wallets' transactions, of a kind and status if one is given. Raises Unavailable.

    `skip` is the number of transactions before a numbered page; None: it is not one. A page whose rows make no sense
    is an error of its own.
    """
    looked_at = LOOKED_AT_MAX if skip is None else NUMBERED_LOOKED_AT_MAX
    columns = zip(
        *((*page.wallet, page.span.end, page.span.first, page.limit + 1) for page in asked), strict=True
    )
    rows = await reader.fetch(_SQL["transactions"], *columns, skip or 0, looked_at, kind, status)
    of_page: list[list[Any]] = [[] for _ in asked]
    for row in rows:
        of_page[row["page"] - 1].append(row)
    found: dict[AskedPage, TransactionPage | MalformedAnswer] = {}
    for page, its_rows in zip(asked, of_page, strict=True):
        try:
            one_page = _page(its_rows, page.limit, looked_at)
        except MalformedAnswer as error:
            found[page] = error
            continue
        shows_all = (skip or 0) + len(one_page.items) == one_page.total
        if shows_all and page.span == EVER and kind is None and status is None:
            one_page = one_page._replace(next=None)
        found[page] = one_page
    return found


async def transactions(
    reader: Reader,
    wallet: WalletId,
    *,
    limit: int,
    span: Span = EVER,
    skip: int | None = None,
    kind: str | None = None,
    status: str | None = None,
) -> TransactionPage:
    """Return one of such pages. Raises Unavailable, MalformedAnswer."""
    asked = AskedPage(wallet, span, limit)
    page = (await pages(reader, [asked], skip=skip, kind=kind, status=status))[asked]
    if isinstance(page, MalformedAnswer):
        raise page
    if skip and page.next is None and skip + len(page.items) < page.total:
        # The row that ends the part which was looked at may be among those that were skipped.
        row = await reader.fetchrow(_SQL["end_of_numbered"], *wallet, NUMBERED_LOOKED_AT_MAX)
        return page._replace(next=None if row is None else whole(row)["id"])
    return page


def _page(rows: Sequence[Any], limit: int, looked_at: int) -> TransactionPage:
    require(bool(rows), "a page")
    if len(rows) == 1 and rows[0]["id"] is None:
        return TransactionPage([], rows[0]["total"] or 0, None)
    rows = sorted(rows, key=_NUMBER)
    items = [
        TransactionRow(
            row["id"],
            "charge" if row["kind"] == "charge" else "withdrawal",
            row["amount"],
            row["status"] or "completed",
            row["release_at"],
            row["destination"],
            row["metadata"],
            row["created_at"],
        )
        for row in rows
        if whole(row, _NULLABLE_OF_A_CHARGE)["matches"]
    ]
    next = None
    if len(items) > limit:
        next = items[limit - 1].id
    elif rows[-1]["number"] == looked_at:
        next = rows[-1]["id"]
    return TransactionPage(items[:limit], rows[0]["total"], next)


async def withdrawals(reader: Reader, ids: Sequence[UUID]) -> list[WithdrawalView]:
    """Return these withdrawals with their histories, in this order; without those that are not there.

    Raises Unavailable.
    """
    found = {}
    for row in await reader.fetch(_SQL["withdrawals"], ids):
        *values, statuses, times, reasons, made_by = whole(row, _NULLABLE)
        history = [HistoryEntry(*entry) for entry in zip(statuses, times, reasons, made_by, strict=True)]
        found[row["id"]] = WithdrawalView._make((*values, history))
    return [found[id] for id in ids if id in found]


async def withdrawal(reader: Reader, id: UUID) -> WithdrawalView:
    """Return a withdrawal with its history. Raises WithdrawalNotFound, Unavailable."""
    for found in await withdrawals(reader, [id]):
        return found
    raise WithdrawalNotFound("no such withdrawal")


async def withdrawal_by_key(reader: Reader, space: str, key: str) -> WithdrawalView:
    """Return the withdrawal that was made under this key of the space. Raises WithdrawalNotFound, Unavailable."""
    row = await reader.fetchrow(_SQL["withdrawal_id_by_key"], space, key)
    if row is None:
        raise WithdrawalNotFound("no withdrawal was made under this idempotency key")
    return await withdrawal(reader, whole(row)["id"])


class KnownBefore(NamedTuple):
    """Whether a wallet is there, and whether a key was used: what was taken once goes on."""

    wallet: bool
    key: bool


async def known_before(
    reader: Reader, user_id: str, currency: str, space: str = "", key: str = ""
) -> KnownBefore:
    """Return whether the wallet is there, and whether the key was used in the space. Raises Unavailable."""
    return KnownBefore(*one(await reader.fetch(_SQL["known_before"], user_id, currency, space, key)))


async def ended(reader: Reader, ids: Sequence[UUID]) -> set[UUID]:
    """Return the withdrawals that will not change by themselves any more (ended, or requiring attention)."""
    rows = await reader.fetch(_SQL["ended"], list(ids))
    return {whole(row)["id"] for row in rows}


async def queue_length(reader: Reader) -> int:
    """Return the number of accepted withdrawals that have not ended and do not require attention."""
    count: int = one(await reader.fetch(_SQL["queue_length"]))["withdrawals"]
    return count


class Attention(NamedTuple):
    """A withdrawal that requires attention, for the operator."""

    id: UUID
    user_id: str
    currency: str
    amount: int
    failure_code: str | None
    failure_reason: str | None
    attempts: int
    created_at: datetime
    updated_at: datetime


async def requiring_attention(
    reader: Reader, *, after: UUID | None = None, limit: int = 100
) -> list[Attention]:
    """Return a page of the withdrawals that require attention, the oldest first. Raises Unavailable."""
    rows = await reader.fetch(load("withdrawals")["requiring_attention"], after, limit)
    return [Attention(*(whole(row, _NULLABLE)[name] for name in Attention._fields)) for row in rows]
