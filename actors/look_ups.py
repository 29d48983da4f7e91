"""Look-ups: ask the bank about single withdrawals, without an attempt, and record its answers.

The table `look_ups` lists the withdrawals: the bank called back, its books differ from ours, or history was lost. A
callback or a line of the bank's books moves no money: it only causes a look-up, and the look-up's answer counts.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from actors.bank.protocol import Bank, PayoutOrder
from db.reconciliation import DueLookUp, ReconcilerSession, WithdrawalRow
from db.withdrawals import Withdrawals
from runtime.telemetry import CONTRADICTIONS, RECONCILER_ACTIONS, log, start_at_zero
from runtime.trail import trail
from wallet.errors import TryLater, WalletError
from wallet.outcomes import (
    Accepted,
    BankUnavailable,
    Declined,
    FindOutcome,
    OutcomeUnknown,
    Paid,
    Returned,
    RoundOutcome,
    Unresolved,
)
from wallet.withdrawal import OPEN_STATES, Status

AT_ONCE = 50
"""Number of withdrawals looked up at the same time."""

ASKED_MAX = 20
"""Number of withdrawals requiring attention that are looked up in one turn."""

KINDS = (
    "contradiction",
    "different",
    "doubled",
    "missing_there",
    "not_writable",
    "paid_but_not_by_us",
    "returned_less",
    "unknown_here",
    "unreadable",
)
"""The kinds of discrepancies."""

start_at_zero(RECONCILER_ACTIONS, ("redriven", "released", "returned", "settled"))
start_at_zero(RECONCILER_ACTIONS, [f"named_{kind}" for kind in KINDS])

NAMED_MAX = 10_000
"""Number of reported discrepancies to remember, so that each round does not report them again."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A disagreement that the bank's word can't settle: a person must find out which side is wrong."""

    kind: str
    reference: str
    bank: str
    ours: str | None


class Discrepancies:
    """The discrepancies found so far. Each is logged and counted once."""

    def __init__(self) -> None:
        self._named: OrderedDict[Discrepancy, None] = OrderedDict()
        self._seen: set[Discrepancy] = set()

    def name(self, kind: str, reference: str, *, bank: str, ours: str | None = None) -> None:
        """Report a disagreement. This changes nothing."""
        found = Discrepancy(kind, reference, bank, ours)
        self._seen.add(found)
        if found in self._named:
            return
        self._named[found] = None
        if len(self._named) > NAMED_MAX:
            self._named.popitem(last=False)
        RECONCILER_ACTIONS.labels(f"named_{kind}").inc()
        log.error("books_disagree", discrepancy=kind, reference=reference, bank=bank, ours=ours)

    def take_seen(self) -> list[Discrepancy]:
        """Return those that were reported since the last call, also those that had been before."""
        seen, self._seen = self._seen, set()
        return list(seen)

    def __iter__(self) -> Iterator[Discrepancy]:
        return iter(list(self._named))


class LookUps:
    """Asks the bank about withdrawals, and records its answers."""

    def __init__(
        self,
        bank: Bank,
        session: ReconcilerSession,
        withdrawals: Withdrawals,
        discrepancies: Discrepancies,
        our_codes: frozenset[str],
    ) -> None:
        self._bank = bank
        self._session = session
        self._withdrawals = withdrawals
        self._discrepancies = discrepancies
        self._our_codes = our_codes
        self._asked_after: UUID | None = None
        self.settled = 0
        """Number of withdrawals settled or returned by the bank's word so far."""

    async def work_off(self) -> int:
        """Ask about some due withdrawals; return their number. Those without an answer are due again later."""
        due = await self._session.look_ups_due(AT_ONCE)
        learned = await self._ask([one.known for one in due])
        done = [one for one, was_learned in zip(due, learned, strict=True) if was_learned]
        missed: list[DueLookUp] = [one for one in due if one not in done]
        await self._session.look_ups_done(done)
        await self._session.look_ups_missed(missed)
        return len(due)

    async def ask_about_the_stuck(self) -> bool:
        """Ask the bank about some of the withdrawals that require attention: it may know the answer by now.

        Return whether there may be more; if not, the next call starts again at the first.
        """
        stuck = await self._session.requiring_attention(self._asked_after, ASKED_MAX)
        await self._ask(stuck)
        self._asked_after = stuck[-1].id if len(stuck) == ASKED_MAX else None
        return self._asked_after is not None

    async def _ask(self, asked: Sequence[WithdrawalRow]) -> list[bool]:
        """Ask about each and record the answers. Return, for each, whether it was answered and dealt with."""
        answers = await asyncio.gather(*(self._find(known) for known in asked))
        learned = []
        for known, answer in zip(asked, answers, strict=True):
            learned.append(await self._learn(known, answer))
        heard = [
            known.id
            for known, answer in zip(asked, answers, strict=True)
            if known.status in OPEN_STATES and not isinstance(answer, BankUnavailable | OutcomeUnknown)
        ]
        if heard:
            await self._session.looked_up(heard)
        return learned

    async def _find(self, known: WithdrawalRow) -> FindOutcome:
        order = PayoutOrder(
            known.reference_text,
            known.amount,
            known.currency,
            known.destination,
            known.destination_known,
            known.trace,
        )
        try:
            return await self._bank.find(order, compare_all=known.conflict)
        except Exception as error:  # noqa: BLE001  # one failing look-up must not stop the others
            log.error("look_up_failed", exc_info=True, withdrawal_id=known.id)
            return OutcomeUnknown(f"our own fault: {type(error).__name__}")

    async def _learn(self, known: WithdrawalRow, answer: FindOutcome) -> bool:
        if isinstance(answer, BankUnavailable | OutcomeUnknown):
            return False
        outcome = self._meaning(known, answer)
        if outcome is None:
            return True
        try:
            status = await self._withdrawals.learn(known, outcome)
        except TryLater as error:
            log.warning("look_up_not_written", withdrawal_id=known.id, error=str(error))
            return False
        except WalletError as error:
            CONTRADICTIONS.inc()
            self._discrepancies.name(
                "contradiction", known.reference_text, bank=str(answer), ours=f"{known.status}: {error}"
            )
            return True
        except Exception:  # noqa: BLE001  # one failing write must not stop the others
            log.error("look_up_not_writable", exc_info=True, withdrawal_id=known.id)
            self._discrepancies.name(
                "not_writable", known.reference_text, bank=str(answer), ours=known.status
            )
            return False
        if status != known.status:
            self.settled += 1
            RECONCILER_ACTIONS.labels("returned" if status is Status.RETURNED else "settled").inc()
            trail.note("settled_by_the_bank", withdrawal_id=known.id, user_id=known.user_id, status=status)
        return True

    def _meaning(self, known: WithdrawalRow, answer: FindOutcome) -> RoundOutcome | None:
        """Return the outcome that an answer means for a withdrawal; None if nothing follows from it."""
        if isinstance(answer, Paid | Returned | Accepted):
            return answer
        if isinstance(answer, Declined):
            return None if self._is_about_us(answer) else answer
        if known.status == Status.PROCESSING and known.accepted_at is not None:
            return Unresolved("bank_contradiction", "the bank had accepted it and does not know it now")
        if known.status in (Status.COMPLETED, Status.RETURNED):
            self._discrepancies.name(
                "missing_there", known.reference_text, bank="not found", ours=known.status
            )
        return None

    def _is_about_us(self, answer: FindOutcome) -> bool:
        return isinstance(answer, Declined) and answer.code in self._our_codes
