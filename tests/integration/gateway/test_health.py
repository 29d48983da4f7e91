"""/health when very many ask: it says `down` only if the database is away."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from db.lists import EVER
from db.write_trial import WriteTrial
from gateway.readiness import Readiness
from gateway.reads import READS_MAX, Reads
from gateway.routes.health import HealthReporter
from runtime.settings import Settings
from runtime.tasks import SupervisedTasks
from wallet.errors import Overloaded

MANY = READS_MAX + 100


async def writes_go_through() -> WriteTrial:
    return WriteTrial(None)


READY = Readiness([], writes_go_through)


@pytest_asyncio.fixture
async def reads(settings: Settings) -> AsyncIterator[Reads]:
    reads = Reads(settings, SupervisedTasks())
    reads.start()
    yield reads
    await reads.stop()


async def test_many_ask_at_once(reads: Reads) -> None:
    """Goal: hardly more than one report serves all callers, and one that leaves does not affect the others."""
    reporter = HealthReporter(reads, READY)
    asking = [asyncio.ensure_future(reporter.report()) for _ in range(MANY)]
    await asyncio.sleep(0)
    asking.pop(0).cancel()
    reports = await asyncio.gather(*asking)
    assert {report.status for report in reports} == {"degraded"}
    # One, unless the machine stops for longer than a report serves.
    assert len(set(map(id, reports))) < MANY / 10


async def test_more_reads_than_are_taken(reads: Reads) -> None:
    """Goal: where reads are refused because too many are under way, the database is not away."""
    pages = [
        asyncio.ensure_future(reads.transactions(("ann", "USD"), EVER, 20, 0, None, None))
        for _ in range(MANY)
    ]
    await asyncio.sleep(0)
    report = await HealthReporter(reads, READY).report()
    found = await asyncio.gather(*pages, return_exceptions=True)
    assert sum(isinstance(page, Overloaded) for page in found) == MANY - READS_MAX
    assert report.status == "degraded"
