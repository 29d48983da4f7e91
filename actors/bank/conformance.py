"""The conformance suite: rules that any bank module must keep, tried on the bank itself by `wbs bank check`.

A bank that breaks one of these rules would sooner or later pay somebody twice, or not at all. The rules know the bank
only by its protocol. Reading rules change nothing. Paying rules order payouts of a few minor units under references of
their own. The simulator's test destinations (`test:…`) make a bank decline, wait, lose replies and send money back; on
other banks those rules are not tried.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from actors.bank.protocol import Bank, BooksUnreadable
from actors.bank.rules import Needs, Rule
from actors.bank.rules_of_books import BooksRules
from actors.bank.rules_of_payouts import PayoutRules
from actors.bank.rules_of_simulator import SimulatorRules
from actors.bank.trial import Failed, NotTried, Scope, Trial


@dataclass(frozen=True, slots=True)
class Check:
    """A rule and the result of its trial: True passed, False failed, None not tried."""

    name: str
    passed: bool | None
    detail: str


class Conformance:
    """All the rules, in order, applied to one bank."""

    def __init__(self, bank: Bank, scope: Scope) -> None:
        trial = Trial(bank, scope)
        self._scope = scope
        books = BooksRules(trial)
        self.rules = [
            *books.before(),
            *PayoutRules(trial).rules(),
            *SimulatorRules(trial).rules(),
            *books.after(),
        ]

    async def checks(self) -> AsyncIterator[Check]:
        """Try the rules, one after the other. No behaviour of the bank raises here."""
        for rule in self.rules:
            yield await self._tried(rule)

    async def _tried(self, rule: Rule) -> Check:
        if rule.needs is not Needs.NOTHING and not self._scope.pays:
            return Check(rule.name, None, "it would order payouts")
        if rule.needs is Needs.SIMULATOR and not self._scope.simulates:
            return Check(rule.name, None, "only the simulator has test destinations")
        try:
            async with asyncio.timeout(2 * self._scope.patience_s):
                return Check(rule.name, True, await rule.trial())
        except NotTried as reason:
            return Check(rule.name, None, str(reason))
        except (Failed, BooksUnreadable) as error:
            return Check(rule.name, False, str(error))
        except TimeoutError:
            return Check(rule.name, False, "it does not end")
        except Exception as error:  # noqa: BLE001  # any failure of a third party's module is a result
            return Check(rule.name, False, f"the module raised {type(error).__name__}: {error}")
