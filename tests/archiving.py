"""`wbs archive`, as an operator runs it on a test's own database."""

import asyncio
import csv
import gzip
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from db.courier import CourierSession
from ops.archive_files import SUFFIX
from ops.cli import main
from runtime.settings import Settings
from wallet.events import KINDS


class Archived(NamedTuple):
    """What `wbs archive` said, and where its files are."""

    told: dict[str, Any]
    folder: Path

    def rows(self, table: str) -> list[dict[str, str]]:
        """Return the rows of a table's file."""
        path = self.folder / f"{table}{SUFFIX}"
        if not path.exists():
            return []
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


WbsArchive = Callable[..., Awaitable[Archived]]


async def number_all_events(settings: Settings) -> None:
    """Do once what a courier does all the time."""
    courier = CourierSession(settings.database, frozenset(KINDS))
    await courier.lead()  # or not: another one's lease may not be over
    while (await courier.number()).batches:
        pass
    await courier.close()


@pytest.fixture
def wbs_archive(
    database_url: str,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> WbsArchive:
    """`await wbs_archive(before, code=0)`: the command, after all events got their numbers."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("WBS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("WBS_REVERSIBLE_DAYS", "0")

    async def run(before: datetime, *words: str, code: int = 0) -> Archived:
        await number_all_events(settings)
        folder = tmp_path / f"archive-{before.timestamp()}"
        words = ("--before", before.isoformat(), "--folder", str(folder), "--yes", "--json", *words)
        capsys.readouterr()
        found = await asyncio.to_thread(main, ["archive", "--share", "1", *words])
        said = capsys.readouterr()
        assert found == code, said.err
        return Archived(json.loads(said.out) if code == 0 else {"error": said.err}, folder)

    return run
