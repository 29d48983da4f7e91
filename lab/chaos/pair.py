"""A PostgreSQL primary and a synchronous standby of a chaos run's own, each behind a line that can be cut.

`--failover killed` kills the primary in the middle of the run and promotes the standby. With `swallowed`, the primary's
address swallows every packet from then on, like that of a host that has lost its power.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import psutil

from lab.chaos import database
from ops.errors import OpsError
from ops.local import postgres
from ops.local.ports import accepts, private_port
from ops.local.postgres import DATABASE, SUPERUSER, Postgres
from ops.local.postgres_binaries import run_as
from ops.local.progress import Progress, poll
from ops.state import StateDir

Failover = Literal["killed", "swallowed"]

READY_TIMEOUT_S = 60.0
STANDBY = "s1"
_REPLICATION = "host replication all 127.0.0.1/32 scram-sha-256\n"


class Pair:
    """Starts both servers; `kill_primary` ends the first for good. `stop` ends the remaining ones."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        """Make a pair; nothing runs yet."""
        self._states = [StateDir(folder / name) for name in ("primary", "standby")]
        self._progress = progress
        self._servers: list[Postgres] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Make a primary, copy it, start the copy, and make commits wait for the copy from then on. Raises OpsError."""
        for state in self._states:
            state.create()
        primary = postgres.prepare(self._states[0], os.environ, self._progress)
        _append(primary, "pg_hba.conf", _REPLICATION)
        self._servers.append(primary)
        self._run(primary)
        self._progress.say("A standby: copying the primary")
        standby = self._copy(primary)
        self._servers.append(standby)
        self._run(standby)
        _append(primary, "wbs.conf", f"synchronous_standby_names = '{STANDBY}'\n")
        self._processes[0].send_signal(signal.SIGHUP)
        if not poll(
            lambda: asyncio.run(database.has_synchronous_standby(primary.administrator_url)),
            what="commits to wait for the standby",
            timeout_s=READY_TIMEOUT_S,
            progress=self._progress,
        ):
            raise OpsError("The standby does not follow its primary.")

    def database_url(self, ports: Sequence[int]) -> str:
        """Return the address of both servers, through these ports, for sessions that need the primary."""
        login = f"{SUPERUSER}:{quote(self._servers[0].password)}"
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        return f"postgresql://{login}@{hosts}/{DATABASE}?target_session_attrs=primary"

    @property
    def ports(self) -> list[int]:
        """The servers' own ports: the primary's, the standby's."""
        return [server.port for server in self._servers]

    def kill_primary(self) -> None:
        """End the primary and all its processes by SIGKILL."""
        _kill(self._processes[0])

    def promote(self) -> None:
        """Promote the standby, and wait until it is the primary. Raises OpsError."""
        standby = self._servers[1]
        pg_ctl = [str(standby.bin_dir / "pg_ctl"), "-D", str(standby.data), "-w", "promote"]
        postgres.check(run_as(standby.account, pg_ctl), "pg_ctl promote")

    def stop(self) -> None:
        """End both servers, and delete their data."""
        for process in self._processes:
            _kill(process)
        for state in self._states:
            state.delete()

    def _copy(self, primary: Postgres) -> Postgres:
        state = self._states[1]
        if primary.account is not None:
            state.remember("postgres", "account", primary.account.name)
        data = postgres.data_folder(state, primary.account)
        standby = replace(primary, data=data, port=private_port(state, "postgres"))
        source = f"host=127.0.0.1 port={primary.port} user={SUPERUSER} password={primary.password}"
        pg_basebackup = [
            str(primary.bin_dir / "pg_basebackup"),
            "-d",
            source,
            "-D",
            str(data),
            "-R",
            "-X",
            "stream",
        ]
        copied = run_as(primary.account, pg_basebackup)
        if copied.returncode:
            raise OpsError(f"pg_basebackup failed: {copied.stdout.strip()[-300:]}")
        _append(standby, "wbs.conf", f"port = {standby.port}\ncluster_name = '{STANDBY}'\n")
        return standby

    def _run(self, server: Postgres) -> None:
        account = server.account
        with (self._states[0].root / f"postgres_{server.port}.log").open("wb") as log:
            process = subprocess.Popen(
                server.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=server.data,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        self._processes.append(process)
        poll(
            lambda: accepts(server.port),
            what="a server of the pair",
            timeout_s=READY_TIMEOUT_S,
            progress=self._progress,
        )


def _append(server: Postgres, name: str, text: str) -> None:
    present = (server.data / name).read_text(encoding="utf-8")
    postgres.write_as(server, name, present + text)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        children = _quietly(lambda: psutil.Process(process.pid).children(recursive=True))
        process.kill()
        for child in children:
            _quietly(lambda child=child: [child.kill()])  # type: ignore[misc]
    process.wait(timeout=10)


def _quietly(act: Callable[[], list[psutil.Process]]) -> list[psutil.Process]:
    try:
        return act()
    except psutil.Error:
        return []
