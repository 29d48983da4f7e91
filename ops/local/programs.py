"""The programs of a stack: what each one executes, with which environment."""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ops.local import watchdog
from ops.local.ports import private_port
from ops.local.secret_settings import told
from ops.local.servers import Servers
from ops.local.supervision import Program, import_path
from ops.state import StateDir, project_root
from runtime import beat

# How long each may take to finish what it holds before SIGKILL, s. Above the longest round of a withdrawal.
GATEWAY_STOP_S = 20
BACKGROUND_STOP_S = 30
BANK_STOP_S = 15
SERVER_STOP_S = 30
WATCHDOG_STOP_S = 5

PAYOUTS_NICE = 5
"""Where all processors are busy, who waits for an answer comes first: RabbitMQ, relay, actors and reconciler each get
a third of a gateway's share, and catches up afterwards. Where a processor is idle, it makes no difference."""

WATCHDOGS = 2
"""They watch over each other: if there were one, nobody would notice that it is frozen."""

KIND_ORDER = ("gateway", "relay", "actors", "reconciler", "courier", "bank_sim", "postgres", "rabbitmq")


def server_programs(servers: Servers, base: Mapping[str, str]) -> list[Program]:
    """Return PostgreSQL, epmd and RabbitMQ, as far as they are private."""
    programs = []
    if (server := servers.postgres) is not None:
        programs.append(
            Program(
                name="postgres",
                kind="postgres",
                group="servers",
                argv=server.argv,
                environment={"PATH": base.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
                cwd=server.data,
                stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
                stop_timeout_s=SERVER_STOP_S,
                uid=server.account.uid if server.account else None,
                gid=server.account.gid if server.account else None,
            )
        )
    if (node := servers.rabbitmq) is not None:
        environment = {**pass_through(told("rabbitmq", base)), **node.environment}
        home = Path(node.environment.get("HOME", project_root()))
        uid, gid = (node.account.uid, node.account.gid) if node.account else (None, None)
        if node.epmd_argv:
            programs.append(
                Program(
                    *("epmd", "", "epmd", node.epmd_argv, environment, home),
                    stop_timeout_s=5,
                    uid=uid,
                    gid=gid,
                )
            )
        programs.append(
            Program(
                name="rabbitmq",
                kind="rabbitmq",
                nice=PAYOUTS_NICE,
                group="servers",
                argv=node.argv,
                environment=environment,
                cwd=home,
                stop_timeout_s=SERVER_STOP_S,
                uid=uid,
                gid=gid,
                extra={"container": node.container, "epmd_port": node.epmd_port},
            )
        )
    return programs


def pass_through(base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without settings of some other RabbitMQ or Erlang on this machine."""
    return {
        name: value
        for name, value in base.items()
        if not name.startswith(("RABBITMQ_", "ERL_", "NOTIFY_SOCKET"))
    }


def own_programs(
    state: StateDir, environment: Mapping[str, str], *, gateways: int, actors: int, threads: int
) -> list[Program]:
    """Return our own processes: gateways, relay, actors, reconciler, courier and the bank simulator."""
    programs = []
    metrics_folder = state.root / "metrics"
    for number in range(1, gateways + 1):
        extra = {"PROMETHEUS_MULTIPROC_DIR": str(metrics_folder)}
        name = f"gateway_{number}"
        programs.append(
            _program(state, name, "gateway", "gateway", "gateway", environment, extra, GATEWAY_STOP_S)
        )
    workers = {"WBS_ACTOR_THREADS": str(threads)}
    if environment.get("RABBITMQ_URL"):
        programs.append(_background(state, "relay", "relay", "actors.relay", environment))
        for number in range(1, actors + 1):
            programs.append(_background(state, f"actors_{number}", "actors", "actors", environment, workers))
    else:
        programs.append(_background(state, "actors_1", "actors", "actors.in_memory", environment, workers))
    programs.append(_background(state, "reconciler", "reconciler", "actors.reconciler", environment))
    programs.append(_background(state, "courier", "courier", "actors.courier", environment))
    programs.append(_program(state, "bank_sim", "bank_sim", "bank", "bank_sim", environment, {}, BANK_STOP_S))
    return programs


def watchdog_programs(state: StateDir, base: Mapping[str, str]) -> list[Program]:
    """Return the watchdogs, which kill those of our own processes that are frozen."""
    programs = []
    for number in range(1, WATCHDOGS + 1):
        name = f"watchdog_{number}"
        program = _program(state, name, "", "watchdog", watchdog.__name__, base, {}, WATCHDOG_STOP_S)
        programs.append(replace(program, argv=[*program.argv, str(state.root), name]))
    return programs


def _background(
    state: StateDir,
    name: str,
    kind: str,
    module: str,
    environment: Mapping[str, str],
    extra: Mapping[str, str] | None = None,
) -> Program:
    """Return a background process, with a metrics port of its own."""
    port = str(private_port(state, f"metrics_{name}"))
    return _program(
        state,
        name,
        kind,
        "background",
        module,
        environment,
        {**(extra or {}), "WBS_METRICS_PORT": port},
        BACKGROUND_STOP_S,
    )


def _program(
    state: StateDir,
    name: str,
    kind: str,
    group: str,
    module: str,
    environment: Mapping[str, str],
    extra: Mapping[str, str],
    stop_timeout_s: int,
) -> Program:
    return Program(
        name=name,
        kind=kind,
        group=group,
        # -P: nothing is imported from the working folder, whatever it is.
        argv=[sys.executable, "-P", "-m", module],
        environment={
            **told(kind, environment),
            **extra,
            "PYTHONPATH": os.pathsep.join(import_path()),
            beat.VARIABLE: str(state.run / f"{name}.beat"),
        },
        cwd=project_root(),
        stop_timeout_s=stop_timeout_s,
        nice=PAYOUTS_NICE if kind in ("relay", "actors", "reconciler") else 0,
    )
