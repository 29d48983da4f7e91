"""The commands of the service, as values. A command says what is wanted, never how it is stored."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from wallet.canonical import canonical_or_nothing
from wallet.fingerprints import fingerprint, is_of
from wallet.outcomes import RoundOutcome

# Who made a transition, in the words of its history. A known name follows `client` and `operator`, after a `:`.
ACTOR, BANK, CLIENT, OPERATOR, RECONCILER = "actor", "bank", "client", "operator", "reconciler"


class Charge(msgspec.Struct, frozen=True, gc=False):
    """Put `amount` minor units into a wallet, locked until `release_at` if that is given.

    `space` is the namespace in which the key is unique.
    """

    space: str
    key: str
    user_id: str
    currency: str
    amount: int
    release_at: datetime | None = None
    metadata: str | None = None
    """JSON text, stored and returned unchanged."""
    by: str | None = None
    """Name of the API key that sent the request; None if there was none."""

    def fingerprint(self) -> bytes:
        """Return the digest that distinguishes this request from any other request under the same key."""
        return fingerprint(self._parts(canonical_or_nothing))

    def matches(self, made: bytes) -> bool:
        """Return whether a fingerprint, of any known version, belongs to this request. Raises UnknownVersion."""
        return is_of(made, self._parts)

    def _parts(self, spell: Callable[[str | None], str]) -> tuple[str, ...]:
        release_at = "" if self.release_at is None else _utc(self.release_at).isoformat()
        return "charge", self.user_id, self.currency, str(self.amount), release_at, spell(self.metadata)


class Withdraw(msgspec.Struct, frozen=True, gc=False):
    """Reserve `amount` minor units of a wallet for the bank to pay to `destination` (JSON text).

    `space` is the namespace in which the key is unique.
    """

    space: str
    key: str
    user_id: str
    currency: str
    amount: int
    destination: str | None = None
    metadata: str | None = None
    by: str | None = None
    """Name of the API key that sent the request; None if there was none."""

    def fingerprint(self) -> bytes:
        """Return the digest that distinguishes this request from any other request under the same key."""
        return fingerprint(self._parts(canonical_or_nothing))

    def matches(self, made: bytes) -> bool:
        """Return whether a fingerprint, of any known version, belongs to this request. Raises UnknownVersion."""
        return is_of(made, self._parts)

    def _parts(self, spell: Callable[[str | None], str]) -> tuple[str, ...]:
        destination, metadata = spell(self.destination), spell(self.metadata)
        return "withdraw", self.user_id, self.currency, str(self.amount), destination, metadata


LedgerCommand = Charge | Withdraw


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


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """Return the held money to the wallet, if the bank was never called."""

    withdrawal_id: UUID
    by: str = CLIENT


class Replay(msgspec.Struct, frozen=True, gc=False):
    """Try a withdrawal that requires attention again, from the first rung of the ladder."""

    withdrawal_id: UUID
    by: str = OPERATOR


WithdrawalCommand = Settle | Cancel | Replay


def _utc(at: datetime) -> datetime:
    """Return an instant in UTC. One without a zone is `infinity` as asyncpg reads it (year 9999), once accepted."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
