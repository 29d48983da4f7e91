"""The guard of our history: if it may be incomplete, payouts pause by themselves.

A database that was restored from a backup has forgotten the payouts made since, and would pay them again. Two signs
show this: the server differs from the recorded one, or the bank's books contain a reference of ours that we don't know
or have not sent. After a plain restart, or the promotion of a complete standby, the doubt ends once the bank's new
entries have been read and we know all of ours among them.
"""

from collections.abc import Callable, Sequence
from time import monotonic

from actors.bank.protocol import BookEntry, BooksUnreadable
from actors.reconciliation import BankComparison
from db import stack
from db.reconciliation import ReconcilerSession
from db.stack import TIMELINE, StackState
from runtime.telemetry import PAYOUTS_PAUSED, log

BOOKS_WAIT_S = 30.0
"""Longest wait of payouts for the bank's books after a plain restart of the database. After that, look-ups of single
withdrawals have to suffice: a bank without books must not stop payouts for good."""
ALL_BOOKS_WAIT_S = 300.0
"""The same, for books that can be read but do not come to an end."""


class HistoryGuard:
    """Checks the history at each beat of the leading reconciler."""

    def __init__(
        self,
        session: ReconcilerSession,
        comparison: BankComparison,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._session = session
        self._comparison = comparison
        self._clock = clock
        self._unsure_since: float | None = None
        self.state: StackState | None = None
        """The state at the last look."""
        comparison.on_unknown = self.unknown_at_the_bank

    @property
    def paused(self) -> bool:
        """True if the bank must not be asked to pay, as far as is known."""
        return self.state is None or not self.state.allowed

    @property
    def is_plain(self) -> bool:
        """True if payouts are not paused and no history was lost, so that open withdrawals need no look-ups."""
        return self.state is not None and self.state.paused_at is None and self.state.history_lost_at is None

    @property
    def standing(self) -> str:
        """The state of payouts, for people."""
        return "unknown" if self.state is None else self.state.standing

    async def look(self) -> None:
        """Compare the server with the recorded one; pause or resume payouts accordingly."""
        connection = self._session.connection
        here = await stack.server(connection)
        state = await stack.look(connection, here)
        if here.system_identifier is not None and not (
            state.same_run and state.same_database and state.same_timeline
        ):
            await self._judge(state, here)
            state = await stack.look(connection, here)
        if self.state is None or state.standing != self.state.standing:
            log.warning("payouts_stand", standing=state.standing)
        self.state = state
        PAYOUTS_PAUSED.set(0 if state.allowed else 1)

    async def _judge(self, state: StackState, here: stack.Server) -> None:
        connection = self._session.connection
        if not state.written_down:
            await stack.write_down(connection, here, whole=True)
            return
        if not state.same_database:
            reason = f"another database than before: system identifier {here.system_identifier}; history may be lost"
            await stack.pause_by_itself(connection, reason, history_lost=True)
            # Record the new server, so that this is reported once. An operator resumes payouts.
            await stack.write_down(connection, here, whole=True)
            return
        if not state.same_timeline:
            reason = f"{TIMELINE} than before: {here.timeline}; history may be lost"
            await stack.pause_by_itself(connection, reason, history_lost=True)
            await stack.write_down(connection, here, whole=False)
        if await self._bank_knows_no_more():
            await stack.write_down(connection, here, whole=True)
            await stack.resume_by_itself(connection)
            self._unsure_since = None

    async def _bank_knows_no_more(self) -> bool:
        """Read the new entries of the bank's books. Return True if all were read and we know all of ours among them.

        Return True also if payouts are not paused and the time for reading is over.
        """
        self._unsure_since = self._unsure_since or self._clock()
        wait_s = ALL_BOOKS_WAIT_S
        unknown_before = self._comparison.unknown
        try:
            all_read = await self._comparison.read_new_entries()
        except BooksUnreadable as error:
            log.warning("history_not_known_to_be_whole", error=str(error))
            wait_s = BOOKS_WAIT_S
        else:
            if all_read or self._comparison.unknown != unknown_before:
                return self._comparison.unknown == unknown_before
        state = await stack.look(self._session.connection)
        return state.paused_at is None and self._clock() - self._unsure_since > wait_s

    async def unknown_at_the_bank(self, entries: Sequence[BookEntry]) -> None:
        """Pause payouts, because new entries of the bank's books have references of ours that we never sent."""
        first = entries[0]
        reason = (
            f"the bank has {len(entries)} of our payouts that are not known here, {first.reference} first; "
            "history may be lost"
        )
        log.error("history_lost", reason=reason)
        await stack.pause_by_itself(self._session.connection, reason, history_lost=True, just_now=False)
