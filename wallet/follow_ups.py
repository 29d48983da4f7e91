"""What captures, voids and reversals are about, and what a decision about them writes."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from wallet.commands import Leg
from wallet.decision import Decision
from wallet.errors import ExceedsOriginal, HoldNotFound, TransferNotFound, ValidationFailed
from wallet.follow_up_commands import CaptureHold, ReverseTransfer, VoidHold
from wallet.receipts import HoldReceipt


@dataclass(slots=True)
class Hold:
    """A hold as it is, in minor units."""

    id: UUID
    user_id: str
    currency: str
    amount: int
    captured: int
    status: str
    expires_at: datetime | None
    transfer_id: UUID | None
    metadata: str | None
    created_at: datetime


@dataclass(slots=True)
class Source:
    """Money that a charge, or a leg of a transfer, has brought into a wallet, and what was reversed of it so far.

    `id` is the row in that wallet's books.
    """

    id: UUID
    user_id: str
    currency: str
    amount: int
    reversed: int
    release_at: datetime | None = None
    locked: int = 0
    """Minor units that its lock still has; 0 if there is none, or none any more."""

    @property
    def left(self) -> int:
        """Minor units that can be reversed at most."""
        return self.amount - self.reversed

    def amount_left(self, amount: int | None) -> int:
        """Return the amount to be reversed: all that is left if None. Raises ExceedsOriginal."""
        asked = self.left if amount is None else amount
        if asked > self.left or not asked:
            raise ExceedsOriginal(self.left, asked)
        return asked


@dataclass(slots=True)
class Transferred:
    """A transfer as it is: its payer, and its legs by their numbers."""

    id: UUID
    from_user_id: str
    currency: str
    legs: dict[int, Source]

    def amounts_left(self, command: ReverseTransfer) -> dict[int, int]:
        """Return what is to be taken back of each leg, by number. Raises ValidationFailed or ExceedsOriginal."""
        if command.amount is not None:
            if len(self.legs) > 1:
                raise ValidationFailed(
                    [("amount", "the transfer has several legs: say how much of which (legs)")]
                )
            return {number: leg.amount_left(command.amount) for number, leg in self.legs.items()}
        if not command.legs:
            left = {number: leg.left for number, leg in self.legs.items() if leg.left}
            if not left:
                raise ExceedsOriginal(0, 0)
            return left
        amounts: dict[int, int] = {}
        for number, amount in command.legs:
            if number not in self.legs:
                raise ValidationFailed([("legs", f"the transfer has no leg {number}")])
            if number in amounts:
                raise ValidationFailed([("legs", f"leg {number} is named twice")])
            amounts[number] = self.legs[number].amount_left(amount)
        return amounts


@dataclass(slots=True)
class Facts:
    """What the commands of a batch are about."""

    holds: dict[UUID, Hold] = field(default_factory=dict)
    charges: dict[UUID, Source] = field(default_factory=dict)
    transfers: dict[UUID, Transferred] = field(default_factory=dict)

    def own_hold(self, command: CaptureHold | VoidHold) -> Hold:
        """Return the hold of a command. Raises HoldNotFound if it is not there for the caller."""
        hold = self.holds.get(command.hold_id)
        if hold is None or not hold.user_id.startswith(command.user_prefix or ""):
            raise HoldNotFound("no such hold")
        return hold

    def own_transfer(self, command: ReverseTransfer) -> Transferred:
        """Return the transfer of a command. Raises TransferNotFound unless all its wallets are the caller's."""
        transfer = self.transfers.get(command.transfer_id)
        prefix = command.user_prefix or ""
        if transfer is None or not all(
            user_id.startswith(prefix)
            for user_id in (transfer.from_user_id, *(leg.user_id for leg in transfer.legs.values()))
        ):
            raise TransferNotFound("no such transfer")
        return transfer


class NewReversal(NamedTuple):
    """A reversal to be written, as `reversals` has it; the amount is in minor units."""

    id: UUID
    user_id: str
    currency: str
    reverses: UUID
    amount: int
    reason: str | None


class ReversedLeg(NamedTuple):
    """What a reversal takes back of one leg, and the row in the payee's books."""

    reversal_id: UUID
    user_id: str
    """The payer's."""
    transfer_id: UUID
    leg: int
    amount: int
    send_id: UUID


@dataclass(slots=True)
class FollowUps(Decision):
    """A decision about follow-ups: also what becomes of holds, counters and locks."""

    ended_holds: dict[UUID, tuple[Hold, datetime]] = field(default_factory=dict)
    """With the instant at which each was captured or voided."""
    reversals: list[NewReversal] = field(default_factory=list)
    reversed_charges: list[tuple[Source, int]] = field(default_factory=list)
    """Each with the minor units that are reversed now."""
    reversed_legs: list[ReversedLeg] = field(default_factory=list)
    reduced_locks: dict[UUID, Source] = field(default_factory=dict)


def receipt_of(hold: Hold) -> HoldReceipt:
    """Return the receipt of a hold as it is."""
    return HoldReceipt(
        hold.id,
        hold.user_id,
        hold.currency,
        hold.amount,
        hold.expires_at,
        hold.metadata,
        hold.created_at,
        hold.status,
        hold.captured,
        hold.transfer_id,
    )


def legs_of(command: CaptureHold, hold: Hold) -> tuple[Leg, ...]:
    """Return the legs of a capture: those that it names, or all of the hold to one payee."""
    if command.legs:
        return command.legs
    if command.to_user_id is None:
        raise ValidationFailed([("to_user_id", "is required")])
    return (Leg(command.to_user_id, hold.amount, command.release_at),)
