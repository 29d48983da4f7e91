"""The commands of the service, as values. A command says what is wanted, never how it is stored."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import msgspec

from wallet.canonical import canonical_or_nothing
from wallet.fingerprints import fingerprint, is_of
from wallet.outcomes import Declined, Paid, RoundOutcome
from wallet.traces import Trace

# Who made a transition, in the words of its history. A known name follows `client` and `operator`, after a `:`.
ACTOR, BANK, CLIENT, OPERATOR, RECONCILER = "actor", "bank", "client", "operator", "reconciler"


class KeyedCommand(msgspec.Struct, frozen=True, gc=False):
    """A command that carries an idempotency key, unique in its `space`."""

    space: str
    key: str

    def fingerprint(self) -> bytes:
        """Return the digest that distinguishes this request from any other request under the same key."""
        return fingerprint(self._parts(canonical_or_nothing))

    def matches(self, made: bytes) -> bool:
        """Return whether a fingerprint, of any known version, belongs to this request. Raises UnknownVersion."""
        return is_of(made, self._parts)

    def _parts(self, spell: Callable[[str | None], str]) -> tuple[str, ...]:
        """Return what distinguishes the request, with its JSON spelled by `spell`. Each kind of command has its own."""
        raise AssertionError(f"{type(self).__name__} does not say what distinguishes it")


class Charge(KeyedCommand, frozen=True, gc=False):
    """Put `amount` minor units into a wallet, locked until `release_at` if that is given."""

    user_id: str
    currency: str
    amount: int
    release_at: datetime | None = None
    metadata: str | None = None
    """JSON text, stored and returned unchanged."""
    by: str | None = None
    """Name of the API key that sent the request; None if there was none."""

    def _parts(self, spell: Callable[[str | None], str]) -> tuple[str, ...]:
        release_at = spelled_time(self.release_at)
        return "charge", self.user_id, self.currency, str(self.amount), release_at, spell(self.metadata)


class Withdraw(KeyedCommand, frozen=True, gc=False):
    """Reserve `amount` minor units of a wallet for the bank to pay to `destination` (JSON text)."""

    user_id: str
    currency: str
    amount: int
    destination: str | None = None
    metadata: str | None = None
    by: str | None = None
    """Name of the API key that sent the request; None if there was none."""
    trace: Trace | None = None
    """No part of what is asked for: a repetition has another one."""

    def _parts(self, spell: Callable[[str | None], str]) -> tuple[str, ...]:
        destination, metadata = spell(self.destination), spell(self.metadata)
        return "withdraw", self.user_id, self.currency, str(self.amount), destination, metadata


class Leg(NamedTuple):
    """One payee's share of a transfer, in minor units, locked until `release_at` if that is given."""

    to_user_id: str
    amount: int
    release_at: datetime | None = None


LEGS_MAX = 50
"""Number of legs of one transfer."""


def only_payee(legs: tuple[Leg, ...]) -> str | None:
    """Return the user who gets all of a transfer; None if there are several legs."""
    return legs[0].to_user_id if len(legs) == 1 else None


class MakeTransfer(KeyedCommand, frozen=True, gc=False):
    """Move the sum of the legs out of a wallet, each leg into its payee's: all of them or none.

    `amount` is that sum; `user_id` names the payer.
    """

    user_id: str
    currency: str
    amount: int
    legs: tuple[Leg, ...]
    metadata: str | None = None
    by: str | None = None
    """Name of the API key that sent the request; None if there was none."""

    def _parts(self, spell: Callable[[str | None], str]) -> tuple[str, ...]:
        return ("transfer", self.user_id, self.currency, *spelled_legs(self.legs), spell(self.metadata))


class PlaceHold(KeyedCommand, frozen=True, gc=False):
    """Set `amount` minor units of a wallet aside, until they are captured, voided, or `expires_at` has come."""

    user_id: str
    currency: str
    amount: int
    expires_at: datetime | None = None
    metadata: str | None = None
    by: str | None = None
    """Name of the API key that sent the request; None if there was none."""

    def _parts(self, spell: Callable[[str | None], str]) -> tuple[str, ...]:
        expires_at = spelled_time(self.expires_at)
        return "hold", self.user_id, self.currency, str(self.amount), expires_at, spell(self.metadata)


LedgerCommand = Charge | Withdraw | MakeTransfer | PlaceHold
"""A command that needs nothing but wallets and its key."""


def wallets_of(command: LedgerCommand) -> tuple[tuple[str, str], ...]:
    """Return the wallets (user_id, currency) that a command changes: that which is charged or pays comes first."""
    if isinstance(command, MakeTransfer):
        payees = {(leg.to_user_id, command.currency): None for leg in command.legs}
        return ((command.user_id, command.currency), *payees)
    return ((command.user_id, command.currency),)


def rows_of_command(command: LedgerCommand) -> int:
    """Return the number of rows that a command adds to the ledger."""
    return 1 + len(command.legs) if isinstance(command, MakeTransfer) else 1


class Settle(msgspec.Struct, frozen=True, gc=False):
    """Record the outcome of a withdrawal at the bank: the end of attempt number `attempt`, or a look-up's answer.

    `attempt` and `lease_until` are a guard: an outcome that arrives late (another attempt has begun) or twice (the
    lease has ended already) changes nothing, unless the money has left (`Paid`, `Returned`).
    """

    withdrawal_id: UUID
    user_id: str
    attempt: int
    outcome: RoundOutcome
    lease_until: datetime | None = None
    """End of the attempt's lease; None if the outcome comes from a look-up and not from an attempt."""
    was_completed: bool = False
    """The withdrawal was completed before the look-up. A decline then means that the bank has reversed its payout."""
    by: str = ACTOR
    took_ms: int | None = None
    """How long the attempt took; None if the outcome does not come from one."""


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """Return the held money to the wallet, if the bank was never called."""

    withdrawal_id: UUID
    by: str = CLIENT


class Replay(msgspec.Struct, frozen=True, gc=False):
    """Try a withdrawal that requires attention again, from the first rung of the ladder, `after` some time."""

    withdrawal_id: UUID
    by: str = OPERATOR
    after: timedelta = timedelta()


class SettleByHand(msgspec.Struct, frozen=True, gc=False):
    """End a withdrawal that requires attention as people know it from the bank. `reason` says how they know."""

    withdrawal_id: UUID
    outcome: Paid | Declined
    reason: str
    by: str = OPERATOR
    proposed_at: datetime | None = None
    """When what a second person has approved was proposed; None if that takes only one."""


WithdrawalCommand = Settle | Cancel | Replay | SettleByHand


def spelled_legs(legs: tuple[Leg, ...]) -> tuple[str, ...]:
    """Return what distinguishes legs, for a fingerprint: their number, then each of them."""
    spelled = [str(len(legs))]
    for to_user_id, amount, release_at in legs:
        spelled += (to_user_id, str(amount), spelled_time(release_at))
    return tuple(spelled)


def spelled_time(at: datetime | None) -> str:
    """Return an instant in UTC, for a fingerprint; an empty text for None.

    One without a zone is `infinity` as asyncpg reads it (year 9999), which was once accepted.
    """
    if at is None:
        return ""
    return (at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)).isoformat()
