"""Payouts that only the bank knows, booked by an operator. `wallet.adopt` decides the rows to be written."""

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
    """A payout as the bank reports it, and the user whom it belongs to."""

    reference: str
    """32 hexadecimal digits, or a withdrawal's identifier with hyphens."""
    user_id: str
    payout_id: str
    amount: int
    currency: str


class Adopted(NamedTuple):
    """The result. `new` is False if the withdrawal existed already; `status` is then its present status."""

    id: UUID
    user_id: str
    status: str
    new: bool
    adjusted: int = 0
    """The amount that the wallet lacked and that an adjustment added, in minor units."""


async def adopt_payout(connection: Any, payout: BankPayout, by: str, reason: str) -> Adopted:
    """Book a payout completely in one transaction; repeated calls book it only once.

    Raises the errors of `db.errors.DATABASE_ERRORS`; then nothing is booked.
    """
    wallet_id = (payout.user_id, payout.currency)
    await create_wallets(connection, [wallet_id])
    # Release matured locks first: that money belongs to the wallet and needs no adjustment.
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
