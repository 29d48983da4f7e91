"""PostgreSQL's disk full: clear refusals, nothing acknowledged is lost, and it works again once there is space."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from actors.audit import run_audit
from db.migrate import migrate
from ops.local.provision import PrivateServers, private_servers
from runtime.settings import Settings
from tests.integration.actors.processes import Process
from tests.integration.outages.endpoints import REFUSED_MAX_S
from tests.polling import FAR, poll_until, wait_until
from tests.ports import free_port
from tests.service import Answer, Service, Split, defaults

DISK_MB = 128
LEFT_MB = 2
AMOUNT = 3
BULK = 200
BULKS_MAX = 200
REFUSED_IN_A_ROW = 10


@pytest.fixture
def small_disk() -> Iterator[PrivateServers]:
    """A PostgreSQL whose data lie on a file system of their own, a small one."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    folder = Path(tempfile.mkdtemp(prefix="wbs-disk-"))  # not tmp_path: PostgreSQL's user can't enter that
    disk = folder / "postgres"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", disk],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        if mounted.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
        with private_servers(folder, rabbitmq=False, env=defaults()) as servers:
            yield servers
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", disk], check=False)
        shutil.rmtree(folder, ignore_errors=True)


class Disk:
    """Fills the file system with a file of no use, and removes it."""

    def __init__(self, servers: PrivateServers) -> None:
        self._ballast = servers.stack.state.root / "postgres" / "ballast"

    def fill(self) -> None:
        """Leave LEFT_MB."""
        with self._ballast.open("wb", buffering=0) as file:
            with suppress(OSError):
                while True:
                    file.write(bytes(2**20))
            file.truncate(file.tell() - LEFT_MB * 2**20)

    def take_the_rest(self) -> None:
        """Leave nothing, not even what a crash has given back."""
        with self._ballast.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)


class Bare(Service):
    """A gateway alone: its address instead of a stack's."""

    api = ""

    async def call(self, method: str, path: str, *, base: str = "", **more: Any) -> Answer:
        return await super().call(method, path, base=base or self.api, **more)


@pytest_asyncio.fixture
async def gateway(small_disk: PrivateServers, tmp_path: Path) -> AsyncIterator[Bare]:
    """A gateway on that PostgreSQL, and a client of it."""
    await migrate(small_disk.database_url)
    port = str(free_port())
    settings = {"DATABASE_URL": small_disk.database_url, "WBS_HTTP_PORT": port}
    process = Process("gateway", tmp_path, settings).start()
    wait_until(lambda: "gateway_ready" in process.log.read_text())
    async with Bare.of(small_disk.stack) as client:
        client.api = f"http://127.0.0.1:{port}"
        yield client
    process.ensure_gone()


class Ledger:
    """Charges as a client has sent them, and which were acknowledged."""

    def __init__(self, client: Service) -> None:
        self._client = client
        self.sent: dict[str, None] = {}
        self.acknowledged: dict[str, Any] = {}

    async def send(self, keys: list[str]) -> list[int]:
        """Send charges at once, new ones or again; return the status of each."""
        self.sent.update(dict.fromkeys(keys))
        orders = [self._client.order(AMOUNT, key=key, metadata={"fill": "x" * 2000}) for key in keys]
        answer = await self._client.call("POST", "/charges", json=orders)
        assert answer.seconds < REFUSED_MAX_S * FAR
        assert answer.status == 200
        results = answer.json["results"]
        for key, result in zip(keys, results, strict=True):
            if result["status"] == 200:
                known = self.acknowledged.setdefault(key, result["transaction"])
                assert result["transaction"] == known
        return [result["status"] for result in results]


async def end_log_segment(servers: PrivateServers) -> None:
    """Make PostgreSQL need a new file for its log with its next write: without space for that it ends itself."""
    connection = await asyncpg.connect(servers.database_url, timeout=30)
    await connection.fetchval("select pg_switch_wal()")
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await connection.execute("create table wanted ()")
    connection.terminate()


@pytest.mark.parametrize("wanting", ["data", "log"])
async def test_a_full_disk(small_disk: PrivateServers, gateway: Bare, wanting: str) -> None:
    """Goal: on a full disk every write is refused with 503 in time; what was acknowledged is there ever after.

    Without space for data PostgreSQL refuses what needs some; without space for its log it ends, again and again.
    """
    disk, ledger = Disk(small_disk), Ledger(gateway)
    assert set(await ledger.send([uuid4().hex for _ in range(BULK)])) == {200}
    disk.fill()
    seen: set[int] = set()
    for _ in range(BULKS_MAX):
        seen |= set(await ledger.send([uuid4().hex for _ in range(BULK)]))
        if 503 in seen:
            break
    disk.take_the_rest()
    assert seen == {200, 503}
    if wanting == "log":
        await end_log_segment(small_disk)
        disk.take_the_rest()

    refused = held = 0
    times: list[float] = []
    for _ in range(BULKS_MAX):
        [charged] = await ledger.send([uuid4().hex])
        withdrawn = await gateway.call("POST", "/withdraw", json=gateway.order(1))
        read = await gateway.call("GET", f"/balance/{gateway.user}")
        for answer in (withdrawn, read):
            assert answer.status in (200, 202, 503), answer.body
            assert answer.seconds < REFUSED_MAX_S * FAR
            times.append(answer.seconds)
            if answer.status == 503:
                assert answer.code == "unavailable"
                assert int(answer.headers["retry-after"]) >= 1
        held += withdrawn.status == 202
        refused = refused + 1 if charged == withdrawn.status == 503 else 0
        if refused == REFUSED_IN_A_ROW:
            break
    assert refused == REFUSED_IN_A_ROW
    assert median(times) < REFUSED_MAX_S

    told = (small_disk.stack.state.log / "postgres.log").read_text()
    assert ("PANIC" in told) == (wanting == "log"), "the disk was full in another way"
    disk.free()

    async def works() -> bool:
        return (await gateway.call("POST", "/charge", json=gateway.order(1, user="afterwards"))).status == 200

    await poll_until(works)
    before = dict(ledger.acknowledged)
    for start in range(0, len(ledger.sent), BULK):
        assert set(await ledger.send(list(ledger.sent)[start : start + BULK])) == {200}
    assert all(ledger.acknowledged[key] == transaction for key, transaction in before.items())
    total = AMOUNT * len(ledger.sent)
    assert await gateway.split() == Split(total - held, held=held)
    report = await run_audit(Settings.from_env({"DATABASE_URL": small_disk.database_url}), bank=False)
    assert report.ok, report.findings.violations
