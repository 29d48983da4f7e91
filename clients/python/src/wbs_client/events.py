"""The sequence of events: pages of it, and the stream of what comes (server-sent events)."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from uuid import UUID

import httpx
import msgspec

from wbs_client.call import Call, Listing, Part, as_json, params
from wbs_client.errors import Unanswered, WbsError
from wbs_client.event_models import Event, EventsPage, EventType
from wbs_client.flow import BUSY, FIRST_PAUSE_S, LONGEST_PAUSE_S, Said, error_of, retry_after_s
from wbs_client.models import UserId

Types = EventType | str | Sequence[str]
PAGE = 1000
HEARTBEAT_S = 20.0
"""A stream says something every 10 s. After twice that it is given up, and taken up again."""


def events_page(
    after: int | None = None,
    *,
    epoch: UUID | str | None = None,
    type: Types | None = None,
    user_id: UserId | None = None,
    limit: int = 100,
    wait: float = 0,
) -> Call[EventsPage]:
    """Return the events after a number; if there are none yet, wait up to `wait` seconds (30 at most) for one.

    Keep `epoch` and `next_after` with what you make of the events, and go on with them. Raises EventsGone.
    """
    query = params(
        after=after, epoch=epoch, type=_names(type), user_id=user_id, limit=limit, wait=wait or None
    )
    read = as_json(EventsPage)
    return Call(operation="listEvents", method="GET", path="/events", read=read, params=query, waits_s=wait)


def events(
    after: int | None = None,
    *,
    epoch: UUID | str | None = None,
    type: Types | None = None,
    user_id: UserId | None = None,
) -> Listing[Event]:
    """Iterate over the events after a number, up to the last that there is. Raises EventsGone."""
    whole = events_page(after, epoch=epoch, type=type, user_id=user_id, limit=PAGE)

    def read(response: httpx.Response) -> Part[Event]:
        page = whole.read(response)
        more = page.next_after < page.last_seq
        return Part(page.events, params(after=page.next_after, epoch=page.epoch) if more else None)

    return Listing(
        Call(operation=whole.operation, method="GET", path=whole.path, read=read, params=whole.params)
    )


def stream(
    after: int | None = None,
    *,
    epoch: UUID | str | None = None,
    type: Types | None = None,
    user_id: UserId | None = None,
) -> "Following":
    """Iterate over the events after a number, for ever: each as it comes. Without `after`: from the oldest on.

    A connection that was lost is taken up again without a gap. Raises EventsGone if the place is none any more,
    Unanswered after `patience_s` without any connection.
    """
    query = params(after=after, epoch=epoch, type=_names(type), user_id=user_id)
    return Following(
        Call(
            operation="streamEvents",
            method="GET",
            path="/events/stream",
            read=lambda response: None,
            params=query,
            accept="text/event-stream",
            waits_s=HEARTBEAT_S,
        )
    )


class Following:
    """Where a reader of the stream is, and what to do when it breaks."""

    def __init__(self, first: Call[None]) -> None:
        self.call = first
        self._rest = b""
        self._data: list[bytes] = []
        self._pause_s = FIRST_PAUSE_S
        self._failing_since: float | None = None

    def take(self, chunk: bytes) -> Iterator[Event]:
        """Take what came of the stream; yield the events that it completes. Raises httpx.RemoteProtocolError."""
        # Not httpx's own lines: it takes U+2028 in a text for the end of one.
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].strip())
            elif line.startswith(b":"):  # a heartbeat
                self._heard()
            elif not line.strip() and self._data:
                yield self._event()

    def _event(self) -> Event:
        try:
            event = msgspec.json.decode(b"\n".join(self._data), type=Event)
        except (msgspec.MsgspecError, ValueError) as unreadable:
            raise httpx.RemoteProtocolError(f"not an event: {unreadable}") from None
        self._data.clear()
        self._heard()
        # A restored database has another epoch, in which the number stands for something else.
        place = params(after=event.seq, epoch=event.epoch)
        self.call = replace(self.call, params={**self.call.params, **place})
        return event

    def _heard(self) -> None:
        self._pause_s, self._failing_since = FIRST_PAUSE_S, None

    def pause_s(self, said: Said, patience_s: float) -> float:
        """Return how long to wait before the next connection. Raises ApiError, Unanswered if there is to be none."""
        self._data.clear()
        self._rest = b""
        wait_s = random.uniform(self._pause_s / 2, self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        error: WbsError = Unanswered(f"the stream was cut off: {said!r}")
        if isinstance(said, httpx.Response):
            error = error_of(said)
            wait_s = max(wait_s, retry_after_s(said) or 0.0)
        self._failing_since = self._failing_since or time.monotonic()
        is_final = isinstance(said, httpx.Response) and said.status_code not in BUSY
        if is_final or time.monotonic() + wait_s > self._failing_since + patience_s:
            raise error
        return wait_s


def _names(types: Types | None) -> str | None:
    return types if types is None or isinstance(types, str) else ",".join(types)
