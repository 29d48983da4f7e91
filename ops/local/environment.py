"""The environment of a stack's processes: what they are told."""

import base64
import errno
import os
from collections.abc import Mapping

from actors.bank import require_bank
from ops.errors import OpsError
from ops.local.logins import OPERATOR, logins
from ops.local.ports import holder, next_free, obstacle, private_port, reserved
from ops.local.progress import Progress
from ops.local.servers import Servers
from ops.state import StateDir
from runtime.settings import Settings, SettingsError
from runtime.spans import require_extra

SWAGGER_ORIGINS = "http://127.0.0.1:8282,http://localhost:8282"
"""Where docker-compose.yml has Swagger UI: its page may use the API, unless WBS_CORS_ORIGINS says otherwise."""

# Variables of one process, or of a supervisor above us, that a stack's processes must not inherit.
NOT_INHERITED = ("PROMETHEUS_MULTIPROC_DIR", "WBS_METRICS_PORT", "WBS_BEAT_FILE", "NOTIFY_SOCKET")


def base(
    state: StateDir, overrides: Mapping[str, str], progress: Progress, *, own_ports: bool
) -> dict[str, str]:
    """Return this process's environment with the overrides, checked. Raises OpsError, naming the setting at fault,
    and SettingsError if one needs an extra that is missing.

    With `own_ports` the API and the bank get ports of this stack alone. Otherwise they get those that the settings
    name; where a setting is missing and its default is taken, a free one.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    environment = {**inherited, **overrides, "WBS_STATE_DIR": str(state.root)}
    environment.setdefault("WBS_HTTP_HOST", "127.0.0.1")
    environment.setdefault("WBS_CORS_ORIGINS", SWAGGER_ORIGINS)
    environment.setdefault("WBS_WEBHOOKS_PRIVATE", "1")  # receivers of a local stack are on this machine
    if own_ports:
        environment["WBS_HTTP_PORT"] = str(private_port(state, "http"))
        environment["WBS_BANK_PORT"] = str(private_port(state, "bank"))
    else:
        _avoid_taken_defaults(state, environment, progress)
    try:
        settings = Settings.from_env(environment)
        require_bank(settings)
    except SettingsError as error:
        raise OpsError(f"{error}.") from error
    if settings.otel:
        require_extra()
    # Kept beside the private ports, so that none of those is the same.
    state.remember("ports", "http", settings.http_port)
    state.remember("ports", "bank", settings.bank_port)
    environment["WBS_HTTP_PORT"] = str(settings.http_port)
    environment["WBS_BANK_PORT"] = str(settings.bank_port)
    return environment


def _avoid_taken_defaults(state: StateDir, environment: dict[str, str], progress: Progress) -> None:
    """Choose a free port for the API and the bank where no setting names one and the default is taken."""
    defaults = Settings()
    for name, setting, port, host, what in (
        ("http", "WBS_HTTP_PORT", defaults.http_port, environment["WBS_HTTP_HOST"], "the API"),
        ("bank", "WBS_BANK_PORT", defaults.bank_port, "127.0.0.1", "the bank simulator"),
    ):
        if environment.get(setting, "").strip():
            continue
        error = obstacle(port, host)
        if error is not None and error.errno == errno.EADDRINUSE:
            chosen = next_free(port, host, reserved(state, environment, name=name))
            environment[setting] = str(chosen)
            progress.say(
                f"Port {port} is taken{holder(port)}. {what[0].upper()}{what[1:]} listens on {chosen} instead: "
                f"it is free, and nothing of ours uses it. Set {setting} to choose another one."
            )


def complete(state: StateDir, base: Mapping[str, str], chosen: Servers) -> dict[str, str]:
    """Return the environment with the servers, the bank, and the secret that the bank and the gateways share.

    Its logins to private servers are the operator's; `with_own_logins` gives each process its own.
    """
    host = reachable_host(base["WBS_HTTP_HOST"])
    given = {"DATABASE_URL": chosen.database_url, "RABBITMQ_URL": chosen.rabbitmq_url}
    environment = {**base, **given, **logins(OPERATOR, chosen)}
    environment["WBS_RABBITMQ_MANAGEMENT_URL"] = chosen.management_url
    environment.pop("WBS_POSTGRES_BIN", None)  # it says that the server is ours: its URL may be shown
    if chosen.postgres is not None:
        environment["WBS_POSTGRES_BIN"] = str(chosen.postgres.bin_dir)
    defaults = {
        "WBS_BANK_URL": f"http://127.0.0.1:{base['WBS_BANK_PORT']}",
        "WBS_CALLBACK_URL": f"http://{host}:{base['WBS_HTTP_PORT']}/bank/callbacks",
        "WBS_BANK_DATA": str(state.root / "bank" / "books.db"),
        "WBS_WATCHED_FOLDERS": str(state.root),
    }
    if not environment.get("WBS_BANK_WEBHOOK_SECRET_FILE"):
        defaults["WBS_BANK_WEBHOOK_SECRET"] = webhook_secret(state)
    return environment | {name: value for name, value in defaults.items() if not environment.get(name)}


def urls(env: Mapping[str, str]) -> dict[str, str]:
    """Return the addresses of a stack with this environment."""
    api = f"http://{reachable_host(env['WBS_HTTP_HOST'])}:{env['WBS_HTTP_PORT']}"
    return {
        "api": api,
        "docs": f"{api}/docs",
        "console": f"{api}/console",
        "metrics": f"{api}/metrics",
        "bank": env["WBS_BANK_URL"],
        "rabbitmq": env.get("WBS_RABBITMQ_MANAGEMENT_URL", ""),
    }


def reachable_host(host: str) -> str:
    """Return the address by which to call a server that listens on `host`."""
    if host in ("", "0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def webhook_secret(state: StateDir) -> str:
    """Return the secret that signs the bank's callbacks (Standard Webhooks): `whsec_` and base64."""
    return "whsec_" + base64.b64encode(bytes.fromhex(state.secret("bank_webhook"))).decode()
