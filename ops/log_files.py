"""The log files of a stack: their lines in the order of time, also while they grow and are rotated."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ops.state import StateDir, read_json

TAIL_BYTES = 1_000_000
"""Bytes that are read of each file's end if no time is named."""
LINE_BYTES_MAX = 1_000_000


@dataclass(frozen=True)
class Line:
    """A line of a log. `at` is the time of the line before where it has none of its own."""

    at: datetime
    program: str
    fields: dict[str, Any]

    @property
    def level(self) -> str:
        """debug, info, warning or error."""
        return str(self.fields.get("level", "info"))


class LogFile:
    """The log of one program: up to three files, of which one grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.program = path.name.removesuffix(".log").removesuffix(".trail")
        self._inode = -1
        self._offset = 0
        self._rest = b""
        self._at = datetime.fromtimestamp(0, UTC)

    def since(self, since: datetime | None) -> list[Line]:
        """Return the lines since then, oldest first; without a time those at the end. `more` continues from there."""
        lines: list[Line] = []
        inodes = set()
        for suffix in (".head", ".1"):
            turned = self.path.with_name(self.path.name + suffix)
            if since is not None and turned.exists() and (inode := turned.stat().st_ino) not in inodes:
                inodes.add(inode)
                lines += self._lines(turned.read_bytes())
        lines += self.more(None if since is not None else TAIL_BYTES)
        return lines if since is None else [line for line in lines if line.at >= since]

    def more(self, tail_bytes: int | None = None) -> list[Line]:
        """Return the lines that were added since the last look; with `tail_bytes`, at most so much of them."""
        try:
            with self.path.open("rb") as file:
                inode, size = _identity(file.fileno())
                if inode != self._inode or size < self._offset:  # rotated
                    self._inode, self._offset, self._rest = inode, 0, b""
                if tail_bytes is not None and size - self._offset > tail_bytes:
                    file.seek(size - tail_bytes)
                    file.readline()  # of a line that began before
                else:
                    file.seek(self._offset)
                read = file.read()
                self._offset = file.tell()
        except FileNotFoundError:
            return []
        whole, _, rest = (self._rest + read).rpartition(b"\n")
        self._rest = rest[-LINE_BYTES_MAX:]
        return self._lines(whole)

    def _lines(self, text: bytes) -> list[Line]:
        return [self._line(line) for line in text.decode(errors="replace").splitlines() if line]

    def _line(self, text: str) -> Line:
        fields: dict[str, Any]
        try:
            fields = json.loads(text)
            self._at = datetime.fromisoformat(fields["at"])
        except (ValueError, LookupError, TypeError):
            fields = {"level": _level_of(text), "event": text}
            self._at = _time_of(text) or self._at
        return Line(self._at, self.program, fields)


def files(state: StateDir, kind: str | None) -> list[LogFile]:
    """Return the logs of all programs, or of those of a kind (or of one program, by its name)."""
    kinds = {name: program.get("kind", "") for name, program in read_json(state.programs_file).items()}
    found = [LogFile(path) for path in sorted(state.log.glob("*.log"))]
    return [file for file in found if kind is None or kind in (file.program, kinds.get(file.program))]


def in_order(lines: list[list[Line]]) -> Iterator[Line]:
    """Yield the lines of several logs in the order of time; those of one log stay in theirs."""
    yield from sorted((line for some in lines for line in some), key=lambda line: line.at)


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_ino, status.st_size


def _time_of(text: str) -> datetime | None:
    """Return the time at the beginning of a line of PostgreSQL or RabbitMQ, which log in UTC below `wbs up`."""
    try:
        at = datetime.fromisoformat(text[:23].replace(",", "."))
    except ValueError:
        return None
    return at.replace(tzinfo=UTC)


def _level_of(text: str) -> str:
    """Return the level of a line that is no JSON."""
    for level, words in (
        ("error", ("ERROR:", "FATAL:", "PANIC:", "[error]", "CRIT ")),
        ("warning", ("WARNING:", "[warning]", "WARN ")),
    ):
        if any(word in text for word in words):
            return level
    return "info"
