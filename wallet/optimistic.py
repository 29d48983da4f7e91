"""The rows that a batch writes if all of its keys are new and every request is accepted, which is nearly always so.

They are known without reading a wallet, so one statement can lock, decide and write: it changes the wallets only if
each has the `needed` money, and otherwise refuses the batch. Then `wallet.decide` decides request by request. Property
tests compare the two: if the statement would accept a batch, `decide` accepts every request of it, with the same rows.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from wallet.commands import LedgerCommand, Withdraw
from wallet.decide import ChargeReceipt, Receipt, WithdrawReceipt
from wallet.ids import uuid7_ends
from wallet.ledger import WalletId
from wallet.reference import reference_end


class WalletChange(NamedTuple):
    """The amounts that a batch adds to a wallet. `needed` is the least available balance before it, in minor units."""

    user_id: str
    currency: str
    available: int
    locked: int
    held: int
    transactions: int
    needed: int


class BatchMovement(NamedTuple):
    """A charge, or a withdrawal's reserve, with the idempotency key of its request.

    `id_end` holds the last 16 hexadecimal digits of its identifier. `wallet` is the number of its wallet change,
    counted from 1; `…_change` is the sum that the batch has added to the wallet's split so far. `reference_end` holds,
    for a withdrawal, the last 24 digits of its bank reference.
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
    space: str
    key: str
    fingerprint: bytes


class RaisedInstants(NamedTuple):
    """The instant of each wallet change, and the start of its identifiers, for use after the clock has stepped back."""

    instants: Sequence[datetime]
    id_starts: Sequence[str]


class OptimisticBatch(NamedTuple):
    """All the rows that a batch writes: changes in key order, movements in arrival order."""

    requests: Sequence[LedgerCommand]
    changes: list[WalletChange]
    movements: list[BatchMovement]
    first_release_at: datetime | None
    """The earliest `release_at`, which must still be in the future."""
    plain: bool
    """True if the batch has nothing but charges without a lock."""

    def receipts(
        self,
        id_start: str,
        now: datetime,
        raised: RaisedInstants | None = None,
        make_id: Callable[[str], UUID] = UUID,
    ) -> list[Receipt]:
        """Return the receipts, once the identifiers' first 16 digits and the instant are known.

        `make_id` makes an identifier from 32 hexadecimal digits.
        """
        pairs = zip(self.requests, self.movements, strict=True)
        if raised is None:
            return [
                _receipt(request, make_id(id_start + movement.id_end), now) for request, movement in pairs
            ]
        return [
            _receipt(
                request,
                make_id(raised.id_starts[movement.wallet - 1] + movement.id_end),
                raised.instants[movement.wallet - 1],
            )
            for request, movement in pairs
        ]


class _Sum:
    """The amounts that a batch adds to one wallet, so far. `number` is its place among the changes, from 1."""

    __slots__ = ("available", "held", "locked", "needed", "number", "transactions")

    def __init__(self, number: int) -> None:
        self.number = number
        self.available = self.locked = self.held = self.transactions = self.needed = 0


def optimistic_batch(requests: Sequence[LedgerCommand], entropy: bytes | None = None) -> OptimisticBatch:
    """Return the rows that the batch writes if every key is new and every request is accepted.

    `entropy` is the same as in `uuid7_ends`.
    """
    ids = sorted({(request.user_id, request.currency) for request in requests})
    sums: dict[WalletId, _Sum] = {id: _Sum(number) for number, id in enumerate(ids, 1)}
    movements = []
    first_release_at = None
    plain = True
    for request, id_end in zip(requests, uuid7_ends(entropy), strict=False):
        sum = sums[request.user_id, request.currency]
        sum.transactions += 1
        kind, release_at, destination, reference = "charge", None, None, None
        if isinstance(request, Withdraw):
            kind, destination, plain = "reserve", request.destination, False
            reference = reference_end(request)
            sum.available -= request.amount
            sum.held += request.amount
            sum.needed = max(sum.needed, -sum.available)
        elif request.release_at is None:
            sum.available += request.amount
        else:
            release_at, plain = request.release_at, False
            sum.locked += request.amount
            first_release_at = min(first_release_at or release_at, release_at)
        movements.append(
            BatchMovement(
                f"{id_end:016x}",
                sum.number,
                request.user_id,
                request.currency,
                kind,
                request.amount,
                sum.available,
                sum.locked,
                sum.held,
                release_at,
                destination,
                request.metadata,
                reference,
                request.by,
                request.space,
                request.key,
                request.fingerprint(),
            )
        )
    changes = [
        WalletChange(*id, sum.available, sum.locked, sum.held, sum.transactions, sum.needed)
        for id, sum in sums.items()
    ]
    return OptimisticBatch(requests, changes, movements, first_release_at, plain)


def _receipt(request: LedgerCommand, id: UUID, now: datetime) -> Receipt:
    if isinstance(request, Withdraw):
        return WithdrawReceipt(
            id, request.user_id, request.currency, request.amount, request.destination, request.metadata, now
        )
    return ChargeReceipt(
        id, request.user_id, request.currency, request.amount, request.release_at, request.metadata, now
    )
