"""GET /health, /health/live, /health/ready: how the service is doing, for people and for load balancers."""

import asyncio
import time

from sanic import Request

from db.heartbeats import Heartbeat
from gateway.answers import Dependency, Health, Liveness, encode
from gateway.auth import Caller
from gateway.endpoint import Endpoints
from gateway.http import Answer
from gateway.operation import Given, Operation
from gateway.reads import Reads
from gateway.services import Services
from wallet.errors import TryLater

HEARTBEAT_AGE_S_MAX = 10.0
"""Processes beat every 3 s; one that was silent for three beats is taken for dead."""
FRESH_S = 0.5
"""A report serves all who ask within this time, however many they are."""

_EXAMPLE = {
    "status": "degraded",
    "queue_length": 3,
    "dependencies": {
        "postgres": {"status": "ok"},
        "rabbitmq": {"status": "ok"},
        "relay": {"status": "ok", "detail": "1 running"},
        "actors": {"status": "down", "detail": "no heartbeat"},
        "reconciler": {"status": "ok", "detail": "1 running"},
        "bank": {"status": "unknown", "detail": "actors say nothing"},
    },
}
_DOWN = {
    "status": "down",
    "queue_length": None,
    "dependencies": {"postgres": {"status": "down", "detail": "the database can't be reached"}},
}

HEALTH = Operation(
    "GET",
    "/health",
    "Health",
    "How the service and everything it leans on is doing",
    description="`degraded`: requests are taken, but something that withdrawals need later is away. 503 only "
    "if the database is away.",
    answers={
        200: Given("`ok` or `degraded`.", Health, _EXAMPLE),
        503: Given("The database is away.", Health, _DOWN, headers={"Retry-After": "Seconds."}),
    },
    open_to_all=True,
)
LIVE = Operation(
    "GET",
    "/health/live",
    "Health",
    "Whether the process answers",
    answers={200: Given("It does.", Liveness, {"status": "ok"})},
    open_to_all=True,
)
READY = Operation(
    "GET",
    "/health/ready",
    "Health",
    "Whether requests should be sent here",
    answers={
        200: Given("Yes.", Health, _EXAMPLE),
        503: Given(
            "No: the database is away, or the process is about to end.",
            Health,
            _DOWN,
            headers={"Retry-After": "Seconds."},
        ),
    },
    open_to_all=True,
)

_SOURCES = {"rabbitmq": ("relay",), "bank": ("actors", "reconciler")}
"""Who tells how a dependency is doing that the gateway itself never talks to."""
_AWAY = ("away", "down", "error", "blocked")


class HealthReporter:
    """Makes the report, from the database alone: the gateway talks to nobody else."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._report: Health | None = None
        self._made_at = 0.0
        self._making = asyncio.Lock()

    async def report(self) -> Health:
        """Return how all is, at most FRESH_S old."""
        async with self._making:
            if self._report is None or time.monotonic() - self._made_at > FRESH_S:
                self._report = await self._make()
                self._made_at = time.monotonic()
            return self._report

    async def _make(self) -> Health:
        try:
            queue_length, beats = await self._reads.health()
        except TryLater as error:
            return Health("down", None, {"postgres": Dependency("down", str(error))})
        dependencies = {"postgres": Dependency("ok"), **judge(beats)}
        well = all(dependency.status == "ok" for dependency in dependencies.values())
        return Health("ok" if well else "degraded", queue_length, dependencies)


def judge(beats: list[Heartbeat]) -> dict[str, Dependency]:
    """Return how the background processes are, and what they say of what they talk to."""
    alive = [beat for beat in beats if beat.age_s <= HEARTBEAT_AGE_S_MAX]
    running = {
        kind: [beat for beat in alive if beat.kind == kind] for kind in ("relay", "actors", "reconciler")
    }
    said = {name: _said(name, running, sources) for name, sources in _SOURCES.items()}
    processes = {
        kind: Dependency("ok", f"{len(found)} running") if found else Dependency("down", "no heartbeat")
        for kind, found in running.items()
    }
    return {"rabbitmq": said["rabbitmq"], **processes, "bank": said["bank"]}


def _said(name: str, running: dict[str, list[Heartbeat]], sources: tuple[str, ...]) -> Dependency:
    """Return the best that any process of a kind says (one that is cut off is not an outage), and of the kinds
    the worst: the bank may answer the reconciler's questions and refuse the actors' payments."""
    verdicts = []
    for source in sources:
        words = [str(beat.detail[name]) for beat in running[source] if name in beat.detail]
        good = [word for word in words if word not in _AWAY]
        if words and not good:
            return Dependency("down", f"{words[0]} ({source})")
        verdicts += good[:1]
    if not verdicts:
        return Dependency("unknown", f"no word from {' or '.join(sources)}")
    return Dependency("ok", None if verdicts[0] == "ok" else verdicts[0])


def register(endpoints: Endpoints, services: Services) -> None:
    """Serve the health reports."""
    reporter = HealthReporter(services.reads)
    alive = encode(Liveness("ok"))

    async def health(request: Request, caller: Caller) -> Answer:
        return _answer(await reporter.report())

    async def live(request: Request, caller: Caller) -> Answer:
        return Answer(alive)

    async def ready(request: Request, caller: Caller) -> Answer:
        report = await reporter.report()
        if services.draining:
            report = Health("down", report.queue_length, report.dependencies)
        return _answer(report)

    endpoints.add(HEALTH, health)
    endpoints.add(LIVE, live)
    endpoints.add(READY, ready)


def _answer(report: Health) -> Answer:
    if report.status == "down":
        return Answer(encode(report), 503, extra={"retry-after": "1", "cache-control": "no-store"})
    return Answer(encode(report), extra={"cache-control": "no-store"})
