"""One turn: calls one endpoint, one event after the other, and writes down how far it came.

An event that is refused by an endpoint which is there is tried a few times, then parked, and tried by itself. Without
an answer, the position stays where it is. What was not yet written down when a process dies is told again: at least
once, in order.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import monotonic
from uuid import UUID, uuid4

from db import events, webhook_turns
from db.connections import Reader
from db.webhook_turns import Due, Patience, Progress, Taken
from db.webhooks import Delivery
from runtime.telemetry import WEBHOOK_DELIVERIES, log, start_at_zero
from runtime.webhook_calls import Answer, WebhookCalls
from wallet.events import Event, types_named
from wallet.ids import uuid7_sequence
from wallet.user_ids import Spelling

TURN_S = 5.0
_LEASE_MARGIN_S = 4.0
"""No call begins this long after the lease was last renewed: a call may take ten seconds."""
_PAGE = 100
_WRITTEN_CALLS, _WRITTEN_S = 20, 0.5
"""What was done is recorded after so many calls, or this long."""
PARKED_MAX = 100
"""With so many events refused, a refusal counts as no answer: the endpoint refuses whatever it is told."""
start_at_zero(WEBHOOK_DELIVERIES, ("delivered", "refused", "unreachable"))
GONE = "it answered 410"


class TurnIsOver(Exception):
    """Nothing more can be done in this turn: the endpoint fails, was disabled, or belongs to another turn by now."""


class Turn:
    """A turn at one endpoint."""

    def __init__(
        self,
        id: UUID,
        reader: Reader,
        calls: WebhookCalls,
        spell: Spelling,
        patience: Patience,
        stopping: Callable[[], bool],
    ) -> None:
        self._id = id
        self._turn = uuid4()
        self._reader = reader
        self._calls = calls
        self._spell = spell
        self._patience = patience
        self._stopping = stopping
        self._progress = Progress()
        self._position = self._written = 0
        self._written_at = 0.0
        self._until = 0.0

    async def run(self) -> bool:
        """Deliver what there is, for a limited time; return False if the turn was not to be had.

        Raises Unavailable.
        """
        began_at = monotonic()
        taken = await webhook_turns.take(self._reader, self._id, self._turn)
        if taken is None:
            return False
        self._position = self._written = taken.delivered_seq
        self._written_at = began_at
        self._until = began_at + TURN_S
        try:
            await self._deliver_parked(taken)
            await self._deliver_new(taken)
            await self._write_down()
        except TurnIsOver:
            pass
        finally:
            await webhook_turns.give_back(self._reader, self._id, self._turn)
        return True

    async def _deliver_new(self, taken: Taken) -> None:
        """Deliver events in their order, as long as there are some and the turn lasts."""
        failures = taken.failures
        while self._goes_on():
            page = await self._page(taken, self._position, _PAGE)
            for event in page.events:
                if not self._goes_on():
                    return
                answer, attempts = await self._tried(taken, event, failures)
                failures = 0
                if not answer.delivered:
                    await self._require_room()
                    self._progress.put_off.append((event.seq, attempts, self._patience.parked_for(attempts)))
                    self._progress.failed = False
                self._position = event.seq
                await self._write_down_sometimes()
            at_the_end = page.looked_to == self._position and not page.events
            self._position = max(self._position, page.looked_to)
            if at_the_end:
                return

    async def _deliver_parked(self, taken: Taken) -> None:
        """Deliver the events that wait on their own and are due, for half of the turn at most."""
        half = monotonic() + TURN_S / 2
        due = await webhook_turns.due(self._reader, self._id, self._patience.give_up_after, _PAGE)
        while due and monotonic() < half and self._goes_on():
            page = await self._page(taken, due[0].seq - 1, _PAGE)
            waiting = {one.seq: one for one in due}
            for event in page.events:
                if event.seq in waiting and self._goes_on():
                    await self._deliver_one_parked(taken, event, waiting.pop(event.seq))
            if not self._goes_on():
                return
            looked_to = max(page.looked_to, due[0].seq)
            # What is not in the page is not there any more, or nothing that this endpoint wants.
            self._progress.done += [seq for seq in waiting if seq <= looked_to]
            due = [one for one in due if one.seq > looked_to]
        await self._write_down()

    async def _deliver_one_parked(self, taken: Taken, event: Event, due: Due) -> None:
        answer = await self._call(taken, event, due.attempts + 1)
        if answer.delivered:
            self._progress.done.append(event.seq)
        elif due.is_last and not taken.failures:  # as long as the endpoint takes others
            self._progress.done.append(event.seq)
            log.warning(
                "webhook_event_given_up", webhook_id=self._id, seq=event.seq, status=answer.status_code
            )
        else:
            attempts = due.attempts + 1
            self._progress.put_off.append((event.seq, attempts, self._patience.parked_for(attempts)))
        await self._write_down_sometimes()

    async def _tried(self, taken: Taken, event: Event, failures: int) -> tuple[Answer, int]:
        """Call until the event is taken, a few times; return the last answer and the number of calls."""
        answer = await self._call(taken, event, failures + 1)
        for number, pause_s in enumerate(self._patience.quick_pauses_s, failures + 1):
            if answer.delivered:
                return answer, number
            await self._write_down()
            await asyncio.sleep(pause_s)
            answer = await self._call(taken, event, number + 1)
        return answer, failures + 1 + len(self._patience.quick_pauses_s)

    async def _call(self, taken: Taken, event: Event, attempt: int) -> Answer:
        """Call about one event. Raises TurnIsOver if the endpoint gave no answer, or wants no more events."""
        if monotonic() - self._written_at > _LEASE_MARGIN_S:
            await self._write_down()
        at = datetime.now(UTC)
        about = {
            "wbs.webhook_id": self._id,
            "wbs.event_seq": event.seq,
            "wbs.event_type": event.type,
            "wbs.withdrawal_id": getattr(event.body.object, "withdrawal_id", None),
        }
        answer = await self._calls.post(
            taken.url, taken.secrets, str(event.body.id), event.json(), event.trace, about
        )
        WEBHOOK_DELIVERIES.labels(answer.status).inc()
        self._progress.deliveries.append(
            Delivery(
                next(uuid7_sequence(datetime.now(UTC))),
                event.seq,
                event.body.id,
                event.type,
                attempt,
                answer.status,
                answer.status_code,
                answer.error,
                answer.text,
                answer.took_ms,
                at,
            )
        )
        if answer.delivered:
            self._progress.failed = False
        if answer.gone:
            self._progress.disabled_reason = GONE
        if answer.gone or answer.unreachable:
            await self._fail()
        return answer

    async def _require_room(self) -> None:
        """Fail if so many events were refused that the endpoint refuses whatever it is told."""
        await self._write_down()
        if await webhook_turns.parked(self._reader, self._id) >= PARKED_MAX:
            await self._fail()

    async def _fail(self) -> None:
        self._progress.failed = True
        await self._write_down()
        raise TurnIsOver

    async def _page(self, taken: Taken, after: int, limit: int) -> events.EventPage:
        types = None if taken.types is None else types_named(taken.types)
        return await events.page(
            self._reader, after, limit, types=types, user_prefix=taken.user_prefix, spell=self._spell
        )

    def _goes_on(self) -> bool:
        return monotonic() < self._until and not self._stopping()

    async def _write_down_sometimes(self) -> None:
        calls: Sequence[Delivery] = self._progress.deliveries
        if len(calls) >= _WRITTEN_CALLS or monotonic() - self._written_at >= _WRITTEN_S:
            await self._write_down()

    async def _write_down(self) -> None:
        """Write down what was done, and renew the lease. Raises TurnIsOver if another process has the turn by now."""
        progress, self._progress = self._progress, Progress()
        at = monotonic()
        status = await webhook_turns.write_down(
            self._reader, self._id, self._turn, self._written, self._position, progress, self._patience
        )
        self._written, self._written_at = self._position, at
        if status == "disabled" and progress.failed:
            log.error("webhook_disabled", webhook_id=self._id, reason=progress.disabled_reason or "no answer")
        if status != "enabled":
            raise TurnIsOver
