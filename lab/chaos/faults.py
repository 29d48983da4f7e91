"""Carries out the planned faults on a stack's own processes and lines, and heals all of it in the end."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from lab.chaos.client import RecordingClient
from lab.chaos.history import Comeback, HistoryWriter, InjectedFault
from lab.chaos.lines import Lines
from lab.chaos.proxy import Mode
from lab.chaos.schedule import NONSENSE_LINES, PlannedFault
from lab.chaos.server_faults import ServerFaults
from lab.chaos.victims import backends_of, children_of, has_beaten
from ops import processes
from ops.local.stack import Stack
from ops.processes import Identity

COMEBACK_POLL_S = 0.2
COMEBACK_WAIT_S = 30.0
KILLED_WITHIN_S = 5.0
HUNG_WITHIN_S = 15.0
"""Time within which a process that was killed, or that hangs, is replaced."""
STOP_WITHIN_S = 10.0
HEAL_TRIES_MAX = 100
HEAL_WAIT_S = 0.3

# The bank's faults (docs/BANK.md), named for people. Rates are those of a very bad day.
BANK_FAULTS: dict[str, dict[str, Any]] = {
    "errors": {"error_rate": 0.5},
    "lost_replies": {"lost_reply_rate": 0.5},
    "hangs": {"hang_rate": 0.2},
    "slow": {"latency_ms": 300, "latency_p99_ms": 2500},
    "outage": {"outage": True},
    "declines": {"decline_rate": 0.5},
    "pending": {"pending_rate": 0.7, "settle_after_ms": 2000, "decline_rate": 0.1},
    "callbacks": {
        "pending_rate": 0.4,
        "settle_after_ms": 300,
        "callback_delay_ms": 200,
        "callback_shuffle_ms": 3000,
        "callback_double_rate": 0.5,
    },
    "everything": {
        "latency_ms": 100,
        "latency_p99_ms": 1500,
        "decline_rate": 0.1,
        "error_rate": 0.2,
        "lost_reply_rate": 0.2,
        "hang_rate": 0.05,
        "pending_rate": 0.1,
        "settle_after_ms": 1000,
        "callback_double_rate": 0.2,
    },
}
USUAL_BANK = {
    **{"latency_ms": 20, "latency_p99_ms": 300, "error_rate": 0.02, "decline_rate": 0.05},
    **{"pending_rate": 0.03, "settle_after_ms": 500},
}
"""The bank's faults between its troubles."""


class Saboteur:
    """Strikes according to the plan. It only ever signals processes that the stack names as its own."""

    def __init__(
        self, seed: int, stack: Stack, lines: Lines, client: RecordingClient, history: HistoryWriter
    ) -> None:
        self._seed = seed
        self._stack = stack
        self._lines = lines
        assert stack.servers is not None
        self._server_faults = ServerFaults(stack.servers.database_url, stack.env["RABBITMQ_URL"])
        self._client = client
        self._history = history
        self._frozen: Counter[Identity] = Counter()
        self._cuts: Counter[str] = Counter()
        self._troubles = 0
        self._ps_lock = asyncio.Lock()  # the supervisor's client sets a process-wide timeout during its call
        self._expected: Counter[str] = Counter()
        self.done: Counter[tuple[str, str]] = Counter()
        """Faults carried out, by action and target."""
        self.underway = 0
        self.slowest_comeback_s = 0.0

    @property
    def kills(self) -> int:
        """Number of processes ended by SIGKILL."""
        return sum(count for (action, _), count in self.done.items() if action == "kill")

    async def start(self) -> None:
        """Remember the processes of a whole stack, and set the bank's usual faults."""
        self._expected = Counter(str(row["kind"]) for row in await self._ps())
        await self._set_bank(USUAL_BANK)

    async def run(self, plan: Sequence[PlannedFault]) -> None:
        """Carry out the plan; faults may overlap. Returns when the last fault is over and all processes are back."""
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in plan:
                await asyncio.sleep(max(0.0, begun + fault.at_s - time.monotonic()))
                group.create_task(self._strike(fault))

    async def _strike(self, fault: PlannedFault) -> None:
        random = Random(f"{self._seed}:fault:{fault.number}")
        start = self._history.now()
        self.underway += 1
        try:
            detail = await self._act(fault, random)
        finally:
            self.underway -= 1
        if detail is None:
            return  # there is no target: it is down already
        what = f"{fault.how} {detail}".strip()
        self._history.write(InjectedFault(fault.action, fault.target, start, self._history.now(), what))

    async def _act(self, fault: PlannedFault, random: Random) -> str | None:
        if fault.action in ("hold", "database", "poison"):
            detail: str | None = await getattr(self._server_faults, fault.action)(fault, random)
            if detail is not None:
                self.done[fault.action, fault.target] += 1
            return detail
        found: str | None = await getattr(self, f"_{fault.action}")(fault, random)
        return found

    # --- processes ---------------------------------------------------------------------------------------

    async def _kill(self, fault: PlannedFault, random: Random) -> str | None:
        victims = await self._victims(fault.target, random, everyone=fault.how == "all")
        if not victims:
            return None
        at = self._history.now()
        for victim in victims:
            processes.send(victim, signal.SIGKILL)
            self.done["kill", fault.target] += 1
        if fault.target != "postgres_backend":  # its postmaster replaces it, and all the others, itself
            await self._await_comeback(fault.target, victims, at)
        return f"pid {', '.join(str(victim.pid) for victim in victims)}"

    async def _restart(self, fault: PlannedFault, random: Random) -> str | None:
        """Ask a process to stop, and kill it if it does not, as every supervisor does."""
        victims = await self._victims(fault.target, random)
        if not victims:
            return None
        # After SIGTERM, PostgreSQL would wait until every client has gone; SIGINT is its polite stop.
        processes.send(victims[0], signal.SIGINT if fault.target == "postgres" else signal.SIGTERM)
        self.done["restart", fault.target] += 1
        deadline = time.monotonic() + STOP_WITHIN_S
        while victims[0].alive():
            if time.monotonic() > deadline:
                # This happens: PostgreSQL 15 never stops if it is told to stop while it recovers from a crash.
                processes.send(victims[0], signal.SIGKILL)
                return f"pid {victims[0].pid}, killed after {STOP_WITHIN_S:.0f} s"
            await asyncio.sleep(COMEBACK_POLL_S)
        return f"pid {victims[0].pid}"

    async def _freeze(self, fault: PlannedFault, random: Random) -> str | None:
        victims = await self._victims(fault.target, random)
        if not victims:
            return None
        pid = victims[0].pid
        if fault.target == "postgres":  # the whole server, as a machine that stalls
            victims = [*victims, *children_of(pid)]
        self.done["freeze", fault.target] += 1
        for victim in victims:
            self._frozen[victim] += 1
            processes.send(victim, signal.SIGSTOP)
        await asyncio.sleep(fault.lasts_s)
        for victim in victims:
            self._thaw(victim)
        return f"pid {pid}, {len(victims)} processes"

    async def _hang(self, fault: PlannedFault, random: Random) -> str | None:
        """Freeze a process and leave it: the stack's own supervision must notice, end and restart it.

        One that is just starting is left alone: until its first beat, supervision allows it a minute.
        """
        victims = await self._victims(fault.target, random)
        if not victims or not has_beaten(self._stack.state, victims[0]):
            return None
        at = self._history.now()
        self.done["hang", fault.target] += 1
        self._frozen[victims[0]] += 1  # or the end of a shorter freeze would thaw it
        processes.send(victims[0], signal.SIGSTOP)
        await self._await_comeback(fault.target, victims, at, within_s=HUNG_WITHIN_S)
        self._thaw(victims[0])
        return f"pid {victims[0].pid}"

    def _thaw(self, victim: Identity) -> None:
        self._frozen[victim] -= 1
        if self._frozen[victim] <= 0:
            del self._frozen[victim]
            processes.send(victim, signal.SIGCONT)

    async def _victims(self, target: str, random: Random, *, everyone: bool = False) -> list[Identity]:
        kind = "postgres" if target == "postgres_backend" else target
        pids = [int(row["pid"]) for row in await self._ps() if row["kind"] == kind]
        found = [one for pid in pids if (one := processes.identify(pid)) is not None]
        if target == "postgres_backend":
            found = [backend for postmaster in found for backend in backends_of(postmaster.pid)]
            everyone = False
        if not found:
            return []
        return found if everyone else [random.choice(found)]

    async def _ps(self) -> list[dict[str, str | int]]:
        async with self._ps_lock:
            return await asyncio.to_thread(self._stack.ps)

    async def _await_comeback(
        self, kind: str, victims: Sequence[Identity], killed_at: float, *, within_s: float = KILLED_WITHIN_S
    ) -> None:
        """Wait until the full number of processes of the kind runs, none of them a victim."""
        gone = {victim.pid for victim in victims}
        deadline = killed_at + COMEBACK_WAIT_S
        while (now := self._history.now()) < deadline:
            pids = {int(row["pid"]) for row in await self._ps() if row["kind"] == kind}
            if len(pids - gone) >= self._expected[kind]:
                break
            await asyncio.sleep(COMEBACK_POLL_S)
        if within_s == KILLED_WITHIN_S:
            self.slowest_comeback_s = max(self.slowest_comeback_s, now - killed_at)
        self._history.write(Comeback(kind, killed_at, now - killed_at, within_s))

    # --- lines and bank ----------------------------------------------------------------------------------

    async def _cut(self, fault: PlannedFault, random: Random) -> str:
        mode: Mode = fault.how  # type: ignore[assignment]
        self.done["cut", f"{fault.target} {fault.how}"] += 1
        self._cuts[fault.target] += 1
        delay_s = random.uniform(0.02, 0.5) if mode == "delay" else 0.0
        await self._lines.cut(fault.target, mode, delay_s)
        if mode != "reset":
            await asyncio.sleep(fault.lasts_s)
        self._cuts[fault.target] -= 1
        if not self._cuts[fault.target]:
            await self._lines.cut(fault.target, "pass")
        return f"for {fault.lasts_s:.1f} s"

    async def _bank(self, fault: PlannedFault, random: Random) -> str | None:
        if fault.target in NONSENSE_LINES:
            return await self._cut(fault._replace(how="nonsense"), random)
        faults = {**USUAL_BANK, **BANK_FAULTS[fault.target], "seed": random.randrange(2**31)}
        if not await self._set_bank(faults):
            return None
        self.done["bank", fault.target] += 1
        self._troubles += 1
        await asyncio.sleep(fault.lasts_s)
        self._troubles -= 1
        if not self._troubles:
            await self._set_bank(USUAL_BANK)
        return f"for {fault.lasts_s:.1f} s"

    async def _set_bank(self, faults: dict[str, Any] | None) -> bool:
        """Set the bank's faults (None: no faults at all); return False if it did not answer."""
        method = "DELETE" if faults is None else "PUT"
        status, _ = await self._client.bank(method, "/faults", faults)
        return status == 200

    # --- healing -----------------------------------------------------------------------------------------

    async def heal(self) -> bool:
        """Thaw temporarily frozen processes, mend the lines, and remove the servers' and the bank's faults.

        Hanging processes are left to the stack's own supervision. Return False if a server does not answer.
        """
        for victim in list(self._frozen):
            processes.send(victim, signal.SIGCONT)
        self._frozen.clear()
        for name in self._lines.proxies:
            await self._lines.cut(name, "pass")
        if not await self._server_faults.heal():
            return False
        for _ in range(HEAL_TRIES_MAX):
            if await self._set_bank(None):
                return True
            await asyncio.sleep(HEAL_WAIT_S)
        return False
