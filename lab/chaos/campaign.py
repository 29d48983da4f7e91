"""One chaos run from beginning to end: stack, load, faults, healing, settling, audit, check."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from actors.audit import AuditImpossible, run_audit
from lab.chaos import consumers
from lab.chaos.aftermath import Aftermath
from lab.chaos.archivist import Archivist
from lab.chaos.checker import check
from lab.chaos.client import RecordingClient
from lab.chaos.disaster import Disaster
from lab.chaos.faults import Saboteur
from lab.chaos.green import BACKLOG, expect_green
from lab.chaos.history import HistoryWriter
from lab.chaos.lines import CONSUMERS, WEBHOOKS, Lines
from lab.chaos.load import Load
from lab.chaos.operations import Operations
from lab.chaos.pair import Failover, Pair
from lab.chaos.report import Report
from lab.chaos.schedule import clocks_even_from, plan
from lab.chaos.wallets import Wallets
from lab.chaos.webhook_consumer import WebhookConsumer
from ops.errors import OpsError
from ops.local import health, supervision
from ops.local.ports import private_port
from ops.local.progress import Progress
from ops.local.stack import Stack
from ops.state import StateDir
from runtime.settings import Settings

CLIENT_TIMEOUT_S = 4.0
HEALTHY_WITHIN_S = 30.0
HEALTH_POLL_S = 0.3
HEALTH_READ_EVERY_S = 0.25
TELL_EVERY_S = 5.0

# A compressed ladder: minutes in production are seconds here. It never reaches its end, so no withdrawal may be left in
# requires_attention: after the healing, all must end by themselves.
ENVIRONMENT = {
    "WBS_BANK_CONNECT_TIMEOUT_MS": "500",
    "WBS_BANK_TIMEOUT_MS": "1000",
    "WBS_ROUND_DEADLINE_MS": "3000",
    "WBS_LEASE_MS": "5000",
    "WBS_RETRY_ROUNDS": "1000000",
    "WBS_RETRY_DELAY_MS_MIN": "300",
    "WBS_RETRY_DELAY_MS_MAX": "3000",
    "WBS_REDRIVE_AFTER_MS": "3000",
    "WBS_RECONCILE_INTERVAL_MS": "500",
    "WBS_REVERSIBLE_DAYS": "0",
}


@dataclass(frozen=True)
class Order:
    """The parameters of a run."""

    seed: int
    seconds: float
    rate_per_s: float
    faults_per_minute: float
    folder: Path
    gateways: int = 2
    actors: int = 2
    threads: int = 20
    environment: Mapping[str, str] = field(default_factory=dict)
    failover: Failover | None = None
    """Use a pair of PostgreSQL servers, and lose the primary in the middle of the run."""


def run_campaign(order: Order, progress: Progress) -> Report:
    """Do a run in `order.folder`; history.jsonl and the stack's logs stay there. Raises OpsError if it can't start."""
    report = Report(order.seed, order.seconds)
    state = StateDir(order.folder / "stack")
    state.create()
    with ExitStack() as cleanup:
        pair = None if order.failover is None else Pair(order.folder, progress)
        if pair is not None:
            cleanup.callback(pair.stop)
            pair.start()
        lines = Lines(state, pair.ports if pair else ())
        lines.start()
        cleanup.callback(lines.stop)
        database = {"DATABASE_URL": pair.database_url(lines.host_ports)} if pair else {}
        stack = Stack(
            state.root,
            env={**ENVIRONMENT, **database, **order.environment},
            gateways=order.gateways,
            actors=order.actors,
            threads=order.threads,
            adapt=lines.rewire,
            progress=progress,
        )
        cleanup.callback(stack.stop)
        stack.start()
        asyncio.run(_drive(order, stack, lines, pair, report, progress))
        _audit(stack, report, progress)
    progress.say("Checking the history")
    findings = check(order.folder / "history.jsonl", _now_and_then(progress))
    report.findings.merge(findings)
    return report


async def _drive(
    order: Order, stack: Stack, lines: Lines, pair: Pair | None, report: Report, progress: Progress
) -> None:
    history = HistoryWriter(order.folder / "history.jsonl", order.seed, order.seconds, consumers.NAMES)
    wallets = Wallets(order.seed)
    try:
        async with RecordingClient(
            stack.urls["api"], stack.urls["bank"], history, CLIENT_TIMEOUT_S
        ) as client:
            saboteur = Saboteur(order.seed, stack, lines, client, history)
            operations = Operations(order.seed, client, wallets)
            await saboteur.start()
            webhooks = WebhookConsumer(
                order.seed,
                private_port(stack.state, "webhook_consumer"),
                partial(lines.through, WEBHOOKS),
                history,
            )
            told = consumers.Consumers(lines.through(CONSUMERS, stack.urls["api"]), webhooks, history)
            if not await told.start(client):
                raise OpsError("The run's receiver of webhooks could not be made known to the gateway.")
            disaster = None if pair is None else Disaster(pair, lines, operations, history)
            archivist = Archivist(
                order.seed, stack.state.root, order.folder / "archives", told, client, history
            )
            await _storm(order, operations, saboteur, disaster, archivist, client, progress)
            load_ended = history.mark("load_ended")
            told.behave()
            aftermath = Aftermath(client, operations, wallets, history, progress)
            progress.say("Healing everything")
            if not await saboteur.heal():
                aftermath.trouble("bank_away", "the bank takes its faults away", "no answer")
            healed = history.mark("healed")
            if not await asyncio.to_thread(_wait_whole, stack):
                aftermath.trouble("not_healthy", f"healthy within {HEALTHY_WITHIN_S:.0f} s", "not yet")
            report.healthy_s = history.mark("healthy") - healed
            await expect_green(client, aftermath, BACKLOG)
            if pair is None:
                progress.say("Ending the archive")
                if problem := await archivist.finish(load_ended):
                    aftermath.trouble("not_archived", "an archive", problem)
                archivist.tell()
            await aftermath.run(healed, archivist.instants)
            await expect_green(client, aftermath)
            if behind := await told.finish(client):
                aftermath.trouble("untold", "consumers at the end of the sequence", behind)
            history.mark("end")
            report.settled_s = aftermath.settled_s
            report.operations, report.answers = client.operations, client.answers
            report.faults, report.kills = saboteur.done + archivist.done, saboteur.kills
            report.slowest_comeback_s = saboteur.slowest_comeback_s
    finally:
        history.close()


async def _storm(
    order: Order,
    operations: Operations,
    saboteur: Saboteur,
    disaster: Disaster | None,
    archivist: Archivist,
    client: RecordingClient,
    progress: Progress,
) -> None:
    """Run load and faults at once, with a line of progress every few seconds."""
    faults = plan(order.seed, order.seconds, order.faults_per_minute)
    progress.say(f"{order.seconds:.0f} s of load, {len(faults)} faults planned, seed {order.seed}")
    teller = asyncio.create_task(_tell(order, saboteur, client, progress))
    watcher = asyncio.create_task(_watch_health(client))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(Load(operations, order.rate_per_s).run(order.seconds))
            group.create_task(saboteur.run(faults))
            if disaster is not None and order.failover is not None:
                group.create_task(disaster.strike(order.failover, order.seconds / 2))
            else:
                group.create_task(archivist.run(clocks_even_from(faults), order.seconds))
    finally:
        teller.cancel()
        watcher.cancel()


async def _watch_health(client: RecordingClient) -> None:
    """Query the service's health all the time: the checker compares it with the results of the writes."""
    while True:
        for op, path in (("health", "/health"), ("ready", "/health/ready")):
            await client.read(op, path, cell="")
            await asyncio.sleep(HEALTH_READ_EVERY_S)


async def _tell(order: Order, saboteur: Saboteur, client: RecordingClient, progress: Progress) -> None:
    begun = time.monotonic()
    while True:
        await asyncio.sleep(TELL_EVERY_S)
        elapsed_s = time.monotonic() - begun
        done = client.operations.total()
        unanswered = sum(count for name, count in client.answers.items() if name.endswith((" none", " 503")))
        progress.say(
            f"  {min(elapsed_s, order.seconds):.0f} of {order.seconds:.0f} s: {done:,} operations "
            f"({done / elapsed_s:.0f}/s), {unanswered:,} unanswered or 503, "
            f"{saboteur.done.total()} faults ({saboteur.kills} kills), {saboteur.underway} under way"
        )


def _wait_whole(stack: Stack) -> bool:
    """Wait until servers and processes answer, however often they were started before."""
    deadline = time.monotonic() + HEALTHY_WITHIN_S
    while time.monotonic() < deadline:
        if _whole(stack):
            return True
        time.sleep(HEALTH_POLL_S)
    return False


def _whole(stack: Stack) -> bool:
    servers = stack.servers
    assert servers is not None
    if servers.postgres is not None and not servers.postgres.ready():
        return False
    if servers.rabbitmq is not None and not servers.rabbitmq.ready():
        return False
    pids = dict(supervision.running(stack.state))
    ours = [program for program in stack.programs if program.kind not in ("", "postgres", "rabbitmq")]
    return all(health.answers(program, pids.get(program.name), stack.env) for program in ours)


def _now_and_then(progress: Progress) -> Callable[[str], None]:
    """Return a function that reports a text, at most once in a few seconds."""
    last = time.monotonic()

    def say(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= TELL_EVERY_S:
            last = time.monotonic()
            progress.say(f"  {text}")

    return say


def _audit(stack: Stack, report: Report, progress: Progress) -> None:
    """Run `wbs audit` on the stack's database and bank: a look at the ledger from within."""
    progress.say("Auditing the books")
    try:
        audit = asyncio.run(run_audit(Settings.from_env(stack.env)))
    except AuditImpossible as error:
        report.findings.add("audit", "wbs audit", "an audit", str(error))
        return
    for violation in audit.findings.violations:
        report.findings.add("audit", violation.subject, str(violation.expected), str(violation.found))
