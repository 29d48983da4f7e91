"""What the service can be asked to do, as values. A command says what is wanted, never how it is stored."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from wallet.canonical import canonical_or_nothing
from wallet.fingerprints import fingerprint, is_of
from wallet.outcomes import RoundOutcome

# Who makes a move, as its history says. `client` and `operator` are followed by `:` and a name where there is one.
ACTOR, BANK, CLIENT, OPERATOR, RECONCILER = "actor", "bank", "client", "operator", "reconciler"


class Charge(msgspec.Struct, frozen=True, gc=False):
    """Put `amount` minor units into a wallet, locked until `release_at` if that is given.

    `space`: what its key is unique in.
    """

    space: str
    key: str
    user_id: str
    currency: str
    amount: int
    release_at: datetime | None = None
    metadata: str | None = None
    """JSON text, kept and given back as it came."""
    by: str | None = None
    """Name of the API key that asked; None where nobody was named."""

    def fingerprint(self) -> bytes:
        """Return what tells this request from another one under the same key."""
        return fingerprint(self._parts(canonical_or_nothing))

    def matches(self, made: bytes) -> bool:
        """Tell whether a fingerprint, of whichever version, is this request's. Raises UnknownVersion."""
        return is_of(made, self._parts)

    def _parts(self, spell: Callable[[str | None], str]) -> tuple[str, ...]:
        release_at = "" if self.release_at is None else _utc(self.release_at).isoformat()
        return "charge", self.user_id, self.currency, str(self.amount), release_at, spell(self.metadata)


class Withdraw(msgspec.Struct, frozen=True, gc=False):
    """Reserve `amount` minor units of a wallet, to be paid by the bank to `destination` (JSON text).

    `space`: what its key is unique in.
    """

    space: str
    key: str
    user_id: str
    currency: str
    amount: int
    destination: str | None = None
    metadata: str | None = None
    by: str | None = None
    """Name of the API key that asked; None where nobody was named."""

    def fingerprint(self) -> bytes:
        """Return what tells this request from another one under the same key."""
        return fingerprint(self._parts(canonical_or_nothing))

    def matches(self, made: bytes) -> bool:
        """Tell whether a fingerprint, of whichever version, is this request's. Raises UnknownVersion."""
        return is_of(made, self._parts)

    def _parts(self, spell: Callable[[str | None], str]) -> tuple[str, ...]:
        destination, metadata = spell(self.destination), spell(self.metadata)
        return "withdraw", self.user_id, self.currency, str(self.amount), destination, metadata


LedgerCommand = Charge | Withdraw


class Settle(msgspec.Struct, frozen=True, gc=False):
    """Write down what became of a withdrawal at the bank: as attempt number `attempt` ended, or as a look-up told.

    `attempt` and `lease_until` guard: an outcome that comes late, when another attempt has begun, or a second
    time, when the lease was given up already, changes nothing unless the money has left (`Paid`, `Returned`).
    """

    withdrawal_id: UUID
    user_id: str
    attempt: int
    outcome: RoundOutcome
    lease_until: datetime | None = None
    """End of the attempt's lease; None where the news is not from an attempt but from a look-up."""
    was_completed: bool = False
    """It was completed before it was looked up. A decline means then that the bank has changed its mind since."""
    by: str = ACTOR


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """Give the money back, if the bank was never called."""

    withdrawal_id: UUID
    by: str = CLIENT


class Replay(msgspec.Struct, frozen=True, gc=False):
    """Try a withdrawal that requires attention again, from the first rung of the ladder."""

    withdrawal_id: UUID
    by: str = OPERATOR


WithdrawalCommand = Settle | Cancel | Replay


def _utc(at: datetime) -> datetime:
    """Return an instant in UTC; without a zone it is infinity as asyncpg reads it: 9999, from when that was taken."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
