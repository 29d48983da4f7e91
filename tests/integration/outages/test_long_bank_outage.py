"""A long outage of the bank with many withdrawals waiting: every process stays small, and all are paid after it.

TEST_OUTAGE_WITHDRAWALS says how many (2,000 if not set; 50,000 take some minutes). The figures are printed.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psutil
import pytest

from ops.local.stack import Stack
from tests.polling import poll_until
from tests.service import INTERVAL_S, Service

WITHDRAWALS = int(os.environ.get("TEST_OUTAGE_WITHDRAWALS", "2000"))
WALLETS = 50
CLIENTS = 48
ACCEPTED_PER_S_MIN = 50
PAID_PER_S_MIN = 10
"""On a machine that is shared by many; far below what a quiet one does."""

MEMORY_MB_MAX = {"rabbitmq": 400, "postgres": 400}
"""What others made. PostgreSQL's processes share 256 MB, which counts for each that has touched them."""
OUR_MEMORY_MB_MAX = 200


class Memory:
    """The most that any process of each kind has had resident, in MB."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.peak_mb: dict[str, int] = {}

    @classmethod
    @asynccontextmanager
    async def of(cls, stack: Stack) -> AsyncIterator["Memory"]:
        """Look again and again within the block."""
        memory = cls(stack)
        memory.look()
        over = asyncio.Event()

        async def watch() -> None:
            while not over.is_set():
                await asyncio.to_thread(memory.look)
                with suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), 0.5)

        watching = asyncio.create_task(watch())
        try:
            yield memory
        finally:
            over.set()
            await watching

    def look(self) -> None:
        """Record the resident memory."""
        for row in self._stack.ps():
            with suppress(psutil.Error):
                process = psutil.Process(int(row["pid"]))
                for one in (process, *process.children(recursive=True)):
                    kind = str(row["kind"])
                    resident_mb = one.memory_info().rss // 2**20
                    self.peak_mb[kind] = max(self.peak_mb.get(kind, 0), resident_mb)

    def check(self) -> None:
        """Assert that every process was within its bound."""
        for kind, peak_mb in self.peak_mb.items():
            assert peak_mb < MEMORY_MB_MAX.get(kind, OUR_MEMORY_MB_MAX), self.peak_mb


async def accept(service: Service, number: int) -> list[str]:
    """Get this number of withdrawals accepted, over several wallets and connections."""
    for wallet in range(WALLETS):
        await service.charge(number, user=f"{service.user}-{wallet}")
    left = iter(range(number))
    ids: list[str] = []

    async def client() -> None:
        for place in left:
            ids.append(await service.withdraw(1, user=f"{service.user}-{place % WALLETS}"))

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return ids


@pytest.mark.slow
@pytest.mark.timeout(120 + WITHDRAWALS // ACCEPTED_PER_S_MIN + WITHDRAWALS // PAID_PER_S_MIN)
async def test_many_withdrawals_wait_for_the_bank(service: Service) -> None:
    """Goal: withdrawals pile up in an outage; memory stays bounded; all are paid once after it, the books right."""
    await service.faults(outage=True)
    async with Memory.of(service.stack) as memory:
        started = time.monotonic()
        ids = await accept(service, WITHDRAWALS)
        accepted_s = time.monotonic() - started
        assert len(set(ids)) == WITHDRAWALS

        async def all_wait() -> bool:  # each gateway's last report serves for half a second
            return bool((await service.call("GET", "/health")).json["queue_length"] >= WITHDRAWALS - 1)

        await poll_until(all_wait, interval_s=INTERVAL_S)
        waiting_mb = dict(memory.peak_mb)

        async def bank_is_known_to_be_away() -> bool:
            health = (await service.call("GET", "/health")).json
            return bool(health["dependencies"]["bank"]["status"] == "down")

        await poll_until(bank_is_known_to_be_away, 60, interval_s=INTERVAL_S)
        await service.faults()
        started = time.monotonic()
        await service.nothing_waits(60 + WITHDRAWALS / PAID_PER_S_MIN)
        drained_s = time.monotonic() - started
    print(
        f"\n{WITHDRAWALS} withdrawals: accepted in {accepted_s:.1f} s ({WITHDRAWALS / accepted_s:.0f}/s), "
        f"paid within {drained_s:.1f} s after the outage ({WITHDRAWALS / drained_s:.0f}/s), "
        f"resident at most, MB: {waiting_mb} when all waited, {memory.peak_mb} in all"
    )
    paid = await service.paid(ids)
    assert all(paid.get(id_) == [1] for id_ in ids)
    assert await service.all_end(ids[:100]) == ["completed"] * 100
    splits = await asyncio.gather(*(service.split(f"{service.user}-{wallet}") for wallet in range(WALLETS)))
    assert sum(split.withdrawable for split in splits) == WITHDRAWALS * (WALLETS - 1)
    assert {split.held for split in splits} == {0}
    assert await service.dead_letters() == 0
    await service.audit()
    memory.check()
