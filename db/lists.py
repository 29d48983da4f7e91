"""Lists of charges, transfers, holds and withdrawals, newest first, however long the history is."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from db.connections import Reader
from db.sql import load
from db.strict import at_most_one, whole
from wallet.ledger import WalletId

_SQL = load("lists")

LOOKED_AT_MAX = 2_000
"""Rows that a page looks at, whether or not they match: it then ends, though it may have few items or none."""

FIRST_ID = UUID(int=0)
LAST_ID = UUID(int=2**128 - 1)


class Span(NamedTuple):
    """Identifiers from `first` on and before `end`: those of a time, because they ascend with it."""

    first: UUID = FIRST_ID
    end: UUID = LAST_ID


EVER = Span()


class Page(NamedTuple):
    """Identifiers, newest first, and the position that the next page begins before; None if nothing is left."""

    ids: list[UUID]
    next: UUID | None


async def charges(reader: Reader, wallet: WalletId, span: Span, limit: int) -> Page:
    """Return a page of a wallet's charges. Raises Unavailable."""
    return await _page(reader, _SQL["charges"], (*wallet, span.end, span.first), limit)


async def transfers(reader: Reader, wallet: WalletId, span: Span, limit: int, type: str | None) -> Page:
    """Return a page of the transfers that a wallet has `sent`, `received`, or (None) both. Raises Unavailable."""
    return await _page(reader, _SQL["transfers"], (*wallet, span.end, span.first), limit, type)


async def holds(reader: Reader, wallet: WalletId | None, span: Span, limit: int, status: str | None) -> Page:
    """Return a page of a wallet's holds, or (None) of all. Raises Unavailable."""
    if wallet is None:
        return await _page(reader, _SQL["holds_of_all"], (span.end, span.first), limit, status)
    return await _page(reader, _SQL["holds_of_wallet"], (*wallet, span.end, span.first), limit, status)


async def withdrawals(
    reader: Reader, wallet: WalletId | None, span: Span, limit: int, status: str | None
) -> Page:
    """Return a page of a wallet's withdrawals, or (None) of all. Raises Unavailable."""
    if wallet is not None:
        return await _page(
            reader, _SQL["withdrawals_of_wallet"], (*wallet, span.end, span.first), limit, status
        )
    if status is None or status == "completed":
        return await _page(reader, _SQL["withdrawals_of_all"], (span.end, span.first), limit, status)
    rows = await reader.fetch(_SQL["withdrawals_not_completed"], span.end, span.first, limit + 1, status)
    return _page_of(rows, limit)


async def by_key(reader: Reader, space: str, key: str, kinds: Sequence[str]) -> UUID | None:
    """Return the movement of one of these kinds that was made under this key of the space, or None.

    Raises Unavailable.
    """
    row = at_most_one(await reader.fetch(_SQL["by_key"], space, key, kinds))
    return None if row is None else row["id"]


async def _page(
    reader: Reader, statement: str, bounds: Sequence[object], limit: int, *filters: str | None
) -> Page:
    rows = await reader.fetch(statement, *bounds, limit + 1, LOOKED_AT_MAX, *filters)
    return _page_of(rows, limit)


def _page_of(rows: Sequence[object], limit: int) -> Page:
    """Return the page: it ends where it is full, or where enough rows were looked at."""
    at: UUID
    found: list[tuple[UUID, UUID]] = []
    for at, id, matches, number in map(whole, rows):
        if matches:
            if len(found) == limit:
                return Page([id for _, id in found], found[-1][0])
            found.append((at, id))
        if number == LOOKED_AT_MAX:
            return Page([id for _, id in found], at)
    return Page([id for _, id in found], None)
