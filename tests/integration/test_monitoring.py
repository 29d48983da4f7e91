"""Prometheus and Grafana: what they are configured to ask is what a running stack answers."""

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.local.stack import Stack
from tests.conftest import unavailable
from tests.polling import wait_until
from tests.ports import free_port

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
DATA_WITHIN_S = 120.0

# A bank that does everything a bank can do, and a ladder short enough to fall off it.
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


def tool(name: str) -> str:
    """Return the path of a program of Debian's package `prometheus`."""
    path = shutil.which(name)
    if path is None:
        unavailable(f"no {name}: apt-get install prometheus")
    assert path is not None
    return path


def promtool(*arguments: str) -> str:
    """Run promtool beside the rules; return what it says, fail the test if it finds fault."""
    done = subprocess.run(
        [tool("promtool"), *arguments],
        cwd=PROMETHEUS,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


# --- Without a stack -------------------------------------------------------------------------------------


@pytest.mark.parametrize("configuration", ["prometheus.yml", "prometheus-local.yml"])
def test_prometheus_takes_the_configuration(configuration: str, tmp_path: Path) -> None:
    """Goal: neither Prometheus configuration, nor the rules they load, has an error."""
    text = (PROMETHEUS / configuration).read_text(encoding="utf-8")
    token = tmp_path / "metrics-token"  # promtool looks whether it is there
    token.touch()
    (tmp_path / configuration).write_text(text.replace("/tmp/metrics-token", str(token)), encoding="utf-8")
    (tmp_path / "rules.yml").symlink_to(PROMETHEUS / "rules.yml")
    promtool("check", "config", str(tmp_path / configuration))


def test_alerts_fire_when_they_should_and_only_then() -> None:
    """Goal: each alert fires in its case and stays silent while all is well (rules_test.yml)."""
    promtool("test", "rules", "rules_test.yml")


def test_each_alert_has_a_case() -> None:
    """Goal: rules_test.yml makes every alert fire: an alert that nobody ever saw fire is not worth having."""
    cases = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text(encoding="utf-8"))["tests"]
    fired = {
        case["alertname"] for test in cases for case in test.get("alert_rule_test", []) if case["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in rules() if "alert" in rule}


def test_dashboards_are_readable() -> None:
    """Goal: the panels of a dashboard have distinct ids and titles, and ask the provisioned data source."""
    provisioned = DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    sources = {source["uid"] for source in yaml.safe_load(provisioned.read_text())["datasources"]}
    assert DASHBOARDS
    for path in DASHBOARDS:
        panels = json.loads(path.read_text(encoding="utf-8"))["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        assert len({panel["title"] for panel in panels}) == len(panels)
        asked = {target["datasource"]["uid"] for panel in panels for target in panel.get("targets", [])}
        assert asked == sources


# --- With a stack ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with a bad bank."""
    tool("prometheus")
    stack = Stack(tmp_path_factory.mktemp("monitored"), env=ENVIRONMENT, gateways=1, threads=8, bound=False)
    try:
        stack.start()
        if not stack.env["RABBITMQ_URL"]:
            unavailable("no RabbitMQ here, and none can be installed")
        yield stack
    finally:
        stack.stop()
        stack.state.delete()


@pytest.fixture(scope="module")
def prometheus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that scrapes the stack each second by the local configuration; its address."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "rules.yml").symlink_to(PROMETHEUS / "rules.yml")
    text = (PROMETHEUS / "prometheus-local.yml").read_text(encoding="utf-8")
    text, here = re.subn(
        r'files: \[".*"\]', f'files: ["{stack.state.root / "prometheus-targets.json"}"]', text
    )
    text, faster = re.subn(r"_interval: 5s", "_interval: 1s", text)
    assert (here, faster) == (1, 3), "the configuration has changed its form"
    (folder / "prometheus.yml").write_text(text, encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    with (folder / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [
                tool("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_every_process_is_scraped(stack: Stack, prometheus: str) -> None:
    """Goal: Prometheus reaches every kind of process that runs, and names it as `wbs ps` does."""
    kinds = {str(row["kind"]) for row in stack.ps()} - {"postgres"}

    def scraped() -> set[str]:
        found = query(prometheus, "up == 1") or []
        return {series["metric"]["job"] for series in found}

    wait_until(lambda: scraped() == kinds, DATA_WITHIN_S, what=f"{sorted(kinds)} are scraped")


@pytest.mark.slow
def test_every_expression_has_data(stack: Stack, prometheus: str) -> None:
    """Goal: each panel and measure asks for something that a stack with some traffic really tells."""
    wanted = dict(expressions())
    deadline = time.monotonic() + DATA_WITHIN_S
    number = 0
    while wanted and time.monotonic() < deadline:
        number += 1
        make_events(stack, number)
        for expression in list(wanted):
            if has_data(prometheus, expression):
                del wanted[expression]
    assert not wanted, "no data for: " + "; ".join(f"{where}: {what}" for what, where in wanted.items())


def expressions() -> Iterator[tuple[str, str]]:
    """Yield every expression with where it stands; of alerts what they measure, since most are silent."""
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield target["expr"].replace("$__rate_interval", "20s"), f"panel {panel['title']!r}"
    for rule in rules():
        if "record" in rule:
            yield rule["expr"], f"measure {rule['record']}"
            yield rule["record"], f"measure {rule['record']}"
        else:
            measures = re.findall(r"\bwbs:[a-z0-9_:]+|\bup\b", rule["expr"])
            assert measures, f"alert {rule['alert']} does not compare a measure"
            yield from ((measure, f"alert {rule['alert']}") for measure in measures)


def rules() -> list[dict[str, Any]]:
    """Return all rules, recording and alerting."""
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


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


def call(method: str, url: str, body: Any = None) -> int:
    """Return the status of a request."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def query(prometheus: str, expression: str) -> list[dict[str, Any]] | None:
    """Return the series of an instant query; None while Prometheus starts. Fails on a wrong expression."""
    url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            told = json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return None
        pytest.fail(f"{expression}: {error.read().decode()}")
    except urllib.error.URLError:
        return None
    result: list[dict[str, Any]] = told["data"]["result"]
    return result


def has_data(prometheus: str, expression: str) -> bool:
    """Tell whether at least one series has a number."""
    return any(series["value"][1] != "NaN" for series in query(prometheus, expression) or [])
