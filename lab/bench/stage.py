"""The subject of the benchmark: a stack of its own on fresh data, together with the yardsticks."""

import asyncio
import contextlib
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from actors.audit import AuditImpossible, Report, run_audit
from lab import own_stack
from lab.bench import database, load
from ops.errors import OpsError
from ops.local import supervision
from ops.local.progress import Progress, poll
from ops.local.stack import Stack
from runtime.settings import Settings

ACTORS = 2
"""Number of actor processes for the drain at 0 ms. Everything else runs with one, like `wbs up`."""

# Settings that keep out this machine's own servers and settings, and that make runs comparable.
_ENVIRONMENT = own_stack.ENVIRONMENT | {"WBS_BENCH": "1"}
API_KEY = "BENCH_API_KEY"
"""Environment variable with the secret of the benchmark's API key: what is promised is promised with logins on."""
os.environ.setdefault(API_KEY, f"wbs_bench000_{secrets.token_urlsafe(32)}")
_LET_IN_S_MAX = 15.0
_SEED_AMOUNT = 10**9
_SEED_ITEMS = 1_000


class Stage:
    """A running stack with 10,000 wallets, a database for pgbench, and controls. Raises OpsError."""

    def __init__(self, folder: Path, progress: Progress, **environment: str) -> None:
        self._folder = folder
        self._progress = progress
        self.stack = self._stack(folder, **environment)
        self.small: Stack | None = None
        """A second set of gateways, on an empty database of the same server; started by `start_small`."""
        self.pgbench_url = ""

    def _stack(self, folder: Path, **environment: str) -> Stack:
        return Stack(folder, env=_ENVIRONMENT | environment, actors=ACTORS, progress=self._progress)

    # --- Start and end -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start on fresh data, and put money into every wallet."""
        self.stack.start()
        self._let_in(self.database_url)
        self.stop_second_actor()
        self.pgbench_url = asyncio.run(database.create_database(self.database_url, "pgbench"))
        self._seed(self.api)

    def time_starts(self) -> dict[str, float]:
        """Start from nothing, stop, and start again; return the seconds that each start took."""
        seconds = {"cold_s": _timed(self.stack.start)}
        self._progress.say(f"Cold start: {seconds['cold_s']:.1f} s. Once more, warm")
        self.stack.stop()
        seconds["warm_s"] = _timed(self.stack.start)
        self._progress.say(f"Warm start: {seconds['warm_s']:.1f} s")
        self.stack.stop()
        self.stack.state.delete()
        return seconds

    def start_small(self) -> None:
        """Start gateways on an empty database next to the full one, so that both can be measured in turn."""
        if self.small is not None:
            return
        url = asyncio.run(database.create_database(self.database_url, "small"))
        self.small = self._stack(self._folder / "small", DATABASE_URL=url, WBS_BROKER="memory")
        self.small.start()
        self._let_in(url)
        self._seed(self.small.urls["api"])

    def stop(self) -> None:
        """Stop everything and delete the data."""
        if self.small is not None:
            self.small.stop()
        self.stack.stop()
        self.stack.state.delete()

    def __enter__(self) -> "Stage":
        self.stack.state.delete()  # left over if an earlier run was killed
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _let_in(self, database_url: str) -> None:
        asyncio.run(database.add_api_key(database_url, os.environ[API_KEY]))

    def _seed(self, api: str) -> None:
        """Put money into every wallet, by bulk charges."""
        let_in = poll(
            lambda: _is_let_in(api),
            what="the gateways to learn of the API key",
            timeout_s=_LET_IN_S_MAX,
            progress=self._progress,
        )
        if not let_in:
            raise OpsError("The gateways do not let the benchmark in.")
        self._progress.say(f"Filling {load.USERS:,} wallets by POST /charges")
        users: list[int | str] = [load.HOT_USER, *range(load.FIRST_USER, load.FIRST_USER + load.USERS)]
        for first in range(0, len(users), _SEED_ITEMS):
            items = [
                {"user_id": user, "amount": _SEED_AMOUNT, "idempotency_key": f"seed-{user}"}
                for user in users[first : first + _SEED_ITEMS]
            ]
            results = own_stack.call("POST", f"{api}/charges", items, os.environ[API_KEY])["results"]
            if any(result["status"] != 200 for result in results):
                raise OpsError(f"Filling the wallets failed: {results[0]}")

    # --- Where things are --------------------------------------------------------------------------------

    @property
    def api(self) -> str:
        """The gateways' address."""
        return self.stack.urls["api"]

    @property
    def database_url(self) -> str:
        """The database of the stack."""
        assert self.stack.servers is not None
        return self.stack.servers.database_url

    @property
    def postgres_bin(self) -> str:
        """The folder of pgbench."""
        return self.stack.env["WBS_POSTGRES_BIN"]

    # --- Levers ------------------------------------------------------------------------------------------

    def set_bank_latency(self, milliseconds: int) -> None:
        """Make every bank call take this time."""
        own_stack.call(
            "PUT", f"{self.stack.urls['bank']}/faults", {"latency_ms": milliseconds} if milliseconds else {}
        )

    def pause_payouts(self) -> None:
        """Stop relay and actors: withdrawals are accepted and wait."""
        self.stack.stop_kind("actors")
        if self._has("relay"):
            self.stack.stop_kind("relay")

    def publish(self) -> None:
        """Let the relay publish what waits in the outbox, as far as the queue has room for it."""
        if self._has("relay"):
            self.stack.start_kind("relay")
            self.wait(lambda: self.idle().published_or_full, "the relay to publish what waits", 120)

    def start_actors(self, processes: int) -> None:
        """Run this number of actor processes."""
        for number in range(1, processes + 1):
            supervision.start_program(self.stack.state, f"background:actors_{number}")

    def stop_second_actor(self) -> None:
        """Leave one actor process at work."""
        for program in self.stack.programs:
            if program.kind == "actors" and program.name != "actors_1":
                supervision.stop_program(self.stack.state, program.full_name, 40)

    def note_events(self, noted: bool) -> None:
        """Have events noted and numbered, or neither."""
        if not noted:
            self.stack.stop_kind("courier")
        asyncio.run(database.note_events(self.database_url, noted))
        if noted:
            self.start_courier()

    def start_courier(self) -> None:
        """Start the courier, and wait until it is at work: supervisord loses a signal to what it has just started."""
        since = asyncio.run(database.clock(self.database_url))
        self.stack.start_kind("courier")
        self.wait(lambda: asyncio.run(database.courier_leads(self.database_url, since)), "the courier", 60)

    def leave_one_gateway(self) -> None:
        """Stop all gateways but one."""
        for program in [one for one in self.stack.programs if one.kind == "gateway"][1:]:
            supervision.stop_program(self.stack.state, program.full_name, 40)

    def wait_numbered(self, timeout_s: float = 120) -> None:
        """Wait until no event waits for its number."""
        what = "all events to be numbered"
        # Quickly, and silently: the time that it takes is a figure.
        if not poll(self._all_numbered, what=what, timeout_s=timeout_s, progress=Progress(), interval_s=0.05):
            raise OpsError(f"Waited {timeout_s:.0f} s in vain for {what}.")

    def _all_numbered(self) -> bool:
        return asyncio.run(database.all_numbered(self.database_url))

    def wait_paid(self, timeout_s: float = 300) -> None:
        """Wait until no withdrawal is open."""
        self.wait(lambda: self.idle().paid, "all withdrawals to be paid", timeout_s)

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Poll, with progress. Raises OpsError if it takes too long."""
        if not poll(condition, what=what, timeout_s=timeout_s, progress=self._progress, interval_s=0.25):
            raise OpsError(f"Waited {timeout_s:.0f} s in vain for {what}.")

    def _has(self, kind: str) -> bool:
        return any(program.kind == kind for program in self.stack.programs)

    # --- Looks -------------------------------------------------------------------------------------------

    def transactions(self, *, small: bool = False) -> int:
        """Return the number of charges and withdrawals in the database."""
        url = self.small.env["DATABASE_URL"] if small and self.small else self.database_url
        return asyncio.run(database.transactions(url))

    def open_withdrawals(self) -> int:
        """Count the withdrawals that have not ended."""
        return asyncio.run(database.open_withdrawals(self.database_url))

    def idle(self) -> database.Idle:
        """Return whether everything is published, and paid."""
        return asyncio.run(database.idle(self.database_url))

    def memory(self) -> list[dict[str, Any]]:
        """Return each process's resident memory in MB; a server's includes its children, with shared memory once."""
        rows = []
        for row in self.stack.ps():
            process = psutil.Process(int(row["pid"]))
            children = process.children(recursive=True)
            if children:
                total = sum(_proportional_bytes(one) for one in [process, *children])
            else:
                total = process.memory_info().rss
            rows.append({"kind": row["kind"], "mb": round(total / 2**20, 1)})
        return rows

    def largest_mb(self, kind: str) -> float:
        """Return the memory of the largest process of a kind, in MB."""
        return max(float(row["mb"]) for row in self.memory() if row["kind"] == kind)

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds used so far, by kind of process. Unlike rates, they hardly depend on other work."""
        used: dict[str, float] = {}
        for row in [*self.stack.ps(), *(self.small.ps() if self.small else ())]:
            process = psutil.Process(int(row["pid"]))
            for one in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    times = one.cpu_times()
                    spent = times.user + times.system
                    spent += times.children_user + times.children_system  # of children that have ended
                    used[str(row["kind"])] = used.get(str(row["kind"]), 0.0) + spent
        return used

    def audit(self) -> Report:
        """Audit the ledger, with the bank's books. Raises OpsError if they can't be read."""
        settings = Settings.from_env(self.stack.env)
        try:
            return asyncio.run(run_audit(settings))
        except AuditImpossible as error:
            raise OpsError(f"The audit failed: {error}") from error

    def server_facts(self) -> dict[str, str]:
        """PostgreSQL's version and the settings that figures depend on."""
        return asyncio.run(database.server_facts(self.database_url))


def _timed(action: Callable[[], None]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def _proportional_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0
    except psutil.AccessDenied:  # a process of another user, and we are not root
        return int(process.memory_info().rss)


def authorization() -> dict[str, str]:
    """Return the header that lets the benchmark in."""
    return {"Authorization": f"Bearer {os.environ[API_KEY]}"}


def _is_let_in(api: str) -> bool:
    """Tell whether each gateway lets us in: many asks, since they share the port."""
    for _ in range(20):
        try:
            urllib.request.urlopen(
                urllib.request.Request(f"{api}/balance/1", None, authorization()), timeout=5
            ).close()
        except urllib.error.URLError:
            return False
    return True
