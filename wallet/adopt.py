"""The bookings for a payout that only the bank knows: pure.

After an older backup is restored, the bank has paid withdrawals that this database no longer holds. An operator adopts
them: each becomes a withdrawal that was reserved, paid and completed at once, under the bank's reference.
"""

import json
from typing import NamedTuple
from uuid import UUID

from wallet.ledger import Kind, Transfer, Wallet
from wallet.transitions import HistoryRow
from wallet.withdrawal import Status


class Adoption(NamedTuple):
    """A withdrawal to be written, with its transfers and history."""

    id: UUID
    transfers: list[Transfer]
    history: list[HistoryRow]
    adjusted: int
    """The amount that the wallet lacked, in minor units, because charges were lost too."""


def adopt(wallet: Wallet, amount: int, reference: str, by: str, reason: str) -> Adoption:
    """Book a payout of `amount` minor units from `wallet`, whose matured locks are released already.

    `by` names the operator, in the form that histories use. If the wallet lacks money, an adjustment first adds it.
    """
    transfers = []
    lacking = max(amount - wallet.available, 0)
    if lacking:
        told = json.dumps({"reason": reason, "adopted": reference})
        transfers.append(wallet.move(Kind.ADJUSTMENT, lacking, metadata=told, made_by=by))
    reserve = wallet.move(Kind.RESERVE, amount, made_by=by)
    payout = wallet.move(Kind.PAYOUT, amount, reference=reserve.id, made_by=by)
    steps = (
        (Status.PENDING, f"adopted from the bank's books: {reason}"),
        (Status.PROCESSING, "the bank knows of it already"),
        (Status.COMPLETED, "the bank paid"),
    )
    history = [
        HistoryRow(reserve.id, wallet.user_id, seq, status.value, wallet.at, why, by)
        for seq, (status, why) in enumerate(steps, start=1)
    ]
    return Adoption(reserve.id, [*transfers, reserve, payout], history, lacking)
