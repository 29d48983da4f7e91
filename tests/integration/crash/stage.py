"""The whole service with one process that dies at a step, and how its story has to end."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp

from tests.integration.actors.pipeline import Pipeline
from tests.integration.actors.processes import Process
from tests.integration.crash.processes import CrashingProcess, Gateway
from tests.polling import poll_until
from wallet.commands import Charge

SETTLED_S_MAX = 45


class Stage:
    """Processes as in `Pipeline`, and one that crashes. Everything is ended with the test."""

    def __init__(self, folder: Path, pipeline: Pipeline, gateway: Gateway) -> None:
        self.pipeline = pipeline
        self.bank = pipeline.bank
        self.gateway = gateway
        self.folder = folder
        # The bank is hidden from this one: it announces, and the actors have to find out by themselves.
        blind = pipeline.environment | {"WBS_BANK_URL": "http://127.0.0.1:9"}
        self.ringer = Process("actors.reconciler", folder, blind)
        self._crashing: list[CrashingProcess] = []

    def start_crashing(self, module: str, step: str, **environment: str) -> CrashingProcess:
        """Start a process that will die at `step`."""
        process = CrashingProcess(module, step, self.folder, self.pipeline.environment | environment)
        self._crashing.append(process)
        process.start()
        return process

    def ensure_gone(self) -> None:
        for process in (*self._crashing, self.ringer):
            process.ensure_gone()
        self.gateway.ensure_gone()

    # --- What there is ---

    async def charge(self, user: str, amount: int, **more: Any) -> None:
        await self.pipeline.ledger.submit(Charge("test", f"money of {user}", user, "USD", amount, **more))

    async def withdrawals(self) -> list[UUID]:
        return [row["id"] for row in await self.pipeline.execute("select id from withdrawals order by id")]

    async def payouts(self) -> Counter[str]:
        """How often the bank has paid, by reference."""
        return Counter(entry["reference"] for entry in await self.bank.books())

    async def orders_repeated(self) -> bool:
        """Whether the bank was told to pay what it had paid, and answered that it had (200, not 201)."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.bank.url}/metrics") as reply:
            return 'route="POST /payouts",status="200"' in await reply.text()

    async def transfers(self) -> Counter[str]:
        """How many transfers there are of each kind."""
        return Counter(row["kind"] for row in await self.pipeline.execute("select kind from transfers"))

    async def noted(self) -> Counter[str]:
        """How many events of each type wait for their numbers."""
        query = "select unnest(types) as type from event_batches"
        return Counter(row["type"] for row in await self.pipeline.execute(query))

    async def wallet(self, user: str) -> tuple[int, int, int]:
        """Available, locked, held."""
        query = "select available, locked, held from wallets where user_id = $1"
        (row,) = await self.pipeline.execute(query, user)
        return tuple(row)

    # --- How it ends ---

    async def ends(self, id_: UUID, status: str = "completed") -> None:
        """Assert that the withdrawal ends so, nothing is left over anywhere, and all books are right."""
        await self.pipeline.becomes(id_, status, SETTLED_S_MAX)
        await self.nothing_is_left()
        paid = 1 if status in ("completed", "returned") else 0
        assert (await self.payouts())[await self.pipeline.reference(id_)] == paid
        await self.pipeline.audit()

    async def nothing_is_left(self, dead_letters: int = 0) -> None:
        """Wait until outbox and queue are empty; messages in hand come back when their process ends."""

        async def empty() -> bool:
            return await self.pipeline.outbox() == 0 and self.pipeline.queued() == 0

        await poll_until(empty, SETTLED_S_MAX, what="outbox and queue are empty")
        if self.pipeline.actors.running:
            await poll_until(self.beats("actors"), SETTLED_S_MAX, what="the actors are up")
            assert self.pipeline.actors.stop() == 0
        assert self.pipeline.queued() == 0, "a message was in hand and came back"
        assert self.pipeline.queued("withdrawals.XQ") == dead_letters

    async def callbacks_taken(self) -> bool:
        """Whether the bank has nothing left to tell."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.bank.url}/health") as reply,
        ):
            return int((await reply.json())["callbacks_waiting"]) == 0

    def beats(self, kind: str) -> Callable[[], Awaitable[bool]]:
        """Return a condition: a process of this kind has beaten since this call."""
        asked_at = datetime.now(UTC)

        async def has_beaten() -> bool:
            query = "select from heartbeats where kind = $1 and at > $2"
            return bool(await self.pipeline.execute(query, kind, asked_at))

        return has_beaten

    async def dead_letters(self, number: int) -> None:
        """Wait until there are this many."""
        what = f"{number} dead letters"
        await poll_until(lambda: self.pipeline.queued("withdrawals.XQ") == number, SETTLED_S_MAX, what=what)

    async def said(self, process: Process, event: str) -> None:
        """Wait until a process has logged an event."""
        await poll_until(lambda: event in process.log.read_text(), SETTLED_S_MAX, what=f"logged: {event}")

    # --- The operator ---

    def start_operator(self, step: str, *arguments: str) -> CrashingProcess:
        """Start a `wbs` that will die at `step`."""
        return self.start_crashing("ops.cli", step, CRASH_ARGUMENTS=" ".join(arguments))

    async def operate(self, *arguments: str) -> None:
        """Run `wbs`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ops.cli", *arguments, env=os.environ | self.pipeline.environment
        )
        assert await asyncio.wait_for(process.wait(), SETTLED_S_MAX) == 0
