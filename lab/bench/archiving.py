"""What charges notice of an archive: half of a long history leaves the books while they are measured."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lab.bench import database, load
from lab.bench.events import Runner
from lab.bench.load import InvalidRun, Sample
from lab.bench.stage import Stage
from ops.local.progress import Progress

_AFTER_FILLING_S = 6.0
_ALL_S_MAX = 3600.0


class Archiving:
    """The scenario of the group `archive`."""

    def __init__(self, stage: Stage, runner: Runner, progress: Progress, transfers: int) -> None:
        self._stage = stage
        self._runner = runner
        self._progress = progress
        self._transfers = transfers

    def run(self, rounds: int) -> None:
        """Fill, archive half of it while charges are measured, in turn with charges alone; then the rest."""
        self._fill(self._transfers // 2)
        before = asyncio.run(database.clock(self._stage.database_url)).isoformat()
        self._fill(self._transfers)
        load.wrk(self._stage.api, "charge", _AFTER_FILLING_S)
        self._stage.wait_numbered()
        with self._archiving(before) as pid:
            for number in range(rounds):
                for at_work in (True, False) if number % 2 else (False, True):
                    os.kill(pid, signal.SIGCONT if at_work else signal.SIGSTOP)
                    self._runner.wrk("charges_archiving" if at_work else "charges_not_archiving", "charge")
        self._progress.say("Archiving the rest")
        began = time.monotonic()
        done = subprocess.run(
            self._command(before, "1"),
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=_ALL_S_MAX,
        )
        if done.returncode:
            raise InvalidRun(f"wbs archive: {done.stderr}")
        seconds = time.monotonic() - began
        rows = asyncio.run(database.archived(self._stage.database_url))
        self._runner.keep(
            "archived", Sample(rows / seconds, detail={"movements": rows, "seconds": round(seconds)})
        )

    @contextmanager
    def _archiving(self, before: str) -> Iterator[int]:
        """Run `wbs archive` for the block, at its usual pace; it is stopped then, wherever it is. Yields its pid."""
        process = subprocess.Popen(self._command(before), env=self._environment(), stdout=subprocess.DEVNULL)

        def at_work() -> bool:
            if process.poll() is not None:
                raise InvalidRun("wbs archive ended too soon to be measured")
            return asyncio.run(database.archived(self._stage.database_url)) > 0

        try:
            self._stage.wait(at_work, "the books to be audited and the archive to begin", _ALL_S_MAX)
            yield process.pid
            at_work()
        finally:
            process.kill()
            process.wait(30)

    def _command(self, before: str, *share: str) -> list[str]:
        words = ["archive", "--before", before, "--yes", "--json", *(("--share", *share) if share else ())]
        return [sys.executable, "-P", "-c", "import sys; from ops.cli import main; sys.exit(main())", *words]

    def _environment(self) -> dict[str, str]:
        return os.environ | {"WBS_STATE_DIR": str(self._stage.stack.state.root), "WBS_REVERSIBLE_DAYS": "0"}

    def _fill(self, transfers: int) -> None:
        database.fill(self._stage.database_url, transfers, load.HOT_USER, self._progress.say)
