"""`wbs archive` killed at each step: the same command goes on, and everything is in one place."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from actors.audit import run_audit
from ops import archive_files
from tests.archiving import Archived, number_all_events
from tests.integration.crash.launcher import ARCHIVED_AT_ONCE
from tests.integration.crash.stage import Stage
from wallet.commands import Charge, Leg, MakeTransfer, PlaceHold
from wallet.follow_up_commands import CaptureHold, ReverseCharge, VoidHold

CHARGES = 12
STEPS = {
    # step: rows of events, and movements, that are in the archive by then
    "archive begun": (0, 0),
    "events in their file": (1, 0),
    "events gone": (2, 0),
    "rows about to be in their file": (None, 1),
    "rows in their file": (None, 1),
    "rows gone, not committed": (None, 1),
    "rows gone": (None, 2),
    "all gone, not sealed": (None, None),
    "sealed, without manifest": (None, None),
    "manifest written, not ended": (None, None),
    "ended, not told": (None, None),
}
"""Counted in transactions; None: all of them."""


async def move(stage: Stage) -> None:
    """Move money in all ways that can be archived, most of it by charges."""
    ledger = stage.pipeline.ledger
    charged = [await ledger.submit(Charge("test", f"c{n}", "eve", "USD", 10)) for n in range(CHARGES)]
    await ledger.submit(MakeTransfer("test", "t", "eve", "USD", 10, (Leg("bob", 10),)))
    held = [await ledger.submit(PlaceHold("test", f"h{n}", "eve", "USD", 20, None)) for n in range(2)]
    await ledger.follow_up(CaptureHold("test", "capture", held[0].receipt.id, (Leg("bob", 15),)))
    await ledger.follow_up(VoidHold(held[1].receipt.id))
    await ledger.follow_up(ReverseCharge("test", "r", charged[0].receipt.id, 4))
    await number_all_events(stage.pipeline.settings)


class Books:
    """What is in the database, and what was archived."""

    def __init__(self, stage: Stage) -> None:
        self._execute = stage.pipeline.execute

    async def one(self, query: str) -> Any:
        """Return the one value of a query."""
        return (await self._execute(query))[0][0]

    async def ids(self) -> set[str]:
        """Return the movements that are there."""
        return {str(row["id"]) for row in await self._execute("select id from transfers")}

    async def archived(self) -> tuple[int, int]:
        """Return how many rows of events, and movements, are in files by what the database says."""
        events = "select coalesce(sum(rows), 0)::int from archive_files where name = 'events'"
        movements = "select coalesce(sum(movements), 0)::int from archived_balances"
        return await self.one(events), await self.one(movements)


@pytest.mark.parametrize("step", STEPS)
async def test_killed_while_archiving(make_stage: Callable[..., Stage], tmp_path: Path, step: str) -> None:
    """Goal: wherever an archive has come to, the books are right, and the next run ends it: each row in one place."""
    stage = make_stage(WBS_REVERSIBLE_DAYS="0", WBS_STATE_DIR=str(tmp_path / "state"))
    books, folder = Books(stage), tmp_path / "archive"
    await move(stage)
    before: datetime = await books.one("select clock_timestamp()")
    await stage.charge("eve", 1)
    ids, events = await books.ids(), await books.one("select count(*) from events")
    wallets = [await stage.wallet(user) for user in ("eve", "bob")]
    command = ("archive", "--before", before.isoformat(), "--folder", str(folder), "--share", "1", "--yes")

    await stage.start_operator(step, *command).died()

    at_most = [None if number is None else number * ARCHIVED_AT_ONCE for number in STEPS[step]]
    gone = await books.archived()
    assert await books.one("select count(*) from events") == events - gone[0]
    assert len(ids) - len(await books.ids()) == gone[1]
    assert at_most[0] is None or gone[0] == at_most[0]
    assert (gone[1] > 0) is (STEPS[step][1] != 0)
    assert (await run_audit(stage.pipeline.settings, bank=False)).ok
    assert [await stage.wallet(user) for user in ("eve", "bob")] == wallets

    await stage.operate(*command)

    archived = Archived({}, folder)
    rows = [row["id"] for row in archived.rows("transfers")]
    here = await books.ids()
    assert len(rows) == len(set(rows)) == (await books.archived())[1] > CHARGES
    assert here.isdisjoint(rows)
    assert here | set(rows) == ids
    assert len(archived.rows("events")) + await books.one("select count(*) from events") == events
    assert not archive_files.problems(folder)
    assert await books.one("select count(*) from archives where ended_at is null") == 0
    assert (await run_audit(stage.pipeline.settings, bank=False)).ok
    assert [await stage.wallet(user) for user in ("eve", "bob")] == wallets
