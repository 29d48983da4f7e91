"""Keeps the beginning of a trouble: supervisord turns logs over, and drops what is older than two files.

A log that fills its file within an hour of the time before is in trouble, and what began it is in the first of the
files that it filled. That file is kept as `NAME.log.head` (a hard link, which costs nothing), until the next trouble.
So a program has three files at most, however long it complains.
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

TROUBLE_S = 3600.0
"""A log that is turned over again within this time is still in the same trouble."""


class LogHeads:
    """Looks at the logs in a folder. Several may look at the same one: they do the same."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._turned: dict[Path, tuple[int, float]] = {}
        """The last file that each log has filled: its inode, and when that was seen."""

    def look(self) -> None:
        """Keep the files that begin a trouble. Call it often enough to see each file that is filled."""
        for filled in self._folder.glob("*.log.1"):
            if not filled.name.endswith(".trail.log.1"):
                with contextlib.suppress(OSError):  # it is being turned over: the next look will do
                    self._see(filled)

    def _see(self, filled: Path) -> None:
        inode = filled.stat().st_ino
        known = self._turned.get(filled)
        if known is not None and known[0] == inode:
            return
        now = self._clock()
        head = filled.with_suffix(".head")
        if known is None:  # this watcher has just begun: a head that is there stays
            new = not head.exists()
        else:
            new = now - known[1] > TROUBLE_S
        self._turned[filled] = (inode, now)
        if new:
            link = filled.with_name(f"{head.name}.{os.getpid()}")
            link.unlink(missing_ok=True)
            os.link(filled, link)
            link.replace(head)
            link.unlink(missing_ok=True)  # replacing a link to the same file does nothing at all (POSIX)
