"""A real Prometheus and a real Alertmanager beside a stack, configured as deploy/ has them, only quicker."""

import json
import os
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import unavailable
from tests.ports import free_port

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))


def tool(name: str) -> str:
    """Return the path of a program of Debian's packages `prometheus` and `prometheus-alertmanager`."""
    path = shutil.which(name)
    if path is None:
        unavailable(f"no {name}: apt-get install prometheus prometheus-alertmanager")
    assert path is not None
    return path


def rules() -> list[dict[str, Any]]:
    """Return all rules, recording and alerting."""
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alerting rules by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


class Receiver:
    """Whoever is told of alerts: a web server that keeps what Alertmanager sends to it."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        """All notifications so far; each has `receiver`, `status` and `alerts`."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.told.append(json.loads(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self._server.server_close()

    def heard(self, receiver: str, status: str) -> dict[str, dict[str, Any]]:
        """Return the annotations of the alerts that a receiver was told of, by the alerts' names."""
        return {
            alert["labels"]["alertname"]: alert["annotations"]
            for notification in list(self.told)
            for alert in notification["alerts"]
            if notification["receiver"] == receiver and alert["status"] == status
        }


class Prometheus:
    """A running Prometheus; `receiver` hears of its alerts by way of an Alertmanager."""

    def __init__(self, url: str, receiver: Receiver) -> None:
        self._url = url
        self.receiver = receiver

    def query(self, expression: str) -> list[dict[str, Any]] | None:
        """Return the series of an instant query; None while Prometheus starts. Fails on a wrong expression."""
        url = f"{self._url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
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

    def has_data(self, expression: str) -> bool:
        """Tell whether at least one series has a number."""
        return any(series["value"][1] != "NaN" for series in self.query(expression) or [])

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire now."""
        return {series["metric"]["alertname"] for series in self.query('ALERTS{alertstate="firing"}') or []}


@contextmanager
def running_prometheus(targets: Path, folder: Path) -> Iterator[Prometheus]:
    """Scrape and evaluate each second by the local configuration, and let alerts fire after one second."""
    receiver = Receiver()
    (folder / "rules.yml").write_text(
        re.sub(
            r"^(\s+for:) .*$", r"\1 1s", (PROMETHEUS / "rules.yml").read_text(encoding="utf-8"), flags=re.M
        ),
        encoding="utf-8",
    )
    ours, manager = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    text = (PROMETHEUS / "prometheus-local.yml").read_text(encoding="utf-8")
    text, here = re.subn(r'files: \[".*"\]', f'files: ["{targets}"]', text)
    text, there = re.subn(r"127\.0\.0\.1:9093", manager, text)
    text, faster = re.subn(r"_interval: 5s", "_interval: 1s", text)
    assert (here, there, faster) == (1, 1, 3), "the configuration has changed its form"
    (folder / "prometheus.yml").write_text(text, encoding="utf-8")
    settings = {
        "ALERT_PAGE_WEBHOOK_URL": receiver.url,
        "ALERT_TICKET_WEBHOOK_URL": receiver.url,
        "ALERT_GROUP_WAIT": "1s",
        "ALERT_GROUP_INTERVAL": "1s",
    }
    configured = subprocess.run(
        ["sh", str(DEPLOY / "alertmanager" / "configure")],
        env={"PATH": os.environ["PATH"], **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    (folder / "alertmanager.yml").write_text(configured.stdout, encoding="utf-8")
    commands = [
        [
            tool("prometheus-alertmanager"),
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address={manager}",
            "--cluster.listen-address=",
        ],
        [
            tool("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={ours}",
        ],
    ]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            with (folder / f"{Path(command[0]).name}.log").open("w", encoding="utf-8") as log:
                processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
        yield Prometheus(f"http://{ours}", receiver)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=20)
        receiver.close()
