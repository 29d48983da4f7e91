"""A wallet's split at any instant of the past, and its statement.

Whoever asks first waits for those that are writing to the wallet (`settled`). After that nothing that counts earlier
can be written any more, so the same question gets the same answer whenever it is asked.
"""

from collections.abc import Sequence
from datetime import datetime
from heapq import merge
from typing import Any, NamedTuple
from uuid import UUID

from db.connections import Reader
from db.lists import LOOKED_AT_MAX
from db.sql import load
from db.strict import at_most_one, one, whole
from wallet.ids import first_id_of, instant_of
from wallet.ledger import WalletId
from wallet.positions import Position, entry_of_end

_SQL = load("statements")
_NULLABLE = ("peer_user_id", "made_by")


class Split(NamedTuple):
    """A wallet's money, or a change of it, in minor units."""

    withdrawable: int = 0
    locked: int = 0
    held: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.withdrawable + self.locked + self.held

    def plus(self, effect: "Split") -> "Split":
        """Return the split after an effect."""
        return Split(
            self.withdrawable + effect.withdrawable, self.locked + effect.locked, self.held + effect.held
        )


class Entry(NamedTuple):
    """A movement in a statement, with the split before which it has `effect`."""

    id: UUID
    kind: str
    effect: Split
    after: Split
    reference: UUID
    counterparty: str | None
    by: str | None
    created_at: datetime
    """The instant from which it counts."""


class Entries(NamedTuple):
    """Entries, oldest first."""

    items: list[Entry]
    last: tuple[UUID, datetime] | None
    """The row or entry after which the next ones come, and its instant; None if there are none."""
    closing: Split
    """The split after these."""


async def currencies(reader: Reader, user_id: str) -> list[str]:
    """Return the currencies that a user has wallets in. Raises Unavailable."""
    return [whole(row)["currency"] for row in await reader.fetch(_SQL["wallets_of"], user_id)]


async def present(reader: Reader) -> datetime:
    """Return the present by the database's clock. Raises Unavailable."""
    now: datetime = one(await reader.fetch(_SQL["now"]))["now"]
    return now


async def settled(reader: Reader, wallet: WalletId) -> datetime:
    """Return the present: before it, nothing will be written to the wallet any more. Raises Unavailable."""
    row = at_most_one(await reader.fetch(_SQL["wait_for_writers"], *wallet))
    if row is None:
        # A wallet is committed before anything is written to it. So if it is not there after the clock was read,
        # whatever will be written to it is later.
        now = await present(reader)
        row = at_most_one(await reader.fetch(_SQL["wait_for_writers"], *wallet))
        if row is None:
            return now
    of_wallet: datetime = row["now"]
    return of_wallet


async def archived_before(reader: Reader, wallet: WalletId) -> datetime | None:
    """Return the instant from which on the wallet's books are whole; None: nothing of it is archived.

    Raises Unavailable.
    """
    row = at_most_one(await reader.fetch(_SQL["archived_before"], *wallet))
    return None if row is None else row["before"]


async def split(reader: Reader, wallet: WalletId, position: Position) -> Split | None:
    """Return the split at a position before `settled`; None: the wallet was not there yet. Raises Unavailable."""
    row = at_most_one(await reader.fetch(_SQL["split"], *wallet, *position))
    return None if row is None else Split(*row)


async def entries(
    reader: Reader, wallet: WalletId, start: Position, end: datetime, opening: Split, limit: int
) -> Entries:
    """Return up to `limit` entries that count from `start`, where the split is `opening`, and before `end`.

    There may be fewer though more follow: only so many rows are looked at. Raises Unavailable.
    """
    rows = [
        whole(row, _NULLABLE)
        for row in await reader.fetch(
            _SQL["rows"], *wallet, start.row, first_id_of(end), limit + 1, LOOKED_AT_MAX
        )
    ]
    effects = await reader.fetch(_SQL["effects"], *wallet, start.at, start.source, end, limit + 1)
    found = list(merge(map(_row, filter(_matches, rows)), map(_effect, effects)))
    looked_at_all = not rows or rows[-1]["number"] < LOOKED_AT_MAX
    end_of_page: tuple[UUID, datetime] | None = None
    if not looked_at_all:
        last: UUID = rows[-1]["id"]
        found = [one for one in found if one[:3] <= (instant_of(last), last, 0)]
        end_of_page = last, instant_of(last)
    if len(found) > limit:
        del found[limit:]
        end_of_page = found[-1][3].id, found[-1][0]
    items = []
    after = opening
    for *_, entry in found:
        after = after.plus(entry.effect)
        items.append(entry._replace(after=after))
    return Entries(items, end_of_page, after)


_Found = tuple[datetime, UUID, int, Entry]
"""An entry behind its place in the order: no two have the same."""


def _matches(row: Any) -> bool:
    matches: bool = row["matches"]
    return matches


def _row(row: Any) -> _Found:
    id: UUID = row["id"]
    effect = _between(row["debit_account"], row["credit_account"], row["amount"])
    entry = Entry(
        id,
        row["kind"],
        effect,
        Split(),
        row["reference"],
        row["peer_user_id"],
        row["made_by"],
        row["created_at"],
    )
    return instant_of(id), id, 0, entry


def _effect(row: Any) -> _Found:
    account, amount, source, at = whole(row)
    kind = "void" if account == "held" else "release"
    effect = _between(account, "available", amount)
    entry = Entry(entry_of_end(source), kind, effect, Split(), source, None, None, at)
    return at, source, 1, entry


_ACCOUNTS: Sequence[str] = ("available", "locked", "held")


def _between(debit: str, credit: str, amount: int) -> Split:
    return Split(*(amount * ((account == credit) - (account == debit)) for account in _ACCOUNTS))
