"""An upgrade and a rollback under load: processes of two versions side by side, on one database."""

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from db.audit import Findings, audit_books
from db.migrate import migrate
from tests.integration.actors.processes import BankProcess, Process
from tests.polling import poll_until
from tests.ports import free_port

ROOT = Path(__file__).parents[3]
BEFORE = "9443dff"
"""A commit of the version before: without events, and without what the console reads."""
MIGRATE = "import asyncio, sys; from db.migrate import migrate; asyncio.run(migrate(sys.argv[1]))"
CLIENTS = 8
PATHS = ("/charge", "/transfers", "/withdraw")


class Version:
    """The processes of one version, in its own folder."""

    def __init__(self, code: Path, folder: Path, environment: dict[str, str], *more: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        folder.mkdir()
        given = {**environment, "WBS_HTTP_PORT": str(port), "WBS_STATE_DIR": str(folder)}
        modules = ("gateway", "actors.in_memory", "actors.reconciler", *more)
        self.processes = [_Process(module, folder, given, code) for module in modules]

    def start(self) -> None:
        for process in self.processes:
            process.start()

    async def ready(self, session: aiohttp.ClientSession) -> None:
        async def answers() -> bool:
            try:
                async with session.get(f"{self.url}/health/ready") as reply:
                    return reply.status == 200
            except aiohttp.ClientError:
                return False

        await poll_until(answers, 60, what=f"{self.url} is ready")

    async def stop(self) -> None:
        for process in self.processes:  # the gateway first: it finishes what it holds
            assert await asyncio.to_thread(process.stop) == 0, process.log.read_text()[-2_000:]


class _Process(Process):
    """A process whose code is in a folder of its own."""

    def __init__(self, module: str, folder: Path, environment: dict[str, str], code: Path) -> None:
        super().__init__(module, folder, environment)
        self._code = code

    def start(self) -> "_Process":
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                env=self._environment,
                stderr=log,
                stdout=log,
                cwd=self._code,
            )
        return self


class Load:
    """Clients that repeat what got no answer at the next gateway, and remember whatever they should not have met."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.gateways: list[str] = []
        self.done: dict[str, int] = {}
        self.met: list[str] = []
        self._session = session
        self._numbers = itertools.count(1)
        self._stopping = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        clients = [asyncio.create_task(self._client(n)) for n in range(CLIENTS)]
        try:
            yield
        finally:
            self._stopping = True
            await asyncio.gather(*clients)

    async def goes_on(self) -> None:
        """Wait until every kind of request has gone through twenty more times."""
        before = dict(self.done)

        def more() -> bool:
            return all(self.done.get(path, 0) >= before.get(path, 0) + 20 for path in PATHS)

        await poll_until(more, 60, what="requests of every kind go through")

    async def _client(self, number: int) -> None:
        user, other = f"user-{number}", f"user-{(number + 1) % CLIENTS}"
        while not self._stopping:
            await self._send("/charge", {"user_id": user, "amount": 10})
            await self._send("/transfers", {"from_user_id": user, "to_user_id": other, "amount": 2})
            await self._send("/withdraw", {"user_id": user, "amount": 1})

    async def _send(self, path: str, body: dict[str, Any]) -> None:
        number = next(self._numbers)
        body = {**body, "idempotency_key": f"key-{number}"}
        for attempt in range(400):
            base = self.gateways[(number + attempt) % len(self.gateways)]
            try:
                async with self._session.post(base + path, json=body) as reply:
                    text = await reply.text()
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)  # it is stopping or starting: another one answers
                continue
            if reply.status in (200, 202):
                self.done[path] = self.done.get(path, 0) + 1
                return
            if reply.status != 503 or "Retry-After" not in reply.headers:
                self.met.append(f"{path} {reply.status} {text[:200]}")
                return
            await asyncio.sleep(0.05)
        self.met.append(f"{path} was never taken")


@pytest.fixture
def code_before(tmp_path: Path) -> Path:
    """The code of the version before, out of the history of this repository."""
    git = ["git", "-C", str(ROOT)]
    if subprocess.run(
        [*git, "cat-file", "-e", f"{BEFORE}^{{commit}}"], capture_output=True, check=False
    ).returncode:
        pytest.skip("a shallow clone: the version before is not in its history")
    folder = tmp_path / "before"
    folder.mkdir()
    archive = subprocess.run([*git, "archive", BEFORE], capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


async def books_are_right(database_url: str) -> None:
    """Audit, with all that this version knows."""
    connection = await asyncpg.connect(database_url)
    try:
        findings = Findings()
        await audit_books(connection, findings, lambda _: None)
        assert not findings.violations
    finally:
        await connection.close()


async def test_upgrade_and_rollback(code_before: Path, empty_database_url: str, tmp_path: Path) -> None:
    """Goal: old code on the new schema, both versions, and back: clients meet 503 at worst, the books are right."""
    bank = BankProcess(tmp_path, {})
    bank.start()
    environment = {"DATABASE_URL": empty_database_url, "WBS_BANK_URL": f"http://127.0.0.1:{bank.port}"}
    old = Version(code_before, tmp_path / "old", environment)
    old_again = Version(code_before, tmp_path / "old-again", environment)
    new = Version(ROOT, tmp_path / "new", environment, "actors.courier")
    await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", MIGRATE, empty_database_url],
        cwd=code_before,
        check=True,
        timeout=60,
    )
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
            old.start()
            await old.ready(session)
            load = Load(session)
            load.gateways = [old.url]
            async with load.running():
                await load.goes_on()
                await migrate(empty_database_url)  # the old processes go on meanwhile
                await load.goes_on()
                new.start()
                await new.ready(session)
                load.gateways = [old.url, new.url]
                await load.goes_on()
                load.gateways = [new.url]
                await old.stop()
                await load.goes_on()
                old_again.start()  # the rollback: the schema stays
                await old_again.ready(session)
                load.gateways = [new.url, old_again.url]
                await load.goes_on()
                load.gateways = [old_again.url]
                await new.stop()
                await load.goes_on()
            assert load.met == []
            connection = await asyncpg.connect(empty_database_url)

            async def all_paid() -> bool:
                return not await connection.fetchval(
                    "select count(*) from withdrawals where status <> 'completed'"
                )

            await poll_until(all_paid, 60, what="all is paid")
            paid = await connection.fetchval("select count(*) from withdrawals")
            await connection.close()
            assert paid == load.done["/withdraw"]
            assert len(await bank.books()) == paid
        await books_are_right(empty_database_url)
    finally:
        for process in (*old.processes, *old_again.processes, *new.processes, bank):
            process.ensure_gone()
