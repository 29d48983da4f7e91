"""What Prometheus, Alertmanager and Grafana are configured with, and the runbooks: without a stack."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.app import create_app
from runtime.settings import Settings
from tests import story
from tests.integration.prometheus import DASHBOARDS, DEPLOY, PROMETHEUS, alerts, tool

RUNBOOKS = DEPLOY.parent / "docs" / "runbooks"
CHAPTERS = ["What it means for money", "What to look at", "What to do", "It is over when"]
CONSOLE = DEPLOY.parent / "gateway" / "static" / "console" / "main.js"


def promtool(*arguments: str) -> str:
    """Run promtool beside the rules; return what it says, fail the test if it finds fault."""
    done = subprocess.run(
        [tool("promtool"), *arguments],
        cwd=PROMETHEUS,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


@pytest.mark.parametrize(
    "configuration", ["prometheus.yml", "prometheus-local.yml", "prometheus-kubernetes.yml"]
)
def test_prometheus_takes_the_configuration(configuration: str, tmp_path: Path) -> None:
    """Goal: neither Prometheus configuration, nor the rules they load, has an error."""
    text = (PROMETHEUS / configuration).read_text(encoding="utf-8")
    # Debian's Prometheus is built without Kubernetes.
    text = text.replace("kubernetes_sd_configs: [{ role: pod }]", "static_configs: [{ targets: [] }]")
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
    assert fired == set(alerts())


def test_requests_that_wait_are_not_slow() -> None:
    """Goal: no client that waits as it may, such as the console for events, sets off the alert about slow requests."""
    document = json.loads(create_app(Settings.from_env({})).ctx.openapi)
    waiting = {
        path
        for path, _, operation in story.operations(document)
        if any(parameter.get("name") == "wait" for parameter in operation.get("parameters", ()))
    }
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))["groups"]
    [rule] = [
        rule
        for group in groups
        for rule in group["rules"]
        if rule.get("record") == "wbs:http_request_seconds:p99_rate5m"
    ]
    assert set(re.findall(r'route!="([^"]*)"', rule["expr"])) == waiting
    assert len(waiting) > 2


SETTINGS: dict[str, dict[str, str]] = {
    "nobody": {},
    "a web address": {"WEBHOOK_URL": "http://127.0.0.1:1/it's?a=b&c"},
    "PagerDuty": {"PAGERDUTY_KEY": "0123456789abcdef"},
    "Slack": {"SLACK_URL": "https://hooks.example/T/B"},
    "mail": {"EMAIL": "one@wallet.example, two@wallet.example"},
}
SETTINGS["all"] = {name: value for settings in SETTINGS.values() for name, value in settings.items()}


@pytest.mark.parametrize("who", SETTINGS)
def test_alertmanager_takes_what_settings_make(who: str, tmp_path: Path) -> None:
    """Goal: whoever is named by settings, and in whatever combination, Alertmanager takes the configuration."""
    settings = {
        f"ALERT_{kind}_{name}": SETTINGS[who][name] for kind in ("PAGE", "TICKET") for name in SETTINGS[who]
    }
    made = subprocess.run(
        ["sh", str(DEPLOY / "alertmanager" / "configure")],
        env={"PATH": os.environ["PATH"], **settings},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (tmp_path / "alertmanager.yml").write_text(made, encoding="utf-8")
    subprocess.run(
        [tool("amtool"), "check-config", str(tmp_path / "alertmanager.yml")], check=True, timeout=60
    )
    document = yaml.safe_load(made)
    receivers = {one["name"]: [key for key in one if key != "name"] for one in document["receivers"]}
    assert receivers["nobody"] == []
    assert len(receivers["page"]) == len(receivers["ticket"]) == len(SETTINGS[who])
    routed = {route["matchers"][0]: route["receiver"] for route in document["route"]["routes"]}
    assert {f'severity="{rule["labels"]["severity"]}"' for rule in alerts().values()} == set(routed)
    named = {name for rule in document["inhibit_rules"] for name in _names(rule)}
    assert named <= set(alerts())


def _names(rule: dict[str, list[str]]) -> list[str]:
    matchers = [*rule["source_matchers"], *rule["target_matchers"]]
    return [name for matcher in matchers for name in matcher.split('"')[1].split("|")]


def test_dashboards_are_readable() -> None:
    """Goal: the panels of a dashboard have distinct ids and titles, and ask the provisioned data source."""
    provisioned = DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    sources = {source["uid"] for source in yaml.safe_load(provisioned.read_text())["datasources"]}
    assert DASHBOARDS
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS]
    for key in ("uid", "title"):
        assert len({document[key] for document in documents}) == len(documents)
    for document in documents:
        panels = document["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        assert len({panel["title"] for panel in panels}) == len(panels)
        asked = {target["datasource"]["uid"] for panel in panels for target in panel.get("targets", [])}
        assert asked == sources


# --- The runbooks ---


def test_each_alert_leads_to_its_runbook_and_to_the_console() -> None:
    """Goal: who is woken gets a page to follow, of this very alert, and an address of the console."""
    pages = set(re.findall(r'^  \["([a-z-]*)", "', CONSOLE.read_text(encoding="utf-8"), re.MULTILINE))
    assert "withdrawals" in pages
    for name, rule in alerts().items():
        annotations = rule["annotations"]
        assert annotations["runbook_url"] == f"docs/runbooks/{name}.md"
        page = re.fullmatch(r"/console(?:/([a-z-]+))?(?:\?status=[a-z_]+)?", annotations["console"])
        assert page is not None, annotations["console"]
        assert (page[1] or "") in pages | {""}


def test_each_runbook_is_about_its_alert() -> None:
    """Goal: each page says when its alert fires, what that means for money, what to do, and when it is over."""
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {*alerts(), "README"}
    for name, rule in alerts().items():
        text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
        assert text.splitlines()[:2] == [f"# {name}", first_line(rule)]
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == CHAPTERS, name
        for chapter in re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]:
            assert len(chapter.split()) > 3, f"{name}: an empty chapter"


def first_line(rule: dict[str, Any]) -> str:
    """Return what a runbook says of its rule."""
    expression = " ".join(rule["expr"].split())
    lasting = f" for {rule['for']}" if "for" in rule else ""
    kind = rule["labels"]["severity"].capitalize()
    return f"{kind}. Fires when `{expression}`{lasting}. Console: `{rule['annotations']['console']}`."


def test_the_list_of_runbooks_is_complete() -> None:
    """Goal: whoever looks for a page without an alert finds all of them in the list, with how urgent they are."""
    text = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \|", text, re.MULTILINE)
    assert sorted(listed) == sorted(
        (name, name, rule["labels"]["severity"]) for name, rule in alerts().items()
    )
    operations = (RUNBOOKS.parent / "OPERATIONS.md").read_text(encoding="utf-8")
    assert "(runbooks/README.md)" in operations
