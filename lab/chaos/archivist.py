"""Archives what is old and closed, as an operator does, while everything runs; some of its runs are killed.

It names an instant that the consumers who ask have come past (for webhooks `wbs archive` itself waits), and before
which no request was sent whose outcome is unknown: a key of something archived does not tell any more what it was. A
run that was killed, or that met a database that was away, is begun again with the same instant, until it has ended. In
the end it tells the history what is in the files.

Clocks that step back spoil archives (docs/adr/0031-archives.md), so its instants are later than the last such fault.
"""

import asyncio
import csv
import gzip
import json
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from lab.chaos.client import RecordingClient
from lab.chaos.consumers import Consumers
from lab.chaos.history import Archived, HistoryWriter, InjectedFault
from lab.own_stack import ENVIRONMENT

_PAUSE_S = (1.0, 4.0)
_LATE_S = 8.0
"""What is committed so late after its own instant, or numbered, has been so by then."""
_CAUGHT_UP_S = 20.0
_KILLED_AFTER_S = (0.3, 1.5)
_KILLED_SHARE = 0.6
_ENDED_WITHIN_S = 60.0
_SLACK_S = 0.1
_APART_S = 1.0
_EARLY_S = 1.0
_TRIED_S = 15.0
_ENDED_S_MAX = 600.0
"""After a long run the receiver of webhooks is behind by minutes, and `wbs archive` waits for it."""
_AGAIN_S = 1.0
_AT_ONCE = 8


class Archivist:
    """Makes archives of a stack's database in a folder."""

    def __init__(
        self,
        seed: int,
        state: Path,
        folder: Path,
        told: Consumers,
        client: RecordingClient,
        history: HistoryWriter,
    ) -> None:
        """`state` is the stack's folder."""
        self._random = Random(f"archives:{seed}")
        self._environment = os.environ | ENVIRONMENT | {"WBS_STATE_DIR": str(state)}
        self._folder = folder
        self._told = told
        self._client = client
        self._history = history
        self._zero = time.time() - history.now()
        self._underway: float | None = None
        """The instant of an archive that has perhaps begun, in seconds since 1970."""
        self._last = 0.0
        self._even_from = 0.0
        """The instant from which on no clock steps back."""
        self._begun: dict[float, float] = {}
        """By its instant, when each archive may have begun, in seconds of the run."""
        self.done: Counter[tuple[str, str]] = Counter()
        """Runs of `wbs archive`, by how they ended."""

    async def run(self, begin_s: float, seconds: float) -> None:
        """Archive again and again, from a second of the load on, until it has lasted for so long."""
        until = self._history.now() + seconds
        self._even_from = time.time() + begin_s if begin_s else 0.0
        await asyncio.sleep(min(begin_s, seconds))
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - self._history.now())):
                while True:
                    await self._archive(time.time(), self._random.random() < _KILLED_SHARE)
                    await asyncio.sleep(self._random.uniform(*_PAUSE_S))

    async def finish(self, load_ended: float) -> str:
        """End what was begun, now that nothing is in the way; return what did not work, or an empty text.

        If nothing was archived yet, try to archive what is older than `load_ended`, in seconds of the run.
        """
        began = time.monotonic()
        dies, said = self._random.random() < _KILLED_SHARE, ""
        while self._underway is not None or not self._last:
            late_s = time.monotonic() - began
            if late_s > (_TRIED_S if self._underway is None else _ENDED_S_MAX):
                return "" if self._underway is None else said
            said = await self._archive(self._zero + load_ended, dies)
            dies = False
            await asyncio.sleep(_AGAIN_S if said else 0)
        return ""

    @property
    def instants(self) -> list[str]:
        """An instant at which no wallet's books may be whole any more, and one from which on all are."""
        ended = self._ended()
        return [_stamp(min(ended) - _EARLY_S), _stamp(max(ended))] if ended else []

    def tell(self) -> None:
        """Write into the history what the archives hold."""
        for before in self._ended():
            since = self._begun[before]
            folder = self._folder_of(before)
            holds = {row["id"]: row for row in _rows(folder, "holds")}
            for row in _rows(folder, "transfers"):
                id, hold = row["id"], holds.get(row["id"], {})
                self._history.write(
                    Archived(
                        id,
                        row["kind"] if row["reference"] == id or row["kind"] != "send" else "",
                        f"{row['user_id']} {row['currency']}",
                        since,
                        before - self._zero,
                        hold.get("status", ""),
                        int(hold.get("captured", 0)),
                    )
                )

    async def _archive(self, latest: float, dies: bool) -> str:
        """Run `wbs archive` once; return why it has not ended."""
        if self._underway is None:
            self._underway = await self._instant(latest)
        if self._underway is None:
            return "no instant that everybody has come past"
        before, start = self._underway, self._history.now()
        self._begun.setdefault(before, start)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ops.cli", "archive", "--share", "1", "--yes", "--json"),
            *("--before", _stamp(before)),
            *("--folder", str(self._folder_of(before))),
            env=self._environment,
            stdout=PIPE,
            stderr=PIPE,
        )
        said, how = b"", "killed"
        try:
            async with asyncio.timeout(self._random.uniform(*_KILLED_AFTER_S) if dies else _ENDED_WITHIN_S):
                out, err = await process.communicate()
            said, how = (out, "ended") if process.returncode == 0 else (err, "refused")
        except TimeoutError:
            pass
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            self.done["archive", how] += 1
            text = said.decode("utf-8", "replace").strip()
            self._history.write(InjectedFault("archive", how, start, self._history.now(), text[-300:]))
        if how != "ended":
            return f"{how}: {text}"
        self._underway, self._last = None, before
        return ""

    async def _instant(self, latest: float) -> float | None:
        """Return an instant that everybody has come past, `latest` at the latest; None if there is none now."""
        await asyncio.sleep(max(0.0, latest + _LATE_S - time.time()))
        unclear = self._client.unclear
        again = iter(unclear.to_send_again())

        async def send() -> None:
            for request in again:
                await self._client.send(request)

        await asyncio.gather(*(send() for _ in range(_AT_ONCE)))
        before = min(latest, unclear.since() - _SLACK_S)
        await self._told.ask_again(self._client)
        call = await self._client.read("events", "/events?limit=1", cell="")
        if before < max(self._last + _APART_S, self._even_from) or call.status != 200:
            return None
        try:
            async with asyncio.timeout(_CAUGHT_UP_S):
                await self._told.read_to(json.loads(call.answer)["last_seq"])
        except TimeoutError:
            return None
        return before

    def _ended(self) -> list[float]:
        return [before for before in self._begun if before <= self._last]

    def _folder_of(self, before: float) -> Path:
        return self._folder / f"{before:.6f}"


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _rows(folder: Path, table: str) -> list[dict[str, str]]:
    """Return the rows of a table's file in an archive that has ended."""
    path = folder / f"{table}.csv.gz"
    if not path.exists():
        return []
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
