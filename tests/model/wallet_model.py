"""What the whole service promises, told in a page: wallets as lists of charges and withdrawals, no more.

It knows nothing of batches, processes, retries or tables. What depends on the moment (has a lock matured, has the
bank been called yet) is answered with bounds.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

SKEW = timedelta(milliseconds=200)
"""The database's clock may differ so much from ours."""


@dataclass
class In:
    """A charge."""

    amount: int
    release_at: datetime | None


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

    @property
    def own(self) -> int:
        """Withdrawable and locked money together: this depends on no moment."""
        gone = sum(out.amount for out in self.withdrawals.values() if not out.refunded)
        return sum(charge.amount for charge in self.charges) - gone

    def locked_between(self, start: datetime, end: datetime) -> tuple[int, int]:
        """Return the least and the most that may be locked at a moment between these."""
        least = sum(one.amount for one in self.charges if one.release_at and one.release_at > end + SKEW)
        most = sum(one.amount for one in self.charges if one.release_at and one.release_at > start - SKEW)
        return least, most

    def withdrawable_between(self, start: datetime, end: datetime) -> tuple[int, int]:
        """Return the least and the most that may be withdrawable at a moment between these."""
        least, most = self.locked_between(start, end)
        return self.own - most, self.own - least

    @property
    def held_at_most(self) -> int:
        """The money of withdrawals that may not have ended."""
        return sum(out.amount for out in self.withdrawals.values() if not out.ended)

    @property
    def open_withdrawals(self) -> list[str]:
        """Those of which the end is not known yet."""
        return [id for id, out in self.withdrawals.items() if not out.ended]
