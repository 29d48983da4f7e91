"""How the client reads events, without any network: pages to their end, a stream through breaks."""

from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Any

import httpx
import msgspec
import pytest

from wbs_client import ApiError, AsyncClient, Client, Unanswered
from wbs_client.event_models import Event, WithdrawalObject

URL = "http://wallets.example"
EPOCH = "5f0c1b2a-9d3e-4f60-8000-2d1f6b7a9c01"


def event(seq: int, **more: Any) -> dict[str, Any]:
    """An event as the service tells it."""
    return {
        "epoch": EPOCH,
        "seq": seq,
        "id": "7b0f3e0e-6a5e-5a2b-9a57-4f7f9a2c9f10",
        "type": "hold.melted",
        "version": 1,
        "at": "2026-11-28T00:00:00Z",
        "user_ids": [42],
        "currency": "USD",
        "by": None,
        "object": {"note": "one\u2028two"},
        **more,
    }


def told(*seqs: int) -> bytes:
    """These events as a part of a stream."""
    lines = b"".join(
        b"id: %d\nevent: hold.melted\ndata: %s\n\n" % (seq, msgspec.json.encode(event(seq))) for seq in seqs
    )
    return b": beat\n\n" + lines


class Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A stream in pieces of seven bytes that is cut off at its end."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self.content), 7):
            yield self.content[at : at + 7]
        raise httpx.ReadError("cut off")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self.content), 7):
            yield self.content[at : at + 7]
        raise httpx.ReadError("cut off")


class Service:
    """Answers requests for the stream in turn; the last answer says that the place is gone."""

    def __init__(self, *answers: bytes | httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, str]] = []
        self.transport = httpx.MockTransport(self.answer)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(dict(request.url.params))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, stream=Stream(answer))

    def client(self, patience_s: float = 60.0) -> Client:
        """A client of it."""
        return Client(URL, http=httpx.Client(transport=self.transport), patience_s=patience_s)


def gone() -> httpx.Response:
    """The answer to a place that is none any more."""
    return httpx.Response(410, json={"code": "events_gone", "status": 410, "last_seq": 9})


def story() -> Service:
    """A stream that is cut off in the middle of an event, refused, unreachable, ended, and gone."""
    busy = httpx.Response(503, headers={"retry-after": "0"})
    return Service(told(1, 2) + told(3)[:-9], busy, httpx.ConnectError("away"), b"", told(3), gone())


async def test_a_stream_goes_on_where_it_broke() -> None:
    """Goal: cut off in the middle of an event, refused or ended, it is taken up after the last whole one."""
    places = [
        {"type": "hold.melted,charge"},
        *4 * [{"type": "hold.melted,charge", "after": "2", "epoch": EPOCH}],
    ]
    places.append({**places[1], "after": "3"})
    service, other = story(), story()
    seen: list[Event] = []
    with pytest.raises(ApiError, match="events_gone") as refused, service.client() as client:
        seen += client.stream(type=["hold.melted", "charge"])
    assert [one.seq for one in seen] == [1, 2, 3]
    assert seen[0].object["note"] == "one\u2028two"
    assert seen[0].typed() is None
    assert refused.value.members["last_seq"] == 9
    assert service.asked == places
    same: list[Event] = []

    async def read_all() -> None:
        async with AsyncClient(URL, http=httpx.AsyncClient(transport=other.transport)) as async_client:
            async for one in async_client.stream(type=["hold.melted", "charge"]):
                same.append(one)

    with pytest.raises(ApiError, match="events_gone"):
        await read_all()
    assert (same, other.asked) == (seen, places)


def test_a_stream_that_stays_away_is_told() -> None:
    """Goal: after its patience a reader learns that there is no stream, and not before."""
    service = Service(told(7), httpx.ConnectError("away"))
    with service.client(patience_s=0.01) as client:
        events = client.stream(after=6)
        assert next(events).seq == 7
        with pytest.raises(Unanswered, match="stream"):
            next(events)


def test_what_is_no_event_is_asked_for_again() -> None:
    """Goal: a proxy's page in the middle of a stream loses nothing."""
    service = Service(told(1) + b"data: <html>\n\n", told(2))
    with service.client() as client:
        assert [one.seq for one in islice(client.stream(), 2)] == [1, 2]


def test_pages_are_read_to_the_last() -> None:
    """Goal: all events that there are, page by page, in the epoch of the first page; an empty page is no end."""
    pages = [
        {"epoch": EPOCH, "events": [event(1), event(2)], "last_seq": 9, "next_after": 4},
        {"epoch": EPOCH, "events": [], "last_seq": 9, "next_after": 8},
        {"epoch": EPOCH, "events": [event(9)], "last_seq": 9, "next_after": 9},
    ]
    service = Service(*(httpx.Response(200, json=page) for page in pages))
    with service.client() as client:
        assert [one.seq for one in client.events(user_id=42)] == [1, 2, 9]
    assert [one.get("after") for one in service.asked] == [None, "4", "8"]
    assert [one.get("epoch") for one in service.asked] == [None, EPOCH, EPOCH]


def test_objects_are_typed() -> None:
    """Goal: a program can branch on the kind of the object, and reads its members with their types."""
    withdrawal = {
        **{"withdrawal_id": EPOCH, "status": "failed", "user_id": 42, "currency": "USD", "amount": 5},
        **{"metadata": None, "reason": "declined", "failure_code": "closed", "reference": "r"},
        **{"bank_reference": None, "created_at": "2026-11-28T00:00:00Z"},
    }
    one = msgspec.convert(event(1, type="withdrawal.failed", object=withdrawal), Event)
    match one.typed():
        case WithdrawalObject(status="failed", failure_code=code):
            assert code == "closed"
        case other:
            pytest.fail(f"{other} is no failed withdrawal")
    assert msgspec.convert(event(1, type="withdrawal.failed"), Event).typed() is None
