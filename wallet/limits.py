"""The limits of requests and wallets, which settings may draw closer than the service has them: pure."""

from collections.abc import Mapping
from typing import NamedTuple

from wallet.commands import Charge, LedgerCommand, MakeTransfer, PlaceHold, Withdraw
from wallet.errors import AmountLimitExceeded, WalletError
from wallet.money import AMOUNT_MAX


class Ceiling(NamedTuple):
    """The greatest amount per currency, in minor units: of those that are named, and of all others."""

    others: int = AMOUNT_MAX
    named: Mapping[str, int] = {}

    def of(self, currency: str) -> int:
        """Return the greatest amount."""
        return self.named.get(currency, self.others)


class Limits(NamedTuple):
    """What a request may ask for and a wallet may hold. The numbers are per wallet; 0: no limit."""

    charge: Ceiling = Ceiling()
    withdrawal: Ceiling = Ceiling()
    balance: Ceiling = Ceiling()
    """Of a wallet's total, where money is put in; what comes back (refunds, returns, reversals) may pass it."""
    open_locks: int = 0
    open_holds: int = 0

    def refusal(self, command: LedgerCommand) -> WalletError | None:
        """Return the error if a charge or a withdrawal is for too much; nothing but its amount counts."""
        what = _WITH_A_CEILING.get(type(command))
        if what is None:
            return None
        ceiling: Ceiling = getattr(self, what)
        limit = ceiling.of(command.currency)
        return None if command.amount <= limit else AmountLimitExceeded(what, command.amount, limit)

    def counts(self, command: LedgerCommand) -> bool:
        """Return whether the locks or holds of the command's wallets have to be counted to decide about it."""
        if isinstance(command, PlaceHold):
            return bool(self.open_holds)
        if isinstance(command, MakeTransfer):
            return bool(self.open_locks) and any(leg.release_at is not None for leg in command.legs)
        return bool(self.open_locks) and isinstance(command, Charge) and command.release_at is not None


_WITH_A_CEILING: dict[type, str] = {Charge: "charge", Withdraw: "withdrawal"}

UNLIMITED = Limits()
