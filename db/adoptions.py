"""Payouts that only the bank knows, booked by an operator. What is written of one is decided in `wallet.adopt`."""

from typing import Any, NamedTuple
from uuid import UUID

from db.connections import transaction
from db.ledger_writes import create_wallets, lock_wallets, record
from db.releases import STEP_LOCKS_MAX, release_oldest
from db.sql import load
from db.strict import require, require_tag, whole
from wallet.adopt import adopt

_SQL = load("adoptions")


class BankPayout(NamedTuple):
    """A payout as the bank tells of it, and whose it is."""

    reference: str
    """32 hexadecimal digits, or a withdrawal's identifier with hyphens."""
    user_id: str
    payout_id: str
    amount: int
    currency: str


class Adopted(NamedTuple):
    """What became of it. `new` is False if there is such a withdrawal already; `status` is what it is then."""

    id: UUID
    user_id: str
    status: str
    new: bool
    adjusted: int = 0
    """What the wallet lacked and was put in, in minor units."""


async def adopt_payout(connection: Any, payout: BankPayout, by: str, reason: str) -> Adopted:
    """Book a payout, all of it in one transaction, once however often this is called.

    Raises the errors of `db.errors.DATABASE_ERRORS`, and nothing of it stays.
    """
    wallet_id = (payout.user_id, payout.currency)
    await create_wallets(connection, [wallet_id])
    # What has matured belongs to the wallet, and is missing nowhere.
    while (
        step := (await release_oldest(connection, [wallet_id], STEP_LOCKS_MAX)).get(wallet_id)
    ) and step.locks:
        pass
    reference = UUID(payout.reference)
    async with transaction(connection):
        await connection.execute(_SQL["lock"])
        known = await connection.fetchrow(_SQL["known"], reference)
        if known is not None:
            whole(known)
            return Adopted(known["id"], known["user_id"], known["status"], new=False)
        locked = await lock_wallets(connection, [wallet_id])
        require(wallet_id in locked.wallets, "a wallet that was just created is not there")
        wallet = locked.wallets[wallet_id]
        adoption = adopt(wallet, payout.amount, payout.reference, by, reason)
        await record(connection, adoption.transfers, [wallet])
        tag = await connection.execute(
            _SQL["write"],
            adoption.id,
            *wallet_id,
            payout.amount,
            reference,
            payout.payout_id,
            by,
            wallet.at,
            [row.status for row in adoption.history],
            [row.reason for row in adoption.history],
        )
        require_tag(tag, f"INSERT 0 {len(adoption.history)}")
    return Adopted(adoption.id, payout.user_id, "completed", new=True, adjusted=adoption.adjusted)
