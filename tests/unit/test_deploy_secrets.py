"""Secrets in docker-compose.yml: who gets which, and which are made."""

import os
import stat
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from runtime.settings import Settings
from tests.unit.test_deploy import PROCESSES, ROOT, WBS, without_env


def test_each_secret_reaches_only_who_needs_it(compose: dict[str, Any]) -> None:
    """Goal: a process that is broken into tells no more than it needs to know; every other setting is passed on."""
    needed = {
        "DATABASE_URL": (PROCESSES - {"bank_sim"}) | {"roles", "migrate", "operator"},
        "RABBITMQ_URL": {"rabbitmq_users", "relay", "actors", "reconciler", "operator"},
        "WBS_METRICS_TOKEN": {"gateway", "prometheus"},
        "WBS_BANK_TOKEN": {"actors", "reconciler", "operator"},
        "WBS_BANK_PASSWORD": {"actors", "reconciler", "operator"},
        "WBS_BANK_PROXY": {"actors", "reconciler", "operator"},
        "WBS_BANK_WEBHOOK_SECRET": {"webhook_secret"},
        "OTEL_EXPORTER_OTLP_HEADERS": {"gateway", "actors", "reconciler", "operator"},
    }
    assert set(needed) - {"OTEL_EXPORTER_OTLP_HEADERS"} == {
        str(field.metadata["env"]) for field in fields(Settings) if not field.repr
    }
    environments = {name: service.get("environment", {}) for name, service in compose["services"].items()}
    for secret, who in needed.items():
        assert {name for name, environment in environments.items() if secret in environment} == who, secret
    halves = {"WBS_BANK_USER", "WBS_BANK_PASSWORD_FILE", "WBS_BANK_TOKEN_FILE"}
    for half in halves:
        assert {name for name, environment in environments.items() if half in environment} == needed[
            "WBS_BANK_PASSWORD"
        ], "a process that has a name without its password does not start"
    reads_callbacks = {name for name, env in environments.items() if "WBS_BANK_WEBHOOK_SECRET_FILE" in env}
    assert reads_callbacks == {"gateway", "bank_sim"}
    # Where something is, and what it is called there, the compose file says itself.
    decided = {"WBS_HTTP_HOST", "WBS_HTTP_PORT", "WBS_STATE_DIR", "WBS_BANK_PORT", "WBS_METRICS_PORT"}
    decided |= {
        "WBS_ALLOWED_HOSTS",
        "WBS_CORS_ORIGINS",
        "WBS_WATCHED_FOLDERS",
        "WBS_BANK_WEBHOOK_SECRET_FILE",
    }
    passed_on = {str(field.metadata["env"]) for field in fields(Settings)} - set(needed) - decided - halves
    for name in PROCESSES - {"bank_sim"}:
        assert passed_on <= set(environments[name]), name


def test_nobody_knows_the_secret_of_callbacks(compose: dict[str, Any], tmp_path: Path) -> None:
    """Goal: the compose file publishes no secret that signs as the bank: one is made once, unless .env has another."""
    service = compose["services"]["webhook_secret"]
    shell, option, script = service["command"]
    script = script.replace("$$", "$").replace("/secrets", str(tmp_path))

    path = tmp_path / "bank_webhook"

    def run(**env: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": f"{WBS.parent}:{os.environ['PATH']}", **env}
        return subprocess.run([shell, option, script], env=env, timeout=20, capture_output=True, text=True)

    def made(**env: str) -> tuple[str, ...]:
        ran = run(**env)
        assert ran.returncode == 0, ran
        assert not any(secret in ran.stdout + ran.stderr for secret in env.values() if secret)
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
        return Settings.from_env({"WBS_BANK_WEBHOOK_SECRET_FILE": str(path)}).bank_webhook_secrets

    first = made()
    assert len(first) == 1
    assert made(WBS_BANK_WEBHOOK_SECRET="") == first, "containers that start again share it still"
    ours = ("whsec_" + "A" * 32, "whsec_" + "B" * 32)
    assert made(WBS_BANK_WEBHOOK_SECRET=",".join(ours)) == ours
    refused = run(WBS_BANK_WEBHOOK_SECRET="nonsense")
    assert refused.returncode == 1
    assert "WBS_BANK_WEBHOOK_SECRET must be" in refused.stdout, (
        "or gateways would end, and bank, at their next start"
    )
    assert made() == ours, "and that one would have stayed, after it was gone from .env"
    path.unlink()
    assert made() not in (first, ours)
    for name in ("gateway", "bank_sim"):
        mounted = compose["services"][name]["environment"]["WBS_BANK_WEBHOOK_SECRET_FILE"]
        assert mounted == "/secrets/bank_webhook"
        assert "secrets:/secrets:ro" in compose["services"][name]["volumes"]
    assert service["volumes"] == ["secrets:/secrets"]
    assert "/secrets" in (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8"), "its volume is not root's"


def test_prometheus_has_the_token_of_the_gateways(compose: dict[str, Any], tmp_path: Path) -> None:
    """Goal: Prometheus reads the gateways' metrics when keys are required, too; nobody else has the token."""
    gateway, prometheus = (compose["services"][name] for name in ("gateway", "prometheus"))
    token = without_env(gateway["environment"]["WBS_METRICS_TOKEN"])
    assert Settings.from_env({"WBS_METRICS_TOKEN": token}).metrics_token == token
    assert prometheus["environment"] == {"WBS_METRICS_TOKEN": gateway["environment"]["WBS_METRICS_TOKEN"]}
    configuration = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    files = {
        job["job_name"]: job["authorization"]["credentials_file"]
        for job in configuration["scrape_configs"]
        if "authorization" in job
    }
    assert files.keys() == {"gateway"}
    [shell, option, script, name] = prometheus["entrypoint"]
    assert str(Path(files["gateway"]).parent) in prometheus["tmpfs"]
    here = script.replace("$$", "$").replace(files["gateway"], str(tmp_path / "token"))
    assert "exec /bin/prometheus " in here
    here = here.replace("/bin/prometheus", "echo")
    told = subprocess.run(
        [shell, option, here, name, "--flag", "two words"],
        env={**os.environ, "WBS_METRICS_TOKEN": "a $token"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "--flag two words\n"
    assert (tmp_path / "token").read_text(encoding="utf-8") == "a $token"
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
