"""What /health makes of the heartbeats."""

from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from db.heartbeats import Heartbeat
from db.last_writes import LastWrites
from db.write_trial import WriteTrial
from gateway.contract.response_models import Dependency
from gateway.readiness import Readiness
from gateway.routes.health import HealthRoutes, judge
from wallet.commands import Charge, Withdraw
from wallet.errors import Unavailable, ValidationFailed


def beat(kind: str, age_s: float = 1.0, **detail: Any) -> Heartbeat:
    return Heartbeat(kind, f"host:{kind}", age_s, detail)


def statuses(*beats: Heartbeat) -> dict[str, str]:
    return {name: dependency.status for name, dependency in judge(list(beats)).items()}


def test_nothing_runs() -> None:
    """Goal: without heartbeats the processes are down, and of what only they know nothing is known."""
    assert statuses() == {
        "rabbitmq": "unknown",
        "relay": "down",
        "actors": "down",
        "reconciler": "down",
        "courier": "down",
        "bank": "unknown",
    }


def test_all_well() -> None:
    """Goal: what the processes say well of is ok."""
    found = statuses(
        beat("relay", rabbitmq="ok"), beat("actors", bank="ok"), beat("reconciler"), beat("courier")
    )
    assert set(found.values()) == {"ok"}


def test_a_silent_process() -> None:
    """Goal: a process that has not been heard of for three beats counts as gone, with all that it said."""
    found = statuses(
        beat("relay", age_s=11, rabbitmq="ok"), beat("actors", bank="ok"), beat("reconciler"), beat("courier")
    )
    assert found["relay"] == "down"
    assert found["rabbitmq"] == "unknown"


@pytest.mark.parametrize("word", ["away", "down", "away: http 401"])
def test_away(word: str) -> None:
    """Goal: what all who should know say is away is down; if one still reaches it, it is not."""
    assert judge([beat("actors", bank=word)])["bank"] == Dependency("down", f"{word} (actors)")
    assert statuses(beat("actors", bank=word), beat("actors", bank="ok"))["bank"] == "ok"


def test_one_that_runs_and_cannot_work() -> None:
    """Goal: a process that says what it can't do is degraded, whatever others of its kind say; gone, it is silent."""
    trouble = beat("reconciler", trouble="lead: database_locked")
    assert statuses(beat("reconciler"), trouble)["reconciler"] == "degraded"
    assert judge([trouble])["reconciler"].detail == "lead: database_locked"
    assert statuses(beat("reconciler"), beat("reconciler", age_s=11, trouble="x"))["reconciler"] == "ok"


# --- Whether writes go through ---


class Clock:
    """A monotonic clock that tests set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Trials:
    """Trials with prepared results, which are counted."""

    def __init__(self) -> None:
        self.ends = WriteTrial(None)
        self.first: list[WriteTrial] = []
        """How the next ones end, before that."""
        self.made = 0

    async def __call__(self) -> WriteTrial:
        self.made += 1
        return self.first.pop(0) if self.first else self.ends


class Writes:
    """A writer, trials, and what is made of them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.last = LastWrites(clock=self.clock)
        self.trials = Trials()
        self.readiness = Readiness([self.last], self.trials, clock=self.clock)

    async def ready(self) -> bool:
        return (await self.readiness.verdict())[0]


async def test_a_trial_decides_where_nobody_writes() -> None:
    """Goal: without traffic a trial runs, at most once in two seconds for all callers; a failed one runs again soon."""
    writes = Writes()
    assert all([await writes.ready() for _ in range(50)])
    assert writes.trials.made == 1
    writes.trials.ends = WriteTrial("database_read_only")
    writes.clock.now += 2.1
    assert not await writes.ready()
    writes.trials.ends = WriteTrial(None)
    writes.clock.now += 1.1
    assert await writes.ready()


@pytest.mark.parametrize(
    ("reason", "again"),
    [("database_away", True), ("database_contended", True), ("database_read_only", False)],
)
async def test_what_is_over_at_once_is_tried_again(reason: str, again: bool) -> None:
    """Goal: one trial whose session was ended does not count; two in a row do, and other reasons count at once."""
    writes = Writes()
    writes.trials.first = [WriteTrial(reason)]
    assert await writes.ready() is again
    writes = Writes()
    writes.trials.ends = WriteTrial(reason)
    assert not await writes.ready()


async def test_writers_are_believed_before_trials() -> None:
    """Goal: a trial that goes through does not hide that writes fail; what was, is forgotten after 3 s."""
    writes = Writes()
    writes.last.failed(Unavailable("no", reason="database_slow"))
    assert not await writes.ready()
    assert writes.trials.made == 0
    writes.clock.now += 3.1
    assert await writes.ready()
    writes.last.failed(Unavailable("no", reason="database_slow"))
    writes.last.succeeded()
    writes.clock.now += 0.1
    assert await writes.ready()


async def test_requests_that_fail_alone() -> None:
    """Goal: one that fails all by itself may be at fault; another's that does too, with none of its kind in between
    that went through, tells of more. Other kinds say nothing of it."""
    writes = Writes()
    odd = asyncpg.RaiseError("odd")

    def fails(whose: str, error: Exception = odd) -> None:
        writes.clock.now += 0.1
        writes.last.failed_alone(Charge, whose, error)

    for whose in ("one", "one", "one"):
        fails(whose)
        assert await writes.ready()
    writes.last.succeeded({Charge})
    fails("another", ValidationFailed([("body", "no")]))
    fails("another")
    assert await writes.ready()
    fails("one")
    writes.last.succeeded({Withdraw})
    assert (await writes.readiness.verdict())[1].reason == "database_misconfigured"
    writes.clock.now += 3.1
    assert await writes.ready()
    fails("one")
    assert not await writes.ready()
    writes.last.succeeded({Charge, Withdraw})
    assert await writes.ready()
    locked = Unavailable("somebody else keeps a lock", reason="database_locked")
    for whose in ("one", "another", "a third", "a fourth", "a fourth"):
        fails(whose, locked)
        assert await writes.ready(), "a few wallets may well be locked"
    fails("a fifth", locked)
    assert not await writes.ready()


@pytest.mark.parametrize(
    ("reason", "ready"),
    [("database_connections_used_up", True), ("database_read_only", False), ("database_broken", False)],
)
async def test_a_trial_that_had_no_chance(reason: str, ready: bool) -> None:
    """Goal: a process whose open sessions write is green even if no new one can be opened; other failures are red."""
    writes = Writes()
    writes.trials.ends = WriteTrial(reason)
    writes.last.succeeded()
    writes.clock.now += 1
    assert await writes.ready() == ready
    assert (await writes.readiness.verdict())[1].reason == reason
    writes.clock.now += 5
    assert not await writes.ready()


async def test_alive_while_tasks_run() -> None:
    """Goal: a task that can't run makes the process not live, and is named."""
    handlers: dict[str, Any] = {}
    failing: list[str] = []
    endpoints = SimpleNamespace(add=lambda operation, handler: handlers.update({operation.path: handler}))
    services = SimpleNamespace(
        reads=None, readiness=None, draining=False, tasks=SimpleNamespace(failing=lambda: failing)
    )
    HealthRoutes(services).register(endpoints)  # type: ignore[arg-type]
    assert (await handlers["/health/live"](None, None)).status == 200
    failing.append("group-commit-ledger")
    answer = await handlers["/health/live"](None, None)
    assert answer.status == 503
    assert b'"failing":["group-commit-ledger"]' in answer.body
