"""The rows that a batch writes if all of its keys are new and every request is accepted, which is nearly always so.

They are known without reading a wallet, so one statement can lock, decide and write: it changes the wallets only if
each has the `needed` money, and otherwise refuses the batch. Then `wallet.decide` decides request by request. Property
tests compare the two: if the statement would accept a batch, `decide` accepts every request of it, with the same rows.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from wallet.batch_rows import (
    BatchMovement,
    RaisedInstants,
    WalletChange,
    WalletSum,
    peak_margin,
    received,
)
from wallet.commands import Charge, LedgerCommand, MakeTransfer, PlaceHold, Withdraw, only_payee
from wallet.ids import uuid7_ends
from wallet.ledger import WalletId
from wallet.limits import Ceiling
from wallet.receipts import ChargeReceipt, HoldReceipt, Receipt, TransferReceipt, WithdrawReceipt
from wallet.reference import reference_end


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


class _Builder:
    """Builds the movements of a batch, request by request."""

    def __init__(self, requests: Sequence[LedgerCommand], entropy: bytes | None) -> None:
        ids = {(request.user_id, request.currency) for request in requests}
        for request in requests:
            if type(request) is MakeTransfer:
                ids.update((leg.to_user_id, request.currency) for leg in request.legs)
        self.sums: dict[WalletId, WalletSum] = {
            id: WalletSum(number) for number, id in enumerate(sorted(ids), 1)
        }
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
            self.movements += received(first, request.legs, self.sums, self._ends)
            for leg in request.legs:
                if leg.release_at is not None:
                    self._until(leg.release_at)
        return first

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
    changes = [sum.change(id, peak_margin(balance, id[1])) for id, sum in builder.sums.items()]
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
