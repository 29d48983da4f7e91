"""The rows that a batch of captures writes if each hold is still as it was read, which is nearly always so.

As in `wallet.optimistic`, one statement can then lock, check and write: it refuses the batch if a hold is not open any
more or is over, if a payee's wallet is missing or would have too much, or if a key was used. Then
`wallet.decide_follow_ups` decides command by command. A property test compares the two.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from wallet.batch_rows import BatchMovement, RaisedInstants, WalletChange, WalletSum, peak_margin, received
from wallet.commands import Leg, only_payee
from wallet.errors import ValidationFailed
from wallet.follow_up_commands import CaptureHold, FollowUp
from wallet.follow_ups import Hold, legs_of
from wallet.ids import uuid7_ends
from wallet.ledger import WalletId
from wallet.limits import UNLIMITED, Limits
from wallet.receipts import HoldReceipt


class CaptureBatch(NamedTuple):
    """All the rows that a batch of captures writes: changes in key order, movements in arrival order."""

    changes: list[WalletChange]
    movements: list[BatchMovement]
    captured: list[tuple[Hold, BatchMovement]]
    """Each hold as it was before, with the row of its capture."""
    first_release_at: datetime | None
    """The earliest `release_at` of a leg or `expires_at` of a hold, which must still be in the future."""

    def receipts(
        self, id_start: str, raised: RaisedInstants | None = None, make_id: Callable[[str], UUID] = UUID
    ) -> list[HoldReceipt]:
        """Return the receipts, once the identifiers' first 16 digits are known; `make_id` as in `OptimisticBatch`."""
        return [
            HoldReceipt(
                hold.id,
                hold.user_id,
                hold.currency,
                hold.amount,
                hold.expires_at,
                hold.metadata,
                hold.created_at,
                "captured",
                row.amount,
                make_id((raised.id_starts[row.wallet - 1] if raised else id_start) + row.id_end),
            )
            for hold, row in self.captured
        ]


def optimistic_captures(
    commands: Sequence[FollowUp],
    holds: Mapping[UUID, Hold],
    entropy: bytes | None = None,
    limits: Limits = UNLIMITED,
) -> CaptureBatch | None:
    """Return the rows that the batch writes if each of its commands is accepted.

    `holds` are the holds that it is about, as they were read without a lock. Return None if not all the commands are
    captures, if one of them can't be accepted as the holds are, or if locks have to be counted for it.
    """
    captures: list[tuple[CaptureHold, Hold, tuple[Leg, ...]]] = []
    ids: set[WalletId] = set()
    for command in commands:
        hold = holds.get(command.hold_id) if type(command) is CaptureHold else None
        if type(command) is not CaptureHold or hold is None:
            return None
        legs = _acceptable_legs(command, hold, limits)
        if not legs:
            return None
        captures.append((command, hold, legs))
        ids.add((hold.user_id, hold.currency))
        ids.update((leg.to_user_id, hold.currency) for leg in legs)
    if len({hold.id for _, hold, _ in captures}) < len(captures):
        return None  # the second capture of a hold is refused
    return _rows(captures, ids, entropy, limits)


def _acceptable_legs(command: CaptureHold, hold: Hold, limits: Limits) -> tuple[Leg, ...]:
    """Return the legs of a capture; none if it can't be accepted as the hold is, or only after counting locks."""
    try:
        legs = legs_of(command, hold)
    except ValidationFailed:
        return ()
    refused = (
        hold.status != "open"
        or not hold.user_id.startswith(command.user_prefix or "")
        or sum(leg.amount for leg in legs) > hold.amount
        or any(leg.to_user_id == hold.user_id for leg in legs)
        or (limits.open_locks and any(leg.release_at is not None for leg in legs))
    )
    return () if refused else legs


def _rows(
    captures: Sequence[tuple[CaptureHold, Hold, tuple[Leg, ...]]],
    ids: set[WalletId],
    entropy: bytes | None,
    limits: Limits,
) -> CaptureBatch:
    sums = {id: WalletSum(number) for number, id in enumerate(sorted(ids), 1)}
    ends = uuid7_ends(entropy)
    movements: list[BatchMovement] = []
    captured: list[tuple[Hold, BatchMovement]] = []
    release_ats: list[datetime] = []
    for command, hold, legs in captures:
        wallet = sums[hold.user_id, hold.currency]
        amount = sum(leg.amount for leg in legs)
        row = _of_hold("capture", hold, amount, wallet, next(ends), command, only_payee(legs))
        captured.append((hold, row))
        movements += (row, *received(row, legs, sums, ends))
        if amount < hold.amount:
            movements.append(_of_hold("void", hold, hold.amount - amount, wallet, next(ends), command))
        instants = (hold.expires_at, *(leg.release_at for leg in legs))
        release_ats += [instant for instant in instants if instant is not None]
    changes = [wallet.change(id, peak_margin(limits.balance, id[1])) for id, wallet in sums.items()]
    return CaptureBatch(changes, movements, captured, min(release_ats, default=None))


def _of_hold(
    kind: str,
    hold: Hold,
    amount: int,
    wallet: WalletSum,
    end: int,
    command: CaptureHold,
    peer: str | None = None,
) -> BatchMovement:
    """Take the amount out of what is held, and return the row: what is captured leaves the wallet, the rest stays."""
    wallet.held -= amount
    captures = kind == "capture"
    if not captures:
        wallet.available += amount
    return BatchMovement(
        f"{end:016x}",
        wallet.number,
        hold.user_id,
        hold.currency,
        kind,
        amount,
        wallet.available,
        wallet.locked,
        wallet.held,
        hold.expires_at if captures else None,
        None,
        None,
        str(hold.id),
        command.by,
        None,
        None,
        None,
        peer,
        command.space if captures else None,
        command.key if captures else None,
        command.fingerprint() if captures else None,
    )
