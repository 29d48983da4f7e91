"""GET /events and /events/stream: what was changed, in one sequence without gaps."""

import asyncio

from db.events import EventPage, check_position, events_gone
from gateway.contract.event_parameters import EventsPage, EventsQuery, StreamQuery
from gateway.contract.operation import READ_ERRORS, USER, Operation, ResponseSpec
from gateway.contract.parameters import ParameterReader
from gateway.contract.responses import encode
from gateway.event_feed import EventFilter
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response
from gateway.wire.streamed_response import StreamedResponse
from wallet.errors import ValidationFailed
from wallet.scopes import Scope

_EPOCH = "5f0c1b2a-9d3e-4f60-8000-2d1f6b7a9c01"
_EXAMPLE = {
    "epoch": _EPOCH,
    "events": [
        {
            "epoch": _EPOCH,
            "seq": 3,
            "id": "7b0f3e0e-6a5e-5a2b-9a57-4f7f9a2c9f10",
            "type": "withdrawal.completed",
            "version": 1,
            "at": "2026-11-22T12:00:01.623456Z",
            "user_ids": [USER],
            "currency": "USD",
            "by": "actor",
            "object": {
                "withdrawal_id": "0199d3c0-8b2f-7d10-8000-5be1c0ffee01",
                "status": "completed",
                "user_id": USER,
                "currency": "USD",
                "amount": 1200,
                "metadata": None,
                "reason": "the bank paid",
                "failure_code": None,
                "reference": "4d5fd96b0bcd8f7f8a3f1e2c6b9d0a11",
                "bank_reference": "po_7f3a",
                "created_at": "2026-11-22T12:00:01.123456Z",
                "request_id": "5f0c1b2a9d3e4f60-2a",
                "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            },
        }
    ],
    "last_seq": 3,
    "next_after": 3,
}
_SEQUENCE_DOC = (
    "Each change of an object is one event, numbered within the `epoch` without gaps, in an order that agrees with "
    "that of each wallet and of each withdrawal. A restored database begins another epoch. A position that is none (of "
    "another epoch, past the end, or before the oldest event that is kept) is refused (`events_gone`), with figures. "
)

EVENTS = Operation(
    "GET",
    "/events",
    "Events",
    "What was changed, in order",
    description=_SEQUENCE_DOC + "Go on with `next_after`.",
    id="listEvents",
    query=EventsQuery,
    responses={200: ResponseSpec("Events.", EventsPage, _EXAMPLE)},
    errors=(*READ_ERRORS, "wallet_not_found", "events_gone", "validation_failed"),
    scope=Scope.EVENTS,
)
STREAM = Operation(
    "GET",
    "/events/stream",
    "Events",
    "What is being changed, as it comes",
    description=_SEQUENCE_DOC
    + "Server-sent events: `id` is the number, `event` the type, `data` the event as JSON. "
    "A connection that was lost is taken up again with `Last-Event-ID`, without a gap. A line that begins with a colon "
    "comes every 10 s at least.",
    id="streamEvents",
    query=StreamQuery,
    headers={"Last-Event-ID": "The last number that was received; it counts more than `after`."},
    responses={200: ResponseSpec("Events, until the connection ends.", media_types=("text/event-stream",))},
    errors=(*READ_ERRORS, "wallet_not_found", "events_gone", "validation_failed"),
    scope=Scope.EVENTS,
)


class EventRoutes:
    """Serves the sequence of events."""

    def __init__(self, services: Services) -> None:
        self._reads = services.reads
        self._feed = services.event_feed
        self._api_keys = services.api_keys
        self._events = ParameterReader(EventsQuery, services.user_ids)
        self._stream = ParameterReader(StreamQuery, services.user_ids)

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(EVENTS, self.events)
        endpoints.add(STREAM, self.stream)

    async def events(self, request: Request, caller: Caller) -> Response:
        """Return a page of events; with `wait`, once there are some."""
        query = self._events.read(request.query_string)
        which = _filter(query, caller)
        span = await self._reads.event_span()
        after = check_position(span, query.after, query.epoch)
        page = await self._reads.event_page(after, query.limit, which)
        if query.wait and not page.events:
            page = await self._waited(page, query, which, caller)
            span = await self._reads.event_span()
        if query.after is not None and not page.is_next:
            # What was next is gone since the position was checked.
            raise events_gone(await self._reads.event_span())
        events = [event.body for event in page.events]
        return Response(encode(EventsPage(span.epoch, events, span.last_seq, page.looked_to)))

    async def _waited(
        self, page: EventPage, query: EventsQuery, which: EventFilter, caller: Caller
    ) -> EventPage:
        """Return a page with events once there are some, or what there is after `wait`; without a place, at once."""
        clock = asyncio.get_running_loop().time
        until = clock() + query.wait
        with self._feed.place(caller.name) as has_place:
            while has_place and await self._feed.wait_beyond(page.looked_to, until - clock()):
                before, page = page, await self._reads.event_page(page.looked_to, query.limit, which)
                if page.events or not page.is_next or page.looked_to == before.looked_to:
                    break
        return page

    async def stream(self, request: Request, caller: Caller) -> Response:
        """Return the stream of events."""
        query = self._stream.read(request.query_string)
        which = _filter(query, caller)
        given = request.headers.get("last-event-id")
        after = query.after if given is None else _number(given)
        after = check_position(await self._reads.event_span(), after, query.epoch)
        self._feed.require_place(caller.name)
        pieces = self._feed.stream(after, which, caller.name, lambda: self._may(caller))
        return StreamedResponse(pieces, "text/event-stream", {"x-accel-buffering": "no"})

    def _may(self, caller: Caller) -> bool:
        """Tell whether the caller's key is still there: a revoked one ends its streams."""
        return caller.name is None or self._api_keys.is_known(caller.secret_hash)


def _filter(query: StreamQuery, caller: Caller) -> EventFilter:
    """Return what is asked for. Raises ValidationFailed, or WalletNotFound for another's user."""
    if query.user_id is not None:
        caller.require_own(query.user_id)
    return EventFilter(query.types(), query.user_id, caller.user_prefix)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise ValidationFailed([("Last-Event-ID", "must be the number of an event")])
    return int(text)
