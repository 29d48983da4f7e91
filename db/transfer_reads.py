"""Reads of charges, transfers and holds by their identifiers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from db.connections import Reader
from db.sql import load
from db.strict import whole
from wallet.commands import Leg
from wallet.errors import ChargeNotFound, HoldNotFound, TransferNotFound
from wallet.receipts import ChargeReceipt, HoldReceipt, TransferReceipt

_SQL = load("reads")
_NULLABLE = ("release_at", "metadata", "expires_at", "transfer_id")

View = TypeVar("View")


class ChargeView(NamedTuple):
    """A charge as it is now, with the minor units that were reversed of it."""

    receipt: ChargeReceipt
    reversed: int


class TransferView(NamedTuple):
    """A transfer as it is now, with the minor units that were reversed of each leg."""

    receipt: TransferReceipt
    reversed_legs: tuple[int, ...]

    @property
    def reversed(self) -> int:
        """Minor units that were reversed of all legs together."""
        return sum(self.reversed_legs)

    def seen_by(self, owns: Callable[[str], bool]) -> "TransferView | None":
        """Return what may be seen by whoever owns some users only; None if nothing.

        Who pays sees all. Who is paid sees from whom, and their own legs; the other legs, and what the payer has noted,
        are not theirs.
        """
        if owns(self.receipt.user_id):
            return self
        mine = [number for number, leg in enumerate(self.receipt.legs) if owns(leg.to_user_id)]
        if not mine:
            return None
        legs = tuple(self.receipt.legs[number] for number in mine)
        receipt = self.receipt._replace(legs=legs, amount=sum(leg.amount for leg in legs), metadata=None)
        return TransferView(receipt, tuple(self.reversed_legs[number] for number in mine))


async def charges(reader: Reader, ids: Sequence[UUID]) -> list[ChargeView]:
    """Return these charges, in this order; without those that are not there. Raises Unavailable."""
    rows = await reader.fetch(_SQL["charges"], ids)
    found = [ChargeView(ChargeReceipt._make(row[:-1]), row[-1]) for row in map(_whole, rows)]
    return _in_order(ids, {view.receipt.id: view for view in found})


async def transfers(reader: Reader, ids: Sequence[UUID]) -> list[TransferView]:
    """Return these transfers, in this order; without those that are not there. Raises Unavailable."""
    found = {}
    for row in map(_whole, await reader.fetch(_SQL["transfers"], ids)):
        legs = tuple(map(Leg, row["payees"], row["amounts"], row["release_ats"]))
        receipt = TransferReceipt(
            row["id"],
            row["user_id"],
            row["currency"],
            row["amount"],
            legs,
            row["metadata"],
            row["created_at"],
        )
        found[receipt.id] = TransferView(receipt, tuple(row["reversed"]))
    return _in_order(ids, found)


async def holds(reader: Reader, ids: Sequence[UUID]) -> list[HoldReceipt]:
    """Return these holds as they are now, in this order; without those that are not there. Raises Unavailable."""
    found = [HoldReceipt._make(_whole(row)) for row in await reader.fetch(_SQL["holds"], ids)]
    return _in_order(ids, {hold.id: hold for hold in found})


async def charge(reader: Reader, id: UUID) -> ChargeView:
    """Return a charge. Raises ChargeNotFound, Unavailable."""
    for found in await charges(reader, [id]):
        return found
    raise ChargeNotFound("no such charge")


async def transfer(reader: Reader, id: UUID) -> TransferView:
    """Return a transfer. Raises TransferNotFound, Unavailable."""
    for found in await transfers(reader, [id]):
        return found
    raise TransferNotFound("no such transfer")


async def hold(reader: Reader, id: UUID) -> HoldReceipt:
    """Return a hold as it is now. Raises HoldNotFound, Unavailable."""
    for found in await holds(reader, [id]):
        return found
    raise HoldNotFound("no such hold")


def _whole(row: Any) -> Any:
    return whole(row, _NULLABLE)


def _in_order(ids: Sequence[UUID], found: Mapping[UUID, View]) -> list[View]:
    return [found[id] for id in ids if id in found]
