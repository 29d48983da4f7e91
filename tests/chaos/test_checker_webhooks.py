"""The checker knows what a receiver of webhooks may be told, and in which order; each lie that is planted is named."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from standardwebhooks import Webhook

from lab.chaos.checker import Findings, check
from lab.chaos.client import RecordingClient
from lab.chaos.history import HistoryWriter, Record, Told, read
from lab.chaos.webhook_consumer import WebhookConsumer
from tests.chaos.honest_events import Event, events_of, told
from tests.chaos.honest_service import write
from tests.chaos.honest_transfers import HonestTransfers
from tests.ports import free_port

Answered = tuple[Event, int]
Verdict = Callable[[list[Answered]], Findings]


@pytest.fixture
def service() -> HonestTransfers:
    """A service after six charges and a withdrawal."""
    service = HonestTransfers()
    for number in range(6):
        service.charge(f"k{number}", 100)
    service.withdraw("w1", 50)
    service.move("id-7", "processing", "completed")
    return service


@pytest.fixture
def records(service: HonestTransfers) -> list[Record]:
    """Its history, without events."""
    return service.finish()


@pytest.fixture
def events(service: HonestTransfers, records: list[Record]) -> list[Event]:
    """What an honest service tells of it."""
    return events_of(service, records)


@pytest.fixture
def verdict(records: list[Record], events: list[Event], tmp_path: Path) -> Verdict:
    """Checks a history in which the receiver of webhooks was told this, and answered so; others were told as ever."""

    def judge(answered: list[Answered]) -> Findings:
        history = told(records, events)
        at = next(at for at, line in enumerate(history) if _is_webhook(line))
        lines = [Told("webhook", 1.0, json.dumps(event), answered=status) for event, status in answered]
        rest = [line for line in history[at:] if not _is_webhook(line)]
        return check(write([*history[:at], *lines, *rest], tmp_path / "history.jsonl"))

    return judge


def _is_webhook(line: Record) -> bool:
    return isinstance(line, Told) and line.consumer == "webhook"


def taken(events: list[Event]) -> list[Answered]:
    """All of them, each taken at once."""
    return [(event, 204) for event in events]


def test_an_unwell_receiver_has_no_violation(events: list[Event], verdict: Verdict) -> None:
    """Goal: an event may come again, and one that was refused three times may come later than others."""
    first, second, third, *rest = events
    calls = [
        (first, 204),
        (first, 204),
        (second, 503),
        (second, 429),
        (second, 204),
        *[(third, status) for status in (400, 404, 307)],
        *taken(rest),
        (first, 500),
        (third, 500),
        (third, 204),
    ]
    findings = verdict(calls)
    assert findings.violations == []
    assert findings.checked["told_again"] == len(calls) - len(events)


def test_what_a_receiver_may_not_be_told_is_found(events: list[Event], verdict: Verdict) -> None:
    """Goal: a gap, other words, another order, too little at an end, what goes on although one was not taken."""
    first, second, third, *rest = events
    other = first | {"by": "somebody"}
    lies: dict[str, tuple[set[str], list[Answered]]] = {
        "a gap": ({"event_gap"}, taken([first, third, *rest])),
        "a double with other words": ({"event_changed"}, taken([*events, other])),
        "other words than others were told": ({"event_differs"}, taken([other, *events[1:]])),
        "another order": (
            {"event_gap", "event_out_of_order"},
            taken([first, third, second, *rest]),
        ),
        "none at the end": ({"event_missing"}, taken(events[:-1])),
        "none at the beginning": ({"event_missing"}, taken(events[1:])),
        "nothing": ({"event_missing", "epoch_differs"}, []),
        "never taken at the end": ({"event_missing"}, [*taken(events[:-1]), (events[-1], 503)]),
        "refused, and not told again": (
            {"event_missing"},
            [*[(first, 400)] * 3, *taken(events[1:])],
        ),
        "refused once, and others pass": (
            {"event_overtaken"},
            [(first, 400), *taken(events[1:]), (first, 204)],
        ),
        "away for long, and others pass": (
            {"event_overtaken"},
            [*[(first, 503)] * 9, *taken(events[1:]), (first, 204)],
        ),
    }
    for lie, (rules, calls) in lies.items():
        assert set(verdict(calls).counts) == rules, lie


# --- the receiver itself ----------------------------------------------------------------------------------------------

SECRET, OTHER = ("whsec_" + letter * 43 + "=" for letter in "AQ")


class Endpoint(RecordingClient):
    """Says that an endpoint was made, without a service, and knows what it was asked."""

    def __init__(self, history: HistoryWriter) -> None:
        super().__init__("", "", history, 1.0)
        self.url = ""
        self.asked: list[tuple[str, Any]] = []

    async def webhooks(self, path: str, document: Any) -> Any:
        """Make the endpoint; note anything else."""
        if path:
            self.asked.append((path, document))
            return None
        self.url = document["url"]
        return {"id": "endpoint-1", "secret": SECRET}

    async def post(self, seq: int, secret: str = SECRET, claimed: str = "") -> int:
        """Post an event, signed by the secret; return the status."""
        at, id, body = (
            datetime.now(UTC),
            f"event-{seq}",
            f'{{"seq":{seq},"id":"{claimed or f"event-{seq}"}"}}',
        )
        headers = {
            "webhook-id": id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(secret).sign(id, at, body),
        }
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status


@pytest_asyncio.fixture
async def history(tmp_path: Path) -> AsyncIterator[HistoryWriter]:
    """A history with a receiver of webhooks."""
    history = HistoryWriter(tmp_path / "history.jsonl", 1, 1.0, ("webhook",))
    yield history
    history.close()


@pytest_asyncio.fixture
async def receiver(history: HistoryWriter) -> AsyncIterator[WebhookConsumer]:
    """A receiver that does not listen yet."""
    receiver = WebhookConsumer(1, free_port(), lambda url: url, history)
    yield receiver
    await receiver.end()


async def test_a_wrong_signature_is_found(receiver: WebhookConsumer, history: HistoryWriter) -> None:
    """Goal: the receiver takes what is signed by its secret alone, and the checker names everything else."""
    endpoint = Endpoint(history)
    assert await receiver.begin(endpoint)
    assert await endpoint.post(1) == 204
    history.flush()
    assert "webhook_unsigned" not in check(history.path).counts
    assert await endpoint.post(2, OTHER) == 400
    assert await endpoint.post(3, claimed="event-4") == 400
    history.flush()
    assert check(history.path).counts["webhook_unsigned"] == 2
    assert [line.record.body for line in read(history.path) if isinstance(line.record, Told)] == [
        '{"seq":1,"id":"event-1"}'
    ]
    assert receiver.after == 1


async def test_a_receiver_asks_for_what_it_has_refused(
    receiver: WebhookConsumer, history: HistoryWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: it has everything only when it has taken what it refused, and whoever waits for that is told."""
    endpoint = Endpoint(history)
    assert await receiver.begin(endpoint)
    waiting = asyncio.create_task(receiver.reach(3))
    answers = {1: [204], 2: [503, 500, 204], 3: [204]}
    asked: list[int] = []
    monkeypatch.setattr(receiver, "_status", lambda: answers[asked[-1]].pop(0))

    async def post(seq: int) -> None:
        asked.append(seq)
        await endpoint.post(seq)

    for seq in (1, 2, 2, 3):
        await post(seq)
    assert receiver.after == 1
    assert not waiting.done()
    await receiver.ask_again(endpoint)
    assert endpoint.asked == [("/endpoint-1/redeliver", {"seq": 2})]
    await post(2)
    await asyncio.wait_for(waiting, 10)
    assert receiver.after == 3
