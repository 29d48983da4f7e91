"""The environment of a stack's processes, and how other commands find it."""

import base64
import os
from collections.abc import Mapping

from actors.bank import open_bank
from ops.errors import OpsError
from ops.ports import private_port
from ops.servers import Servers
from ops.state import StateDir, read_json
from runtime.settings import Settings, SettingsError

# What belongs to one process, or to a supervisor above us, and must not be inherited by a stack's processes.
NOT_INHERITED = ("PROMETHEUS_MULTIPROC_DIR", "WBS_METRICS_PORT", "WBS_BEAT_FILE", "NOTIFY_SOCKET")


def base(state: StateDir, overrides: Mapping[str, str], *, own_ports: bool) -> dict[str, str]:
    """This process's environment with the overrides, checked. OpsError naming the setting at fault."""
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    environment = {**inherited, **overrides, "WBS_STATE_DIR": str(state.root)}
    environment.setdefault("WBS_HTTP_HOST", "127.0.0.1")
    if own_ports:
        environment["WBS_HTTP_PORT"] = str(private_port(state, "http"))
        environment["WBS_BANK_PORT"] = str(private_port(state, "bank"))
    try:
        settings = Settings.from_env(environment)
        open_bank(settings)  # for what it says about its settings; nothing is connected
    except SettingsError as error:
        raise OpsError(f"{error}.") from error
    # Kept beside the private ones, so that none of those is the same.
    state.remember("ports", "http", settings.http_port)
    state.remember("ports", "bank", settings.bank_port)
    environment["WBS_HTTP_PORT"] = str(settings.http_port)
    environment["WBS_BANK_PORT"] = str(settings.bank_port)
    return environment


def complete(state: StateDir, base: Mapping[str, str], chosen: Servers) -> dict[str, str]:
    """What every process of ours gets: servers, the bank, the secret they share."""
    host = reachable_host(base["WBS_HTTP_HOST"])
    environment = {**base, "DATABASE_URL": chosen.database_url, "RABBITMQ_URL": chosen.rabbitmq_url}
    environment["WBS_RABBITMQ_MANAGEMENT_URL"] = chosen.management_url
    if chosen.postgres is not None:
        environment["WBS_POSTGRES_BIN"] = str(chosen.postgres.bin_dir)
    defaults = {
        "WBS_BANK_URL": f"http://127.0.0.1:{base['WBS_BANK_PORT']}",
        "WBS_CALLBACK_URL": f"http://{host}:{base['WBS_HTTP_PORT']}/bank/callbacks",
        "WBS_BANK_DATA": str(state.root / "bank" / "books.db"),
        "WBS_BANK_WEBHOOK_SECRET": webhook_secret(state),
    }
    return environment | {name: value for name, value in defaults.items() if not environment.get(name)}


def urls(env: Mapping[str, str]) -> dict[str, str]:
    """The addresses of a stack with this environment."""
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
    """The address to call a server that listens on `host`."""
    if host in ("", "0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def webhook_secret(state: StateDir) -> str:
    """The secret that signs the bank's callbacks (Standard Webhooks): `whsec_` and base64."""
    return "whsec_" + base64.b64encode(bytes.fromhex(state.secret("bank_webhook"))).decode()


def load_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the running stack under this process's own: how `wbs audit`, `wbs dlq` … find it.

    What is set in the environment counts more. Without a running stack it is the environment alone.
    """
    own = dict(os.environ if environ is None else environ)
    state = StateDir.from_env(own)
    return {**read_json(state.env_file), **{name: value for name, value in own.items() if value}}
