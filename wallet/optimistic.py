"""The rows that a batch writes if all of its keys are new and every request is accepted, which is nearly always so.

They are known without reading a wallet, so one statement can lock, decide and write: it changes the wallets only if
each has the `needed` money, and otherwise refuses the batch. Then `wallet.decide` decides request by request. Property
tests compare the two: if the statement would accept a batch, `decide` accepts every request of it, with the same rows.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from wallet.commands import Charge, LedgerCommand, MakeTransfer, PlaceHold, Withdraw, only_payee
from wallet.ids import uuid7_ends
from wallet.ledger import WalletId
from wallet.limits import Ceiling
from wallet.money import AMOUNT_MAX
from wallet.receipts import ChargeReceipt, HoldReceipt, Receipt, TransferReceipt, WithdrawReceipt
from wallet.reference import reference_end


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
    for a withdrawal, the last 24 digits of its bank reference. `of_wallet` and `of_end` name the row of the payer for a
    row of a payee, whose number among the legs is `leg`.
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


class OptimisticBatch(NamedTuple):
    """All the rows that a batch writes: changes in key order, movements in arrival order."""

    requests: Sequence[LedgerCommand]
    changes: list[WalletChange]
    movements: list[BatchMovement]
    first: list[BatchMovement]
    """The first movement of each request."""
    first_release_at: datetime | None
    """The earliest `release_at` or `expires_at`, which must still be in the future."""
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
        pairs = zip(self.requests, self.first, strict=True)
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


class _Builder:
    """Builds the movements of a batch, request by request."""

    def __init__(self, requests: Sequence[LedgerCommand], entropy: bytes | None) -> None:
        ids = {(request.user_id, request.currency) for request in requests}
        for request in requests:
            if type(request) is MakeTransfer:
                ids.update((leg.to_user_id, request.currency) for leg in request.legs)
        self.sums: dict[WalletId, _Sum] = {id: _Sum(number) for number, id in enumerate(sorted(ids), 1)}
        self.movements: list[BatchMovement] = []
        self.first_release_at: datetime | None = None
        self.plain = True
        self._ends: Iterator[int] = uuid7_ends(entropy)

    def add(self, request: LedgerCommand) -> BatchMovement:
        """Add a request's movements and return the first of them."""
        sum = self.sums[request.user_id, request.currency]
        release_at = destination = reference = peer = None
        metadata = request.metadata
        if type(request) is Charge:
            kind, release_at = "charge", request.release_at
            sum.transactions += 1
            sum.put(request.amount, release_at)
            if release_at is not None:
                self._until(release_at)
        else:
            self.plain = False
            sum.take(request.amount)
            if type(request) is Withdraw:
                kind, destination, reference = "reserve", request.destination, reference_end(request)
                sum.transactions += 1
                sum.held += request.amount
            elif type(request) is MakeTransfer:
                kind = "send"
                peer = only_payee(request.legs)
            else:
                assert type(request) is PlaceHold
                kind, release_at = "hold", request.expires_at
                sum.held += request.amount
                if release_at is not None:
                    self._until(release_at)
        first = BatchMovement(
            f"{next(self._ends):016x}",
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
            metadata,
            reference,
            request.by,
            None,
            None,
            None,
            peer,
            request.space,
            request.key,
            request.fingerprint(),
        )
        self.movements.append(first)
        if type(request) is MakeTransfer:
            self._add_legs(request, first)
        return first

    def _add_legs(self, request: MakeTransfer, sent: BatchMovement) -> None:
        for number, leg in enumerate(request.legs, 1):
            sum = self.sums[leg.to_user_id, request.currency]
            sum.put(leg.amount, leg.release_at)
            if leg.release_at is not None:
                self._until(leg.release_at)
            self.movements.append(
                BatchMovement(
                    f"{next(self._ends):016x}",
                    sum.number,
                    leg.to_user_id,
                    request.currency,
                    "receive",
                    leg.amount,
                    sum.available,
                    sum.locked,
                    sum.held,
                    leg.release_at,
                    None,
                    None,
                    None,
                    request.by,
                    sent.wallet,
                    sent.id_end,
                    number,
                    request.user_id,
                    None,
                    None,
                    None,
                )
            )

    def _until(self, release_at: datetime) -> None:
        self.plain = False
        self.first_release_at = min(self.first_release_at or release_at, release_at)


def optimistic_batch(
    requests: Sequence[LedgerCommand], entropy: bytes | None = None, balance: Ceiling | None = None
) -> OptimisticBatch:
    """Return the rows that the batch writes if every key is new and every request is accepted.

    Where `balance` allows a smaller total than AMOUNT_MAX, `total_peak` is greater by the difference.
    `entropy` is the same as in `uuid7_ends`, which also bounds the number of rows: `StopIteration` beyond.
    """
    builder = _Builder(requests, entropy)
    first = [builder.add(request) for request in requests]
    changes = [
        WalletChange(*id, s.available, s.locked, s.held, s.transactions, s.needed, s.peak)
        for id, s in builder.sums.items()
    ]
    if balance is not None:
        changes = [
            change._replace(total_peak=change.total_peak + AMOUNT_MAX - balance.of(change.currency))
            for change in changes
        ]
    return OptimisticBatch(
        requests, changes, builder.movements, first, builder.first_release_at, builder.plain
    )


def _receipt(request: LedgerCommand, id: UUID, now: datetime) -> Receipt:
    head = (id, request.user_id, request.currency, request.amount)
    if type(request) is Charge:
        return ChargeReceipt(*head, request.release_at, request.metadata, now)
    if type(request) is Withdraw:
        return WithdrawReceipt(*head, request.destination, request.metadata, now)
    if type(request) is MakeTransfer:
        return TransferReceipt(*head, request.legs, request.metadata, now)
    assert type(request) is PlaceHold
    return HoldReceipt(*head, request.expires_at, request.metadata, now)
