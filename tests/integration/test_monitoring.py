"""Prometheus, Alertmanager and Grafana beside a running stack: all that they ask for is told, and alerts reach people.

What needs no stack is in tests/unit/test_rules.py.
"""

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from ops.local.stack import Stack
from tests.conftest import unavailable
from tests.integration.prometheus import DASHBOARDS, Prometheus, alerts, rules, running_prometheus, tool
from tests.polling import wait_until

RUNBOOKS = Path(__file__).resolve().parents[2] / "docs" / "runbooks"
DATA_WITHIN_S = 120.0
FIRES_WITHIN_S = 120.0

FAULTS = {"seed": 3, "latency_ms": 5, "decline_rate": 0.2, "error_rate": 0.6}
ENVIRONMENT = {
    "DATABASE_URL": "",
    "RABBITMQ_URL": "",
    "WBS_METRICS_TOKEN": "",
    "WBS_BANK_URL": "",
    "WBS_BANK_FAULTS": json.dumps(FAULTS),
    "WBS_BANK_TRIES": "2",
    "WBS_BANK_TRY_DELAY_MS_MIN": "10",
    "WBS_BANK_TRY_DELAY_MS_MAX": "20",
    "WBS_RETRY_ROUNDS": "2",
    "WBS_RETRY_DELAY_MS_MIN": "200",
    "WBS_RETRY_DELAY_MS_MAX": "200",
    "WBS_RECONCILE_INTERVAL_MS": "200",
}


# --- The servers -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose disk is watched."""
    return tmp_path_factory.mktemp("disk")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, watched: Path) -> Iterator[Stack]:
    """A running stack with a bad bank."""
    tool("prometheus")
    env = {**ENVIRONMENT, "WBS_WATCHED_FOLDERS": str(watched)}
    stack = Stack(tmp_path_factory.mktemp("monitored"), env=env, gateways=1, threads=8, bound=False)
    try:
        stack.start()
        if not stack.env["RABBITMQ_URL"]:
            unavailable("no RabbitMQ here, and none can be installed")
        yield stack
    finally:
        stack.stop()
        stack.state.delete()


@pytest.fixture(scope="module")
def prometheus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the stack each second, and an Alertmanager."""
    targets = stack.state.root / "prometheus-targets.json"
    with running_prometheus(targets, tmp_path_factory.mktemp("prometheus")) as prometheus:
        yield prometheus


# --- All that is asked for is told -----------------------------------------------------------------------


def test_every_process_is_scraped(stack: Stack, prometheus: Prometheus) -> None:
    """Goal: Prometheus reaches every kind of process that runs, and names it as `wbs ps` does."""
    kinds = {str(row["kind"]) for row in stack.ps()} - {"postgres"}

    def scraped() -> set[str]:
        found = prometheus.query("up == 1") or []
        return {series["metric"]["job"] for series in found}

    wait_until(lambda: scraped() == kinds, DATA_WITHIN_S, what=f"{sorted(kinds)} are scraped")


@pytest.mark.slow
def test_every_expression_has_data(stack: Stack, prometheus: Prometheus) -> None:
    """Goal: each panel and measure asks for something that a stack with some traffic really tells."""
    wanted = dict(expressions())
    deadline = time.monotonic() + DATA_WITHIN_S
    number = 0
    while wanted and time.monotonic() < deadline:
        number += 1
        make_events(stack, number)
        for expression in list(wanted):
            if prometheus.has_data(expression):
                del wanted[expression]
    assert not wanted, "no data for: " + "; ".join(f"{where}: {what}" for what, where in wanted.items())


def expressions() -> Iterator[tuple[str, str]]:
    """Yield every expression with where it stands; of alerts what they measure, since most are silent."""
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield (
                    target["expr"].replace("$__rate_interval", "20s"),
                    f"{path.name}, panel {panel['title']!r}",
                )
    for rule in rules():
        if "record" in rule:
            yield rule["expr"], f"measure {rule['record']}"
            yield rule["record"], f"measure {rule['record']}"
        else:
            measures = re.findall(r"\bwbs:[a-z0-9_:]+|\bup\b", rule["expr"])
            assert measures, f"alert {rule['alert']} does not compare a measure"
            yield from ((measure, f"alert {rule['alert']}") for measure in measures)


def make_events(stack: Stack, number: int) -> None:
    """Make everything happen that is counted: charges, replays, refusals, withdrawals with each end, reads."""
    api = stack.urls["api"]
    charge = {"user_id": 7, "amount": 1_000_000, "idempotency_key": f"charge-{number}"}
    for _ in range(2):
        assert call("POST", f"{api}/charge", charge) == 200
    assert call("POST", f"{api}/charge", {"user_id": 7}) == 422
    for item in range(6):
        withdraw = {"user_id": 7, "amount": 10 + item, "idempotency_key": f"withdraw-{number}-{item}"}
        assert call("POST", f"{api}/withdraw", withdraw) == 202
    for path in ("/balance/7", "/transactions/7", "/health"):
        assert call("GET", f"{api}{path}") == 200


def make_dead_letters(stack: Stack, number: int, seen: Callable[[], object]) -> None:
    """Make everything happen while the bank fails each call, until something of it is seen."""
    faults = f"{stack.env['WBS_BANK_URL']}/faults"
    assert call("PUT", faults, {**FAULTS, "error_rate": 1.0}) == 200
    make_events(stack, number)
    wait_until(seen, FIRES_WITHIN_S, what="withdrawals require attention")
    assert call("PUT", faults, FAULTS) == 200


def call(method: str, url: str, body: Any = None) -> int:
    """Return the status of a request."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


# --- Alerts fire, and people hear of them ----------------------------------------------------------------

PROVOKED = {
    "AcceptedBudgetBurnsFast",
    "AuditFoundViolations",
    "AuditOld",
    "BackupOld",
    "BankInTrouble",
    "DatabaseConnectionsHigh",
    "DeadLetters",
    "EventsNotNumbered",
    "HealthDown",
    "HealthNotOk",
    "MoneyInAttention",
    "NoProcessOfKind",
    "OutboxOld",
    "PayoutsPaused",
    "ProcessDown",
    "RequestsFail",
    "VitalsUnreadable",
    "WebhooksDisabled",
    "WithdrawalOld",
    "WithdrawalsRequireAttention",
}
"""Alerts that can be made to fire within seconds. rules_test.yml has all."""
OF_DEAD_LETTERS = {"BankInTrouble", "DeadLetters", "MoneyInAttention", "WithdrawalsRequireAttention"}
"""Those that a bank brings about which fails each call; later payouts are paused."""
ENDS = {
    "AuditFoundViolations",
    "AuditOld",
    "BackupOld",
    "DatabaseConnectionsHigh",
    "EventsNotNumbered",
    "HealthDown",
    "NoProcessOfKind",
    "OutboxOld",
    "PayoutsPaused",
    "ProcessDown",
    "VitalsUnreadable",
    "WebhooksDisabled",
    "WithdrawalOld",
}
"""Those of them that end as soon as what provoked them is mended; the others look back over minutes."""


INHIBITED = {"AcceptedBudgetBurnsFast", "HealthNotOk", "RequestsFail", "VitalsUnreadable", "WithdrawalOld"}
"""Of these nobody need hear while their cause is told: an alert of which they are a consequence."""
TAMPERED = "update wallets set available = available {} 1 where user_id = '8'"
AGED = "update withdrawals set created_at = created_at {} interval '1 day' where user_id = '7' and amount = 3"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_alerts_fire_page_and_end(stack: Stack, prometheus: Prometheus, watched: Path) -> None:
    """Goal: what goes wrong on a real stack makes its alerts fire; people hear of them, with a runbook and a link, and
    of their end once it is mended."""
    fired: set[str] = set()

    def have_fired(*names: str) -> bool:
        fired.update(prometheus.firing())
        return fired.issuperset(names)

    make_dead_letters(stack, 1_000, lambda: have_fired(*OF_DEAD_LETTERS))
    with troubles(stack, watched) as database:
        freeze(stack, database)
        wait_until(
            lambda: have_fired("NoProcessOfKind", "ProcessDown", "OutboxOld", "EventsNotNumbered"),
            FIRES_WITHIN_S,
        )
        with database.locked("wallets"):
            wait_until(lambda: refused(stack) and have_fired("HealthDown", "RequestsFail"), FIRES_WITHIN_S)
        for name in sorted(PROVOKED):
            wait_until(partial(have_fired, name), FIRES_WITHIN_S, what=f"{name} fires")
    wait_until(lambda: not prometheus.firing() & ENDS, FIRES_WITHIN_S, what="they end")
    for receiver, severity in (("page", "page"), ("ticket", "ticket")):
        names = {name for name in PROVOKED - INHIBITED if alerts()[name]["labels"]["severity"] == severity}
        hear(prometheus, receiver, "firing", names)
        hear(prometheus, receiver, "resolved", names & ENDS)


def hear(prometheus: Prometheus, receiver: str, status: str, names: set[str]) -> None:
    """Wait until a receiver was told of all these alerts, and look at what it was told."""
    wait_until(lambda: names <= prometheus.receiver.heard(receiver, status).keys(), FIRES_WITHIN_S)
    for name, told in prometheus.receiver.heard(receiver, status).items():
        expected = alerts()[name]["annotations"]
        assert (told["runbook_url"], told["console"]) == (expected["runbook_url"], expected["console"])
        assert told["summary"]
        assert "{{" not in told["summary"]


@contextmanager
def troubles(stack: Stack, watched: Path) -> Iterator["Database"]:
    """Let things go wrong; on leaving, mend them. Yields the owner's way into the database."""
    assert stack.servers is not None
    database = Database(stack.servers.owner_url)
    with ExitStack() as mending:
        mending.callback(database.close)
        wbs(stack, "payouts", "pause", "--reason", "a test")
        mending.callback(wbs, stack, "payouts", "resume")
        watched.rmdir()
        mending.callback(watched.mkdir)
        # Somebody changed a wallet by hand, and since then days have passed without audit and backup.
        mending.callback(wbs, stack, "audit", "--record")
        mending.callback(database.execute, "insert into backups values (now(), 'somewhere', 'a test')")
        charge = {"user_id": 8, "amount": 5, "idempotency_key": "a wallet that nobody uses"}
        assert call("POST", f"{stack.urls['api']}/charge", charge) == 200
        database.execute(TAMPERED.format("+"))
        mending.callback(database.execute, TAMPERED.format("-"))
        assert wbs(stack, "audit", "--record") == 1
        database.execute(
            "update audit_runs set due_at = due_at - interval '3 days', ended_at = ended_at - interval '3 days'"
        )
        database.execute("update backups set taken_at = taken_at - interval '3 days'")  # of another test
        withdraw = {"user_id": 7, "amount": 3, "idempotency_key": "forgotten"}
        assert call("POST", f"{stack.urls['api']}/withdraw", withdraw) == 202
        database.execute(AGED.format("-"))
        mending.callback(database.execute, AGED.format("+"))
        assert call("POST", f"{stack.urls['api']}/webhooks", {"url": "http://127.0.0.1:9/"}) == 201
        database.execute("update webhook_endpoints set status = 'disabled'")
        mending.callback(database.execute, "delete from webhook_endpoints")
        database.use_up_connections()
        yield database


def freeze(stack: Stack, database: "Database") -> None:
    """Freeze relay and courier, until they are killed for that, with an old message and an old event before them."""
    for row in stack.ps():
        if row["kind"] in ("relay", "courier"):
            os.kill(int(row["pid"]), signal.SIGSTOP)
    withdraw = {"user_id": 7, "amount": 5, "idempotency_key": "not announced"}
    assert call("POST", f"{stack.urls['api']}/withdraw", withdraw) == 202
    database.execute("update outbox set created_at = created_at - interval '2 minutes'")
    database.execute("update event_batches set at = at - interval '2 minutes'")


def refused(stack: Stack) -> bool:
    """Let some charges be refused, at once since each takes its time."""
    charge = {"user_id": 7, "amount": 1}
    with ThreadPoolExecutor(16) as pool:
        bodies = [{**charge, "idempotency_key": uuid4().hex} for _ in range(16)]
        statuses = set(pool.map(lambda body: call("POST", f"{stack.urls['api']}/charge", body), bodies))
    return statuses == {503}


class Database:
    """The owner's session, from a test that has no event loop; and others that only take room."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._runner = asyncio.Runner()
        self._connection = self._run(asyncpg.connect(url))
        self._others: list[Any] = []

    def _run(self, work: Any) -> Any:
        return self._runner.run(_awaited(work))

    def execute(self, statement: str) -> None:
        """Execute one statement."""
        self._run(self._connection.execute(statement))

    def fetch(self, query: str) -> list[Any]:
        """Return the rows of a query."""
        rows: list[Any] = self._run(self._connection.fetch(query))
        return rows

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Keep everybody else from a table."""
        self.execute(f"begin; lock table {table} in access exclusive mode")
        yield
        self.execute("rollback")

    def use_up_connections(self) -> None:
        """Open sessions until nine tenths of those that there may be are in use."""
        query = (
            "select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,"
            " sum(numbackends)::int from pg_stat_database"
        )
        [(allowed, used)] = self.fetch(query)
        for _ in range(int(0.9 * allowed) - used):
            self._others.append(self._run(asyncpg.connect(self._url)))

    def close(self) -> None:
        """End all sessions."""
        for connection in (*self._others, self._connection):
            connection.terminate()
        self._runner.close()


async def _awaited(work: Any) -> Any:
    return await work


# --- The runbooks ----------------------------------------------------------------------------------------

MAY_SAY_NO = {"wbs dlq replay $ID", "wbs payouts status", "wbs status"}
"""Commands whose exit code 1 is an answer: it does not require attention any more; payouts are
paused; not all is well."""


def blocks() -> dict[tuple[str, str], str]:
    """Return each command and each query of the runbooks, with the first page that has it, in their order."""
    found: dict[tuple[str, str], str] = {}
    for path in sorted(RUNBOOKS.glob("[A-Z]*.md")):
        if path.stem == "README":
            continue
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^```(?!sh$|sql$|$)", text, re.MULTILINE), (
            f"{path.name}: a block of another kind"
        )
        for kind, block in re.findall(r"^```(sh|sql)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            for command in block.splitlines() if kind == "sh" else [block]:
                found.setdefault((kind, command), path.stem)
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_command_of_the_runbooks_works(stack: Stack, prometheus: Prometheus) -> None:
    """Goal: whoever follows a runbook at night finds that each command and each query in it does what it is for."""
    assert stack.servers is not None
    database = Database(stack.servers.owner_url)
    stuck = "select id from withdrawals where status = 'requires_attention' limit 1"
    make_dead_letters(stack, 2_000, lambda: database.fetch(stuck))
    [(id_,)] = database.fetch(stuck)
    faults = f"{stack.env['WBS_BANK_URL']}/faults"
    assert call("PUT", faults, {}) == 200
    wrong: list[str] = []
    for (kind, command), page in blocks().items():
        if kind == "sql":
            database.fetch(command)
            continue
        done = shell(stack, command, {"API": stack.urls["api"], "ID": str(id_)})
        allowed = {0, 1} if command in MAY_SAY_NO else {0}
        if done.returncode not in allowed or "Traceback" in done.stderr:
            wrong.append(
                f"{page}: {command}: exit code {done.returncode}: {done.stdout[-300:]}{done.stderr[-300:]}"
            )
    places = " ".join(place for (place,) in database.fetch("select place from backups"))
    assert ".dump" in places, "a dump is recorded"
    assert "snapshot of the provider" in places
    database.close()
    assert call("PUT", faults, FAULTS) == 200
    assert not wrong, "\n".join(wrong)


def shell(stack: Stack, command: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command as the operator of the stack."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    inherited = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        env={**inherited, **variables, "PATH": path, "WBS_STATE_DIR": str(stack.state.root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def wbs(stack: Stack, *words: str) -> int:
    """Run a `wbs` command; return its exit code."""
    return shell(stack, shlex.join(["wbs", *words]), {}).returncode
