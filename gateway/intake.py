"""The one place that says which currencies are taken (WBS_CURRENCIES), and how much at once (WBS_MAX_CHARGE, …).

What was taken once goes on when its currency is not taken any more: wallets in it can be read and paid out. A repeated
request gets its first answer, whatever the settings say now. The database is asked for that, and only then.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from wallet.commands import LedgerCommand, Withdraw
from wallet.currencies import Currencies
from wallet.errors import WalletError
from wallet.limits import UNLIMITED, Limits
from wallet.receipts import Recorded


class KnownBefore(Protocol):
    """What the database knows: whether a wallet is there, and whether a key was used."""

    @property
    def wallet(self) -> bool:
        """Whether the wallet is there."""

    @property
    def key(self) -> bool:
        """Whether the key was used."""


class Intake:
    """Passes on what may name its currency. `submit` is the ledger's, `known_before` that of `gateway.reads.Reads`."""

    def __init__(
        self,
        currencies: Currencies,
        limits: Limits,
        submit: Callable[[LedgerCommand], Awaitable[Recorded]],
        known_before: Callable[..., Awaitable[KnownBefore]],
    ) -> None:
        self.currencies = currencies
        self._taken = currencies.taken
        self._limits = None if limits == UNLIMITED else limits
        self._submit = submit
        self._known_before = known_before

    def submit(self, command: LedgerCommand) -> Awaitable[Recorded]:
        """Submit a command to the ledger, unless its currency is not taken, or its amount is beyond a limit.

        Then the result raises ValidationFailed or AmountLimitExceeded, unless its key was used before. From a wallet
        that is there, any currency can be withdrawn.
        """
        beyond = None if self._limits is None else self._limits.refusal(command)
        if beyond is None and self._taken(command.currency) is not None:
            return self._submit(command)
        return self._submit_if_known(command, beyond)

    async def currency_to_read(self, user_id: str, asked: str | None) -> str:
        """Return the currency of a wallet to be read: one that is taken, or that the user has a wallet in.

        Raises ValidationFailed, Unavailable or Overloaded.
        """
        taken = self._taken(asked)
        if taken is not None:
            return taken
        assert asked is not None, "the default is taken"
        if not (await self._known_before(user_id, asked)).wallet:
            raise self.currencies.refusal(asked)
        return asked

    async def _submit_if_known(self, command: LedgerCommand, beyond: WalletError | None) -> Recorded:
        known = await self._known_before(command.user_id, command.currency, command.space, command.key)
        if not known.key:
            pays_out = known.wallet and isinstance(command, Withdraw)
            if self._taken(command.currency) is None and not pays_out:
                raise self.currencies.refusal(command.currency)
            if beyond is not None:
                raise beyond
        return await self._submit(command)
