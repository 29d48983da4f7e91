"""A whole stack: servers, processes, supervisor. `wbs up` runs one; tests, chaos and bench start their own.

with Stack(folder, env={"WBS_RETRY_ROUNDS": "3"}) as stack:
    requests to stack.urls["api"]; stack.ps(); stack.stop_kind("rabbitmq")
"""

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from ops import processes
from ops.errors import OpsError
from ops.local import configuration, environment, health, servers, supervision
from ops.local.logins import with_own_logins
from ops.local.ports import require_free, reserved
from ops.local.programs import KIND_ORDER, own_programs, server_programs, watchdog_programs
from ops.local.progress import Progress, poll
from ops.local.servers import Servers
from ops.local.supervision import Program
from ops.migration import OWNER_URL, migrate, require_fit_database
from ops.roles import make as make_roles
from ops.state import StateDir, read_json, write_json

POSTGRES_READY_TIMEOUT_S = 120.0  # a crash recovery may have much to replay
RABBITMQ_READY_TIMEOUT_S = 90.0
HEALTHY_TIMEOUT_S = 60.0


class AlreadyRunning(OpsError):
    """The stack of this state folder runs."""


class Stack:
    """One stack in one state folder. Every wait in here has a limit; OpsError says what went wrong."""

    def __init__(
        self,
        state_dir: Path | str,
        *,
        env: Mapping[str, str] | None = None,
        gateways: int = 2,
        actors: int = 1,
        threads: int = 50,
        servers_only: bool = False,
        own_ports: bool = True,
        bound: bool = True,
        progress: Progress | None = None,
        adapt: Callable[[Program], Program] = lambda program: program,
    ) -> None:
        """Describe a stack; `start` starts it.

        `env` is laid over this process's environment. `own_ports` chooses free ports for API and bank (else
        WBS_HTTP_PORT and WBS_BANK_PORT count). `bound`: the stack ends when this process dies, even by
        kill -9 (only if started from the main thread). `servers_only`: PostgreSQL and RabbitMQ, none of ours.
        `adapt` changes a process of ours before it is started: chaos leads its connections elsewhere.
        """
        self.state = StateDir(Path(state_dir))
        self.env: dict[str, str] = {}  # of the processes; filled by `start`
        self.programs: list[Program] = []
        self.servers: Servers | None = None
        self.not_well = ""  # what was wrong, in words, when all processes answered
        self._overrides = dict(env or {})
        self._counts = {"gateways": gateways, "actors": actors, "threads": threads}
        self._servers_only = servers_only
        self._own_ports = own_ports
        self._bound = bound
        self._progress = progress or Progress()
        self._adapt = adapt
        self._supervisord: subprocess.Popen[bytes] | None = None

    # --- Start ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Provision, migrate, start, wait until healthy. Whatever fails, nothing is left running."""
        self.state.create()
        with self.state.lock():
            if processes.recorded(self.state, supervision.NAME):
                raise AlreadyRunning(f"A stack is already running in {self.state.root}: `wbs down` ends it.")
            self._end_leftovers()
            base = environment.base(self.state, self._overrides, self._progress, own_ports=self._own_ports)
            self._check_ports(base)
            try:
                self.servers = servers.choose(self.state, base, self._progress)
                self.env = environment.complete(self.state, base, self.servers)
                self._start_all(base, self.servers)
            except BaseException:
                self._stop()
                raise

    def _check_ports(self, base: Mapping[str, str]) -> None:
        """Raise OpsError if the ports of the API and the bank can't be had. Called before anything is started."""
        if self._servers_only:
            return
        if base["WBS_HTTP_PORT"] == base["WBS_BANK_PORT"]:
            raise OpsError(f"WBS_BANK_PORT and WBS_HTTP_PORT must not both be {base['WBS_HTTP_PORT']}.")
        for name, setting, host, what in (
            ("http", "WBS_HTTP_PORT", base["WBS_HTTP_HOST"], "the API"),
            ("bank", "WBS_BANK_PORT", "127.0.0.1", "the bank simulator"),
        ):
            ours = reserved(self.state, base, name=name)
            require_free(int(base[setting]), host, what=what, setting=setting, ours=ours)

    def _start_all(self, base: Mapping[str, str], chosen: Servers) -> None:
        self.programs = server_programs(chosen, base)
        if not self._servers_only:
            prepare_folder(self.state.root / "metrics")  # counters of processes that are gone
            (self.state.root / "bank").mkdir(mode=0o700, exist_ok=True)
            own = own_programs(self.state, self.env, **self._counts)
            self.programs += [self._adapt(with_own_logins(program, chosen)) for program in own]
            self.programs += watchdog_programs(self.state, base)
        written = configuration.write_configuration(self.state, self.programs)
        self._supervisord = supervision.start(self.state, written, bound=self._bound)
        self._write_down()
        self._start_kinds("postgres", "", "rabbitmq")
        self._wait_for_postgres(chosen)
        if chosen.postgres is not None:
            make_roles(chosen.postgres.administrator_url, chosen.postgres.passwords)
        if not self._servers_only:
            self._progress.say("Database: migrating")
            require_fit_database({**self.env, "DATABASE_URL": chosen.owner_url})
            migrate(chosen.owner_url)
            self._start_kinds("bank_sim", "gateway")
            if chosen.rabbitmq is not None:
                listens = chosen.rabbitmq.listens
                health.wait_for_server(
                    self.state, "rabbitmq", listens, RABBITMQ_READY_TIMEOUT_S, self._progress
                )
            self._start_kinds("relay", "actors", "reconciler", "courier")
        self._wait_for_rabbitmq(chosen)
        if not self._servers_only:
            self.not_well = health.wait(
                self.state, self.programs, self.env, HEALTHY_TIMEOUT_S, self._progress
            )

    def _start_kinds(self, *kinds: str) -> None:
        wanted = [program for program in self.programs if program.kind in kinds]
        if wanted:
            self._progress.say("Starting " + ", ".join(program.name for program in wanted))
        for program in wanted:
            supervision.start_program(self.state, program.full_name)

    def _wait_for_postgres(self, chosen: Servers) -> None:
        server = chosen.postgres
        if server is None:
            return
        health.wait_for_server(self.state, "postgres", server.ready, POSTGRES_READY_TIMEOUT_S, self._progress)

    def _wait_for_rabbitmq(self, chosen: Servers) -> None:
        node = chosen.rabbitmq
        if node is None:
            return
        health.wait_for_server(self.state, "rabbitmq", node.ready, RABBITMQ_READY_TIMEOUT_S, self._progress)
        self._progress.say("RabbitMQ: ready, with its management page")

    def _write_down(self) -> None:
        """Write `env.json` for other commands, and the scrape targets for Prometheus."""
        assert self.servers is not None
        names = ("DATABASE_URL", "RABBITMQ_URL")
        document = {
            name: value for name, value in self.env.items() if name.startswith("WBS_") or name in names
        }
        write_json(self.state.env_file, document | {OWNER_URL: self.servers.owner_url})
        health.write_targets(self.state, self.programs, self.env, self.servers)

    # --- Stop ----------------------------------------------------------------------------------------------

    def stop(self) -> bool:
        """Stop everything in order, also what a killed supervisor left. Return False if nothing was running."""
        if not self.state.run.exists():
            return False
        with self.state.lock():
            return self._stop()

    def _stop(self) -> bool:
        supervisord = processes.recorded(self.state, supervision.NAME)
        if supervisord is not None:
            self._progress.say(
                "Stopping: gateways, then relay, actors, reconciler and courier, bank, servers"
            )
            processes.send(supervisord, signal.SIGCONT)  # a frozen one would not hear us
            processes.send(supervisord, signal.SIGTERM)
            poll(
                lambda: self._ended(supervisord),
                what="the processes to finish what they hold",
                timeout_s=supervision.STOP_ALL_TIMEOUT_S,
                progress=self._progress,
            )
            processes.end([supervisord], timeout_s=5.0)
        if self._supervisord is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._supervisord.wait(timeout=10)
        leftovers = self._end_leftovers()
        self.state.env_file.unlink(missing_ok=True)
        self.state.remove_socket_folder()
        return supervisord is not None or leftovers

    def _ended(self, supervisord: processes.Identity) -> bool:
        if self._supervisord is not None:
            self._supervisord.poll()  # reaps it, if it is our child
        return not supervisord.alive()

    def _end_leftovers(self) -> bool:
        """End what is recorded here and still runs without a supervisor (ours, by pid and start time)."""
        documents = read_json(self.state.programs_file)
        left = []
        for name in processes.recorded_names(self.state):
            identity = processes.recorded(self.state, name)
            if identity is not None and name != supervision.NAME:
                left.append((name, identity))
        if left:
            self._progress.say("Ending what an earlier run left: " + ", ".join(name for name, _ in left))
        order = (*KIND_ORDER[:5], "rabbitmq", "", "postgres")
        for kind in order:
            members = [(name, one) for name, one in left if documents.get(name, {}).get("kind", "") == kind]
            if members:
                stop_signal = int(documents.get(members[0][0], {}).get("stop_signal", 15))
                processes.end([one for _, one in members], stop_signal=stop_signal, timeout_s=20.0)
        data = self.state.recall("postgres", "data")
        orphans = bool(data) and processes.end_orphans(Path(data), "postgres")
        return orphans or bool(left)

    # --- While it runs -------------------------------------------------------------------------------------

    def running(self) -> bool:
        """Tell whether its supervisor runs."""
        if self._supervisord is not None and self._supervisord.poll() is not None:
            return False
        return processes.recorded(self.state, supervision.NAME) is not None

    def exit_code(self) -> int | None:
        """Return the supervisor's exit code; None while it runs, or if another process started it."""
        return None if self._supervisord is None else self._supervisord.poll()

    def ps(self) -> list[dict[str, str | int]]:
        """Return `[{"kind": "gateway", "pid": 1}, …]` of the processes that run now."""
        documents = read_json(self.state.programs_file)
        rows = []
        for name, pid in supervision.running(self.state):
            kind = documents.get(name, {}).get("kind", "")
            if kind:
                rows.append((KIND_ORDER.index(kind), name, kind, pid))
        return [{"kind": kind, "pid": pid} for _, _, kind, pid in sorted(rows)]

    def pids(self, kind: str) -> list[int]:
        """Return the pids of one kind."""
        return [int(row["pid"]) for row in self.ps() if row["kind"] == kind]

    def stop_kind(self, kind: str, *, timeout_s: float = 40.0) -> None:
        """Stop all processes of a kind (gracefully) and keep them stopped."""
        for program in self._of_kind(kind):
            supervision.stop_program(self.state, program.full_name, timeout_s)

    def start_kind(self, kind: str) -> None:
        """Start the processes of a kind again, without waiting for them."""
        for program in self._of_kind(kind):
            supervision.start_program(self.state, program.full_name)

    def wait_healthy(self, timeout_s: float = HEALTHY_TIMEOUT_S) -> None:
        """Wait until servers and processes answer again. Raises OpsError if they do not."""
        assert self.servers is not None, "the stack was not started"
        self._wait_for_postgres(self.servers)
        self._wait_for_rabbitmq(self.servers)
        if not self._servers_only:
            health.wait(self.state, self.programs, self.env, timeout_s, self._progress)

    def _of_kind(self, kind: str) -> list[Program]:
        found = [program for program in self.programs if program.kind == kind]
        assert found, f"this stack has no {kind}"
        return found

    @property
    def urls(self) -> dict[str, str]:
        """The addresses: api, docs, console, metrics, bank, rabbitmq."""
        return environment.urls(self.env)

    def __enter__(self) -> "Stack":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def prepare_folder(folder: Path) -> None:
    """Make the folder, or empty it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
