"""Each secret reaches only the processes that need it: the environment of every process of a stack is read."""

from pathlib import Path

import psutil
import pytest

from ops import processes
from ops.local import supervision
from ops.local.secret_settings import NEEDED, SECRETS, told
from ops.local.stack import Stack
from ops.state import read_json
from tests.service import PACE, defaults

KINDS = {
    "gateway",
    "relay",
    "actors",
    "reconciler",
    "courier",
    "bank_sim",
    "postgres",
    "rabbitmq",
    "watchdog",
    "epmd",
}
KINDS |= {supervision.NAME}

KNOWS = {
    "DATABASE_URL": {"gateway", "relay", "actors", "reconciler", "courier"},
    "RABBITMQ_URL": {"relay", "actors", "reconciler"},
    "WBS_METRICS_TOKEN": {"gateway"},
    "WBS_BANK_WEBHOOK_SECRET": {"gateway", "bank_sim"},
    "WBS_BANK_TOKEN": {"actors", "reconciler"},
    "WBS_BANK_PASSWORD": {"actors", "reconciler"},
    "WBS_BANK_PROXY": {"actors", "reconciler"},
    "WBS_BANK_TOKEN_FILE": {"actors", "reconciler"},
    "WBS_BANK_PASSWORD_FILE": {"actors", "reconciler"},
    "OTEL_EXPORTER_OTLP_HEADERS": {"gateway", "actors", "reconciler"},
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": {"gateway", "actors", "reconciler"},
}
"""The kinds of processes that get a secret: all others must not find it in their environment."""

PASSWORDS: dict[str, set[str]] = {
    "postgres_password": set(),
    "postgres_wbs_owner": set(),
    "postgres_wbs_operator": set(),
    "postgres_wbs_auditor": set(),
    "postgres_wbs_in_memory": set(),
    "postgres_wbs_gateway": {"gateway"},
    "postgres_wbs_relay": {"relay"},
    "postgres_wbs_actors": {"actors"},
    "postgres_wbs_reconciler": {"reconciler"},
    "postgres_wbs_courier": {"courier"},
    "rabbitmq_wbs_administrator": set(),
    "rabbitmq_wbs_operator": set(),
    "rabbitmq_wbs_relay": {"relay"},
    "rabbitmq_wbs_actors": {"actors"},
    "rabbitmq_wbs_reconciler": {"reconciler"},
    "erlang_cookie": set(),
}
"""Which kinds of processes are told a password of the private servers: each logs in as itself."""

GIVEN = {
    "WBS_METRICS_TOKEN": "s3cret-of-prometheus",
    "OTEL_EXPORTER_OTLP_HEADERS": "api-key=s3cret-of-the-collector",
    "WBS_BANK_WEBHOOK_SECRET": "whsec_c2VjcmV0IG9mIHRoZSBiYW5rJ3MgY2FsbGJhY2tz",
}
LOGINS = [
    {
        "WBS_BANK_TOKEN": "s3cret-token-for-the-bank",
        "WBS_BANK_PROXY": "http://us:s3cret-of-the-proxy@127.0.0.1:9",
        "WBS_BANK_URL": "https://127.0.0.1:9",  # a bank that is away: a proxy is of use only with https
    },
    {"WBS_BANK_USER": "us", "WBS_BANK_PASSWORD": "s3cret-password-for-the-bank"},
]


def environments(stack: Stack) -> list[tuple[str, bytes]]:
    """Return the kind and the environment of every process of the stack, children of servers included."""
    supervisord = processes.recorded(stack.state, supervision.NAME)
    assert supervisord is not None
    names = {identity.pid: name for name, identity in _recorded(stack)}
    found = []

    def walk(process: psutil.Process, kind: str) -> None:
        kind = names[process.pid].rstrip("_0123456789") if process.pid in names else kind
        try:
            found.append((kind, Path(f"/proc/{process.pid}/environ").read_bytes()))
            children = process.children()
        except (OSError, psutil.Error):  # a session that has just ended
            return
        for child in children:
            walk(child, kind)

    walk(psutil.Process(supervisord.pid), supervision.NAME)
    return found


def _recorded(stack: Stack) -> list[tuple[str, processes.Identity]]:
    pairs = [(name, processes.recorded(stack.state, name)) for name in processes.recorded_names(stack.state)]
    return [(name, identity) for name, identity in pairs if identity is not None]


@pytest.mark.slow
@pytest.mark.parametrize("login", LOGINS, ids=["token", "password"])
def test_each_secret_reaches_only_who_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: dict[str, str]
) -> None:
    """Goal: process kind by secret, no process knows more than the table says, whoever started the stack and how."""
    given = GIVEN | login
    for name, value in given.items():  # as a shell has them that ran `. ./.env`
        monkeypatch.setenv(name, value)
    others = {name: value for name, value in defaults(**PACE).items() if name not in given}
    stack = Stack(tmp_path / "wbs", env=others)
    try:
        with stack:
            secrets = {name: value for name, value in given.items() if name in KNOWS}
            secrets |= {name: stack.state.secret(name) for name in PASSWORDS}
            assert set(read_json(stack.state.private_file)["secrets"]) <= {*PASSWORDS, "bank_webhook"}
            everybody = environments(stack)
    finally:
        stack.stop()
        stack.state.delete()
    assert {kind for kind, _ in everybody} == KINDS
    for name, secret in secrets.items():
        knowing = {kind for kind, environment in everybody if secret.encode() in environment}
        supposed = (KNOWS | PASSWORDS)[name]
        assert knowing == supposed, name
        ignorant = [kind for kind, env in everybody if kind in supposed and secret.encode() not in env]
        assert not ignorant, f"{name} is missing where it is needed"


def test_the_table_knows_every_secret() -> None:
    """Goal: no process gets a new secret setting before the table says which ones need it."""
    for secret in SECRETS - {"WBS_BANK_USER"}:
        told_to = {kind for kind in NEEDED if told(kind, {secret: "x"})}
        assert told_to == KNOWS[secret], secret
    assert not told(supervision.NAME, dict.fromkeys(SECRETS, "x"))
    assert told("", {"PATH": "/bin", "WBS_METRICS_TOKEN": "x" * 16}) == {"PATH": "/bin"}


def test_what_goes_together_stays_together() -> None:
    """Goal: no process is told the name of the bank's login without its password, which it would refuse."""
    for kind in KINDS:
        for password in ("WBS_BANK_PASSWORD", "WBS_BANK_PASSWORD_FILE"):
            both = told(kind, {"WBS_BANK_USER": "us", password: "secret"})
            assert len(both) in (0, 2), kind
