"""Rules about the bank's books, and rules about all answers, which can be judged only after every other trial."""

import asyncio
from collections import Counter
from time import monotonic

from actors.bank.protocol import BookEntry, CursorUnknown
from actors.bank.rules import Needs, Rule
from actors.bank.trial import Failed, NotTried, Trial
from wallet.outcomes import CHECK_PREFIX

PAGES_MAX = 5
"""Number of pages read when the complete books are not needed."""

SLACK_S = 1.0
"""Time that a busy machine may add to a call."""


class BooksRules:
    """Rules for the books before the first order and after the last."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._bank = trial.bank

    def before(self) -> list[Rule]:
        """Return the rules that come first: they change nothing."""
        return [
            Rule("the books can be read, page by page", Needs.NOTHING, self._can_be_read),
            Rule("the books tell the same when they are read again", Needs.NOTHING, self._are_stable),
            Rule("a cursor that is none is refused", Needs.NOTHING, self._bad_cursor_is_refused),
        ]

    def after(self) -> list[Rule]:
        """Return the rules that come last."""
        return [
            Rule("each payout is in the books, once", Needs.PAYOUTS, self._are_whole),
            Rule("the books tell what was ordered, to the minor unit", Needs.PAYOUTS, self._are_exact),
            Rule("what is entered later stands behind what was read", Needs.PAYOUTS, self._grow_at_their_end),
            Rule("words and pages are bounded", Needs.NOTHING, self._are_bounded),
            Rule("every call ends in time", Needs.NOTHING, self._in_time),
        ]

    # --- Before ---

    async def _can_be_read(self) -> str:
        entries, ids = 0, set()
        cursor, more, pages = None, True, 0
        while more and pages < PAGES_MAX:
            page = await self._bank.read_books(cursor)
            if page.passed_over:
                raise Failed(f"an entry can't be understood: {page.passed_over[0]}")
            if page.more and (page.cursor == cursor or not page.entries):
                raise Failed(f"they don't move on from {cursor!r}, and there is more")
            entries += len(page.entries)
            ids |= {entry.payout_id for entry in page.entries}
            cursor, more, pages = page.cursor, page.more, pages + 1
        if len(ids) < entries:
            raise Failed(f"{entries} entries have {len(ids)} payout ids")
        return f"{entries:,} entries read" + (", not all" if more else "")

    async def _are_stable(self) -> str:
        first = await self._bank.read_books(None)
        again = await self._bank.read_books(None)
        once, twice = ([entry.payout_id for entry in page.entries] for page in (first, again))
        if once != twice[: len(once)]:
            raise Failed(f"the first page begins with {once[:3]}, and then with {twice[:3]}")
        if first.cursor is not None:
            behind = await self._bank.read_books(first.cursor)
            repeated = {entry.payout_id for entry in behind.entries} & set(once)
            if repeated:
                raise Failed(f"behind the first page comes {repeated.pop()}, which stands in it")
        return f"{len(once):,} entries, in the same order"

    async def _bad_cursor_is_refused(self) -> str:
        try:
            page = await self._bank.read_books(f"{CHECK_PREFIX}no-such-cursor")
        except CursorUnknown:
            return "as a cursor of other books"
        raise Failed(f"it is answered with {len(page.entries)} entries: a reader would miss the others")

    # --- After ---

    async def _are_whole(self) -> str:
        self._trial.paid_first()
        ours = await self._all_entered()
        for named in ("reference", "payout_id"):
            [(word, times)] = Counter(getattr(entry, named) for entry in ours).most_common(1)
            if times > 1:
                raise Failed(f"{named} {word} is there {times} times")
        return f"{len(self._trial.paid)} payouts"

    async def _all_entered(self) -> list[BookEntry]:
        """Return the entries of this run once all paid payouts are among them. Raises Failed."""
        give_up_at = monotonic() + self._trial.scope.patience_s
        while True:
            ours = await self._trial.entries()
            missing = set(self._trial.paid) - {entry.reference for entry in ours}
            if not missing:
                return ours
            if monotonic() > give_up_at:
                raise Failed(f"paid, and not in the books: {', '.join(sorted(missing))}")
            await asyncio.sleep(self._trial.scope.pause_s)

    async def _are_exact(self) -> str:
        self._trial.paid_first()
        entries = await self._trial.entries()
        if not entries:
            raise NotTried("none of our payouts is in them")
        for entry in entries:
            self._is_exact(entry)
        return f"{len(entries)} entries"

    def _is_exact(self, entry: BookEntry) -> None:
        order = self._trial.orders.get(entry.reference)
        if order is None:
            raise Failed(f"{entry.reference} was never ordered")
        if (entry.amount, entry.currency) != (order.amount, order.currency):
            raise Failed(
                f"{entry.reference} is {entry.amount} {entry.currency}; {order.amount} {order.currency} were ordered"
            )
        expected = self._trial.paid.get(entry.reference)
        if entry.is_paid and expected is None:
            raise Failed(f"{entry.reference} was not paid, and is {entry.status}")
        if entry.status == "pending" and expected is not None:
            raise Failed(f"{entry.reference} was paid as {expected}, and is {entry.status}")
        if entry.is_paid and entry.payout_id != expected:
            raise Failed(f"{entry.reference} was paid as {expected}, and is {entry.payout_id}")

    async def _grow_at_their_end(self) -> str:
        self._trial.paid_first()
        were, are = await self._trial.last_page()
        read = [entry.payout_id for entry in await self._all_entered()]
        await self._trial.pays(self._trial.order())
        now = [entry.payout_id for entry in await self._all_entered()]
        were, are = were + read, are + now[: len(read)]
        if were != are:
            raise Failed(f"what was read as …{were[-3:]} is …{are[-3:]} now")
        return f"{len(were):,} entries stand where they stood"

    async def _are_bounded(self) -> str:
        if self._bank.out_of_bounds:
            raise Failed(self._bank.out_of_bounds[0])
        return "what came was within bounds"

    async def _in_time(self) -> str:
        seen = (
            f"{self._bank.calls} calls, {1000 * self._bank.slowest_s:.0f} ms at most ({self._bank.slowest})"
        )
        if self._bank.slowest_s > self._trial.scope.call_s_max + SLACK_S:
            raise Failed(f"{seen}; {1000 * self._trial.scope.call_s_max:.0f} are allowed")
        return seen
