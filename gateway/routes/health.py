"""GET /health, /health/live, /health/ready: the state of the service, for people and for load balancers.

`live`: the tasks of this process run. `ready`: writes of this process go through. `/health`: the whole. When writes
fail none of them is green but `live`; when they work none is red.
"""

import asyncio
import time
from typing import Literal

from db.heartbeats import Heartbeat
from gateway.contract.operation import Operation, ResponseSpec
from gateway.contract.response_models import Dependency, Health, Liveness, Reason
from gateway.contract.responses import encode
from gateway.readiness import Readiness
from gateway.reads import LATE_S, HealthFacts, Reads
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response
from wallet.errors import TryLater

HEARTBEAT_AGE_S_MAX = 10.0
"""Processes beat every 3 s; one that misses three beats is taken for dead."""
FRESH_S = 0.5
"""A report is used for all requests within this time."""

_EXAMPLE = {
    "status": "degraded",
    "queue_length": 3,
    "dependencies": {
        "postgres": {"status": "ok"},
        "rabbitmq": {"status": "ok"},
        "relay": {"status": "ok", "detail": "1 running"},
        "actors": {"status": "down", "detail": "no heartbeat"},
        "reconciler": {"status": "ok", "detail": "1 running"},
        "courier": {"status": "ok", "detail": "1 running"},
        "bank": {"status": "unknown", "detail": "no word from actors or reconciler"},
    },
    "reasons": [
        {"code": "actors_down", "detail": "no heartbeat"},
        {"code": "bank_unknown", "detail": "no word from actors or reconciler"},
        {"code": "payouts_paused", "detail": "operator: the bank's books disagree"},
    ],
}
_DOWN = {
    "status": "down",
    "queue_length": None,
    "dependencies": {
        "postgres": {"status": "down", "detail": "database_read_only: write: cannot execute INSERT …"}
    },
    "reasons": [{"code": "database_read_only", "detail": "write: cannot execute INSERT …"}],
}

HEALTH = Operation(
    "GET",
    "/health",
    "Health",
    "The state of the service and of everything that it depends on",
    id="getHealth",
    description="`degraded`: requests are taken, but something that withdrawals need later is not well (`reasons` "
    "names it): a process or a dependency is away, a withdrawal waits for more than 60 s, payouts are paused. 503 only "
    "if writes fail.",
    responses={
        200: ResponseSpec("`ok` or `degraded`.", Health, _EXAMPLE),
        503: ResponseSpec("Writes fail.", Health, _DOWN, headers={"Retry-After": "Seconds."}),
    },
)
LIVE = Operation(
    "GET",
    "/health/live",
    "Health",
    "Whether the process works: if not, it should be started again",
    id="getLiveness",
    description="A process that waits for a database that is away is alive: a restart would not help.",
    responses={
        200: ResponseSpec("It does.", Liveness, {"status": "ok"}),
        503: ResponseSpec(
            "Some of its tasks can't run.",
            Liveness,
            {"status": "down", "failing": ["group-commit-ledger"]},
            headers={"Retry-After": "Seconds."},
        ),
    },
)
READY = Operation(
    "GET",
    "/health/ready",
    "Health",
    "Whether requests should be sent here",
    id="getReadiness",
    description="Whether writes of this process go through: by its last ones, and by a trial, which is a real write.",
    responses={
        200: ResponseSpec("Yes.", Health, _EXAMPLE),
        503: ResponseSpec(
            "No: writes fail, or the process is about to end.",
            Health,
            _DOWN,
            headers={"Retry-After": "Seconds."},
        ),
    },
)

_SOURCES = {"rabbitmq": ("relay", "actors"), "bank": ("actors", "reconciler")}
"""The kinds of processes whose heartbeats tell the state of dependencies that the gateway never talks to."""
_AWAY = ("away", "down", "error", "blocked")
"""Words that say so, alone or with a reason behind a colon."""


class HealthReporter:
    """Makes the report from the database alone: the gateway talks to nothing else."""

    def __init__(self, reads: Reads, readiness: Readiness) -> None:
        self._reads = reads
        self._readiness = readiness
        self._report: Health | None = None
        self._made_at = 0.0
        self._making = asyncio.Lock()

    async def report(self) -> Health:
        """Return the report, at most FRESH_S old."""
        async with self._making:
            if self._report is None or time.monotonic() - self._made_at > FRESH_S:
                self._report = await self._make()
                self._made_at = time.monotonic()
            return self._report

    async def _make(self) -> Health:
        (can_write, trial), facts = await asyncio.gather(self._readiness.verdict(), self._facts())
        reasons = [] if trial.reason is None else [Reason(trial.reason, trial.detail)]
        if isinstance(facts, TryLater):
            reasons = reasons or [Reason(facts.reason, str(facts))]
            return Health(
                "degraded" if can_write else "down",
                None,
                {"postgres": _postgres(can_write, reasons)},
                reasons,
            )
        dependencies = {"postgres": _postgres(can_write, reasons), **judge(facts.heartbeats)}
        reasons += [
            Reason(f"{name}_{dependency.status}", dependency.detail)
            for name, dependency in dependencies.items()
            if name != "postgres" and dependency.status != "ok"
        ]
        if facts.paused_reason is not None:
            reasons.append(Reason("payouts_paused", facts.paused_reason))
        if facts.is_late:
            reasons.append(Reason("withdrawals_late", f"one waits for more than {LATE_S:g} s"))
        status: Literal["ok", "degraded", "down"] = (
            "ok" if not reasons else "degraded" if can_write else "down"
        )
        return Health(status, facts.queue_length, dependencies, reasons)

    async def _facts(self) -> HealthFacts | TryLater:
        try:
            return await self._reads.health()
        except TryLater as error:
            return error


def _postgres(can_write: bool, reasons: list[Reason]) -> Dependency:
    if not reasons:
        return Dependency("ok")
    words = ": ".join(word for word in (reasons[0].code, reasons[0].detail) if word)
    return Dependency("degraded" if can_write else "down", words)


def judge(beats: list[Heartbeat]) -> dict[str, Dependency]:
    """Return the state of the background processes, and of the dependencies that they talk to."""
    alive = [beat for beat in beats if beat.age_s <= HEARTBEAT_AGE_S_MAX]
    running = {
        kind: [beat for beat in alive if beat.kind == kind]
        for kind in ("relay", "actors", "reconciler", "courier")
    }
    said = {name: _said(name, running, sources) for name, sources in _SOURCES.items()}
    processes = {kind: _process(found) for kind, found in running.items()}
    return {"rabbitmq": said["rabbitmq"], **processes, "bank": said["bank"]}


def _process(found: list[Heartbeat]) -> Dependency:
    """Return the state of the processes of a kind. One that can't do its work is reported, even if others can."""
    if not found:
        return Dependency("down", "no heartbeat")
    troubles = [str(beat.detail["trouble"]) for beat in found if "trouble" in beat.detail]
    return Dependency("degraded", troubles[0]) if troubles else Dependency("ok", f"{len(found)} running")


def _said(name: str, running: dict[str, list[Heartbeat]], sources: tuple[str, ...]) -> Dependency:
    """Return the state of a dependency, by the best report within each kind and the worst among the kinds.

    One process that is cut off is no outage; but the bank may answer the reconciler and refuse the actors' payments.
    """
    verdicts = []
    for source in sources:
        words = [str(beat.detail[name]) for beat in running[source] if name in beat.detail]
        good = [word for word in words if word.partition(":")[0] not in _AWAY]
        if words and not good:
            return Dependency("down", f"{words[0]} ({source})")
        verdicts += good[:1]
    if not verdicts:
        return Dependency("unknown", f"no word from {' or '.join(sources)}")
    return Dependency("ok", None if verdicts[0] == "ok" else verdicts[0])


class HealthRoutes:
    """Serves the health reports."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.reporter = HealthReporter(services.reads, services.readiness)
        self._alive = encode(Liveness("ok"))

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(HEALTH, self.health)
        endpoints.add(LIVE, self.live)
        endpoints.add(READY, self.ready)

    async def health(self, request: Request, caller: Caller) -> Response:
        """Return the state of the whole service."""
        return _response(await self.reporter.report())

    async def live(self, request: Request, caller: Caller) -> Response:
        """Return whether the tasks of this process run."""
        failing = self._services.tasks.failing()
        return _unavailable(Liveness("down", failing)) if failing else Response(self._alive)

    async def ready(self, request: Request, caller: Caller) -> Response:
        """Return whether requests should be sent to this process."""
        report = await self.reporter.report()
        if self._services.draining:
            reasons = [Reason("stopping"), *report.reasons]
            report = Health("down", report.queue_length, report.dependencies, reasons)
        return _response(report)


def _response(report: Health) -> Response:
    if report.status == "down":
        return _unavailable(report)
    return Response(encode(report))


def _unavailable(report: Health | Liveness) -> Response:
    return Response(encode(report), 503, extra={"retry-after": "1"})
