"""Reads of single charges, transfers and holds, by their identifiers."""

from typing import NamedTuple
from uuid import UUID

from db.connections import Reader
from db.sql import load
from db.strict import at_most_one
from wallet.commands import Leg
from wallet.errors import ChargeNotFound, HoldNotFound, TransferNotFound
from wallet.receipts import ChargeReceipt, HoldReceipt, TransferReceipt

_SQL = load("reads")
_NULLABLE = ("release_at", "metadata", "expires_at", "transfer_id")


class ChargeView(NamedTuple):
    """A charge as it is now, with the minor units that were reversed of it."""

    receipt: ChargeReceipt
    reversed: int


class TransferView(NamedTuple):
    """A transfer as it is now, with the minor units that were reversed of it."""

    receipt: TransferReceipt
    reversed: int


async def charge(reader: Reader, id: UUID) -> ChargeView:
    """Return a charge. Raises ChargeNotFound, Unavailable."""
    row = at_most_one(await reader.fetch(_SQL["charge"], id), _NULLABLE)
    if row is None:
        raise ChargeNotFound("no such charge")
    *receipt, reversed = row
    return ChargeView(ChargeReceipt._make(receipt), reversed)


async def transfer(reader: Reader, id: UUID) -> TransferView:
    """Return a transfer. Raises TransferNotFound, Unavailable."""
    row = at_most_one(await reader.fetch(_SQL["transfer"], id), _NULLABLE)
    if row is None:
        raise TransferNotFound("no such transfer")
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
    return TransferView(receipt, row["reversed"])


async def hold(reader: Reader, id: UUID) -> HoldReceipt:
    """Return a hold as it is now. Raises HoldNotFound, Unavailable."""
    row = at_most_one(await reader.fetch(_SQL["hold"], id), _NULLABLE)
    if row is None:
        raise HoldNotFound("no such hold")
    return HoldReceipt._make(row)
