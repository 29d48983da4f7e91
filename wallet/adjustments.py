"""Adjustments: an operator adds money to a wallet, or takes some, and says why. Pure.

A chargeback's way, for one: what the card's network has taken back of us, and no reversal can take back of the wallet.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from wallet.bookings import make_available, require_room
from wallet.commands import KeyedCommand
from wallet.decision import Decision, ReleasesNeeded
from wallet.ledger import Account, Kind, Wallet, WalletId
from wallet.limits import Limits
from wallet.receipts import AdjustmentReceipt

CONFIRMED_WITHIN = timedelta(days=7)
"""Later a second person can no longer confirm what the first proposed: nobody remembers it."""


class Adjust(KeyedCommand, frozen=True, gc=False):
    """Add `amount` minor units to a wallet, or take them if it is negative; it is never 0."""

    user_id: str
    currency: str
    amount: int
    reason: str
    by: str
    """Who does it; with two persons, the one who confirms."""
    proposed_by: str | None = None
    """With two persons, the other one."""

    def _parts(self, spell: Callable[[str | None], str]) -> tuple[str, ...]:
        return "adjust", self.user_id, self.currency, str(self.amount), self.reason

    @property
    def wallet(self) -> WalletId:
        """The wallet that it changes."""
        return self.user_id, self.currency

    @property
    def metadata(self) -> str:
        """What its row in the ledger says beside the amount: JSON text."""
        told = {"reason": self.reason}
        if self.proposed_by is not None:
            told["proposed_by"] = self.proposed_by
        return json.dumps(told, ensure_ascii=False)


def adjust(
    command: Adjust,
    wallets: Mapping[WalletId, Wallet],
    now: datetime,
    decision: Decision,
    limits: Limits,
) -> tuple[UUID, AdjustmentReceipt] | ReleasesNeeded:
    """Book an adjustment; what is due is released first. Return the movement and its receipt.

    Money is taken of what is withdrawable only. Raises InsufficientFunds or BalanceLimitExceeded; returns the releases
    that must be written first, if the listed ones do not suffice.
    """
    wallet = wallets[command.wallet]
    if command.amount > 0:
        require_room(wallet, command.amount, 0, limits, "the wallet's")
    elif needed := make_available(wallet, -command.amount, now, decision):
        return needed
    moved = wallet.move(
        Kind.ADJUSTMENT,
        abs(command.amount),
        metadata=command.metadata,
        made_by=command.by,
        backwards=command.amount < 0,
    )
    decision.transfers.append(moved)
    receipt = AdjustmentReceipt(
        moved.id,
        command.user_id,
        command.currency,
        command.amount,
        command.reason,
        command.by,
        command.proposed_by,
        moved.created_at,
    )
    return moved.id, receipt


def signed(amount: int, debit_account: str) -> int:
    """Return an adjustment's effect on the wallet, of its row's amount and debited account."""
    return -amount if debit_account == Account.AVAILABLE else amount
