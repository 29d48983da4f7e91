"""The rows that a batch writes in one statement, as far as they are known without reading a wallet."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from wallet.commands import Leg
from wallet.ledger import WalletId
from wallet.limits import Ceiling
from wallet.money import AMOUNT_MAX


class WalletChange(NamedTuple):
    """The amounts that a batch adds to a wallet. `needed` is the least available balance before it, in minor units.

    `total_peak` is the most by which the batch raises the wallet's total on its way, for a total of AMOUNT_MAX at most.
    """

    user_id: str
    currency: str
    available: int
    locked: int
    held: int
    transactions: int
    needed: int
    total_peak: int


class BatchMovement(NamedTuple):
    """A row of the ledger; a request's first row carries its idempotency key.

    `id_end` holds the last 16 hexadecimal digits of its identifier. `wallet` is the number of its wallet change,
    counted from 1; `…_change` is the sum that the batch has added to the wallet's split so far. `reference_end` holds,
    for a withdrawal, the last 24 digits of its bank reference; for a capture, and the void of its rest, the hold's
    identifier. A hold and its capture have its `expires_at` as `release_at`. `of_wallet` and `of_end` name the row of
    the payer for a row of a payee, whose number among the legs is `leg`.
    """

    id_end: str
    wallet: int
    user_id: str
    currency: str
    kind: str
    amount: int
    available_change: int
    locked_change: int
    held_change: int
    release_at: datetime | None
    destination: str | None
    metadata: str | None
    reference_end: str | None
    made_by: str | None
    of_wallet: int | None
    of_end: str | None
    leg: int | None
    peer_user_id: str | None
    space: str | None
    key: str | None
    fingerprint: bytes | None


class RaisedInstants(NamedTuple):
    """The instant of each wallet change, and the start of its identifiers, for use after the clock has stepped back."""

    instants: Sequence[datetime]
    id_starts: Sequence[str]


class WalletSum:
    """The amounts that a batch adds to one wallet, so far. `number` is its place among the changes, from 1."""

    __slots__ = ("available", "held", "locked", "needed", "number", "peak", "transactions")

    def __init__(self, number: int) -> None:
        self.number = number
        self.available = self.locked = self.held = self.transactions = self.needed = 0
        self.peak = -AMOUNT_MAX
        """The greatest change of the total just after money was put in; no money put in is as little as can be."""

    def take(self, amount: int) -> None:
        """Take money that must be available."""
        self.available -= amount
        self.needed = max(self.needed, -self.available)

    def put(self, amount: int, release_at: datetime | None) -> None:
        """Add money to the wallet's total."""
        if release_at is None:
            self.available += amount
        else:
            self.locked += amount
        self.peak = max(self.peak, self.available + self.locked + self.held)

    def change(self, id: WalletId, more: int = 0) -> WalletChange:
        """Return the change of this wallet; `more` is added to `total_peak`."""
        split = (self.available, self.locked, self.held)
        return WalletChange(*id, *split, self.transactions, self.needed, self.peak + more)


def peak_margin(balance: Ceiling | None, currency: str) -> int:
    """Return by how much less than AMOUNT_MAX a wallet's total may be, in minor units."""
    return 0 if balance is None else AMOUNT_MAX - balance.of(currency)


def received(
    sent: BatchMovement, legs: Sequence[Leg], sums: Mapping[WalletId, WalletSum], ends: Iterator[int]
) -> list[BatchMovement]:
    """Return the rows of the payees of what was sent or captured, and add them to the sums of their wallets."""
    rows = []
    for number, leg in enumerate(legs, 1):
        sum = sums[leg.to_user_id, sent.currency]
        sum.put(leg.amount, leg.release_at)
        rows.append(
            BatchMovement(
                f"{next(ends):016x}",
                sum.number,
                leg.to_user_id,
                sent.currency,
                "receive",
                leg.amount,
                sum.available,
                sum.locked,
                sum.held,
                leg.release_at,
                None,
                None,
                None,
                sent.made_by,
                sent.wallet,
                sent.id_end,
                number,
                sent.user_id,
                None,
                None,
                None,
            )
        )
    return rows
