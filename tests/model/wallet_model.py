"""What the whole service promises, told in a page: wallets as lists of what came and went, no more.

It knows nothing of batches, processes, retries or tables. What depends on the moment (has a lock matured, has the
bank been called yet) is answered with bounds.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

SKEW = timedelta(milliseconds=200)
"""The database's clock may differ so much from ours."""


@dataclass
class In:
    """Money that came in, by a charge or from another wallet; below zero, money that was taken back or sent."""

    amount: int
    release_at: datetime | None = None


@dataclass
class Held:
    """A hold. `ended`: it was captured or voided."""

    amount: int
    expires_at: datetime | None = None
    ended: bool = False

    def is_open_at(self, moment: datetime) -> bool:
        """Return whether its money is held at this moment."""
        return not self.ended and (self.expires_at is None or self.expires_at > moment)


@dataclass
class Out:
    """A withdrawal. `refunded`: its money is back in the wallet. `ended`: none of it is held any more."""

    amount: int
    refunded: bool = False
    ended: bool = False
    status: str = "pending"


@dataclass
class ModelWallet:
    """One wallet, and everything that ever happened to it."""

    charges: list[In] = field(default_factory=list)
    withdrawals: dict[str, Out] = field(default_factory=dict)
    holds: dict[str, Held] = field(default_factory=dict)
    listing: list[tuple[str, int]] = field(default_factory=list)
    """Identifier and signed amount of each transaction, oldest first."""

    def charge(self, id: str, amount: int, release_at: datetime | None) -> None:
        """Money comes in."""
        self.charges.append(In(amount, release_at))
        self.listing.append((id, amount))

    def withdraw(self, id: str, amount: int) -> None:
        """Money is reserved."""
        self.withdrawals[id] = Out(amount)
        self.listing.append((id, -amount))

    def move(self, amount: int, release_at: datetime | None = None) -> None:
        """Money comes from another wallet, or (below zero) goes out."""
        self.charges.append(In(amount, release_at))

    @property
    def own(self) -> int:
        """Withdrawable and locked money, and what holds keep: this depends on no moment."""
        gone = sum(out.amount for out in self.withdrawals.values() if not out.refunded)
        return sum(charge.amount for charge in self.charges) - gone

    def locked_between(self, start: datetime, end: datetime) -> tuple[int, int]:
        """Return the least and the most that may be locked at a moment between these."""
        sums = [
            sum(one.amount for one in self.charges if one.release_at and one.release_at > moment)
            for moment in (start - SKEW, *self._changes(start, end), end + SKEW)
        ]
        return min(sums), max(sums)

    def _changes(self, start: datetime, end: datetime) -> list[datetime]:
        """Return the moments between these at which something is released."""
        dates = {one.release_at for one in self.charges if one.release_at}
        return [at for at in dates if start - SKEW <= at <= end + SKEW]

    def kept_between(self, start: datetime, end: datetime) -> tuple[int, int]:
        """Return the least and the most that holds may keep at a moment between these."""
        holds = self.holds.values()
        least = sum(hold.amount for hold in holds if hold.is_open_at(end + SKEW))
        return least, sum(hold.amount for hold in holds if hold.is_open_at(start - SKEW))

    def withdrawable_between(self, start: datetime, end: datetime) -> tuple[int, int]:
        """Return the least and the most that may be withdrawable at a moment between these."""
        least, most = self.locked_between(start, end)
        least_kept, most_kept = self.kept_between(start, end)
        return self.own - most - most_kept, self.own - least - least_kept

    @property
    def held_at_most(self) -> int:
        """The money of withdrawals that may not have ended."""
        return sum(out.amount for out in self.withdrawals.values() if not out.ended)

    @property
    def open_withdrawals(self) -> list[str]:
        """Those of which the end is not known yet."""
        return [id for id, out in self.withdrawals.items() if not out.ended]
