"""Commands that need more than wallets and a key, as values: captures, voids and reversals; adjustments, too."""

from collections.abc import Callable, Hashable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from wallet.adjustments import Adjust
from wallet.commands import LEGS_MAX, KeyedCommand, Leg, spelled_legs, spelled_time


class CaptureHold(KeyedCommand, frozen=True, gc=False):
    """Transfer money that a hold has set aside, to one payee or several; the rest goes back to the wallet.

    Without legs, all of it goes to `to_user_id`.
    """

    hold_id: UUID
    legs: tuple[Leg, ...] = ()
    to_user_id: str | None = None
    release_at: datetime | None = None
    """With `to_user_id` only: until then the payee's money is locked."""
    by: str | None = None
    user_prefix: str | None = None
    """Only wallets of users whose ids begin so are there for the caller; None: all."""

    def _parts(self, spell: Callable[[str | None], str]) -> tuple[str, ...]:
        if self.legs:
            return ("capture", str(self.hold_id), *spelled_legs(self.legs))
        release_at = spelled_time(self.release_at)
        return "capture", str(self.hold_id), "", self.to_user_id or "", release_at

    def payees(self) -> list[str]:
        """Return the users whom it pays: those of the legs, or the only one."""
        return [leg.to_user_id for leg in self.legs] or ([self.to_user_id] if self.to_user_id else [])


class VoidHold(msgspec.Struct, frozen=True, gc=False):
    """Give the money of a hold back to its wallet. It needs no key: the hold's state tells what was done."""

    hold_id: UUID
    by: str | None = None
    user_prefix: str | None = None


class ReverseCharge(KeyedCommand, frozen=True, gc=False):
    """Undo a charge: `amount` minor units of it, or all that is left."""

    charge_id: UUID
    amount: int | None = None
    reason: str | None = None
    by: str | None = None
    user_prefix: str | None = None

    def _parts(self, spell: Callable[[str | None], str]) -> tuple[str, ...]:
        amount = "" if self.amount is None else str(self.amount)
        return "reverse_charge", str(self.charge_id), amount, self.reason or ""


class ReverseTransfer(KeyedCommand, frozen=True, gc=False):
    """Give back what a transfer has moved: `legs` (number from 1, minor units), or all that is left of each."""

    transfer_id: UUID
    legs: tuple[tuple[int, int], ...] = ()
    amount: int | None = None
    """For a transfer with one leg, in place of `legs`."""
    reason: str | None = None
    by: str | None = None
    user_prefix: str | None = None

    def _parts(self, spell: Callable[[str | None], str]) -> tuple[str, ...]:
        amount = "" if self.amount is None else str(self.amount)
        legs = [f"{leg}:{amount}" for leg, amount in sorted(self.legs)]
        return ("reverse_transfer", str(self.transfer_id), amount, self.reason or "", *legs)


FollowUp = CaptureHold | VoidHold | ReverseCharge | ReverseTransfer | Adjust
"""A command about something that is there already: a hold, a charge, a transfer, or a wallet that needs an operator."""


def subject_of(command: FollowUp) -> Hashable:
    """Return the identifier of what a command is about."""
    if isinstance(command, Adjust):
        return command.wallet
    if isinstance(command, CaptureHold | VoidHold):
        return command.hold_id
    return command.charge_id if isinstance(command, ReverseCharge) else command.transfer_id


def subjects_of(commands: Sequence[FollowUp]) -> tuple[list[UUID], list[UUID], list[UUID]]:
    """Return the identifiers of the holds, charges and transfers that commands are about."""
    holds = [c.hold_id for c in commands if isinstance(c, CaptureHold | VoidHold)]
    charges = [c.charge_id for c in commands if isinstance(c, ReverseCharge)]
    return holds, charges, [c.transfer_id for c in commands if isinstance(c, ReverseTransfer)]


def rows_of_follow_up(command: FollowUp) -> int:
    """Return the number of rows that a command adds to the ledger, at most."""
    return 2 + (LEGS_MAX if isinstance(command, ReverseTransfer) else len(getattr(command, "legs", ())))
