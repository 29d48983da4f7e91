"""Archives of what is old and closed: it leaves the books for files, and the books still add up.

Movements go in small transactions, each with all that refers to them (docs/adr/0031-archives.md). A file's new end is
on disk before the transaction that removes its rows commits; the length that counts is written in that transaction, so
after a crash a longer file is cut, and the next run goes on.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from db.sql import load
from db.strict import at_most_one, one, require, require_tag
from wallet.ids import first_id_of

_SQL = load("archive")

CHUNK = 1_000
"""Origins looked at per transaction: each holds reversals up for some tens of milliseconds."""

EVENTS_CHUNK = 2_000
"""Rows of events per transaction; each can have the events of some hundred movements."""

PASSES = ("movements", "holds", "withdrawals", "adjustments")

_COPIED = (
    "transfers",
    "transfer_legs",
    "holds",
    "reversals",
    "reversal_legs",
    "charge_reversals",
    "withdrawals",
    "withdrawal_history",
    "withdrawal_attempts",
)
_REMOVED = (
    "remove_reversal_legs",
    "remove_reversals",
    "remove_charge_reversals",
    "remove_transfer_legs",
    "remove_holds",
    "remove_withdrawal_attempts",
    "remove_withdrawal_history",
    "mark_withdrawals",
)
"""In this order: what a row is found by goes later than the row. The movements themselves are last."""

SESSION = {"enable_seqscan": "off", "enable_mergejoin": "off", "jit": "off"}
"""Settings of an archive's session: each row is looked up by an index, however many there are."""


class Files(Protocol):
    """Where archived rows go, a file per table."""

    def has(self, table: str) -> bool:
        """Return whether the table's file was begun: then what is added has no line of column names."""

    def add(self, table: str, rows: bytes) -> int:
        """Add rows, as CSV; return the length of the file, once it is on disk."""


class Archive(NamedTuple):
    """A run of `wbs archive`."""

    id: int
    before: datetime
    boundary: UUID
    folder: str

    @property
    def is_trial(self) -> bool:
        """Whether it is only counted."""
        return self.id == 0


class Waiting(NamedTuple):
    """Events of before an archive's instant that somebody still waits for."""

    unnumbered: int
    waiting_for: int | None
    """Number of the first one that a webhook waits for."""


async def take_turn(connection: Any) -> bool:
    """Take the turn of this database's archives for the session; return whether it was free."""
    return bool(await connection.fetchval(_SQL["take_turn"]))


async def unfinished(connection: Any) -> Archive | None:
    """Return the archive that was begun and has not ended."""
    row = at_most_one(await connection.fetch(_SQL["find_unfinished"]))
    return None if row is None else Archive(*row)


async def folder_of(connection: Any, before: datetime) -> str | None:
    """Return the folder of the archive of before this instant; None if there is none that has ended."""
    folder: str | None = await connection.fetchval(_SQL["find_ended"], before)
    return folder


async def last_before(connection: Any) -> datetime | None:
    """Return the instant of the latest archive."""
    before: datetime | None = await connection.fetchval(_SQL["last"])
    return before


async def proved(connection: Any, instant: datetime) -> bool:
    """Return whether the books of before that instant were found right since."""
    return bool(await connection.fetchval(_SQL["proved"], instant))


async def now(connection: Any) -> datetime:
    """Return the database's present."""
    instant: datetime = await connection.fetchval(_SQL["clock"])
    return instant


async def waiting_events(connection: Any, before: datetime) -> Waiting:
    """Return what keeps events of before this instant from going."""
    return Waiting(*one(await connection.fetch(_SQL["waiting_events"], before), ("waiting_for",)))


async def present(connection: Any) -> str:
    """Return a mark of the present for `ended`."""
    mark: str = await connection.fetchval(_SQL["present"])
    return mark


async def ended(connection: Any, mark: str) -> bool:
    """Return whether all transactions that were at work at that mark have ended: what they wrote can be seen."""
    return bool(await connection.fetchval(_SQL["ended"], mark))


def trial(before: datetime) -> Archive:
    """Return an archive that is only counted."""
    return Archive(0, before, first_id_of(before), "")


async def begin(connection: Any, before: datetime, folder: str, by: str) -> Archive:
    """Begin an archive: from now on, and until `finish`, its rows may be deleted."""
    boundary = first_id_of(before)
    row = one(await connection.fetch(_SQL["begin"], before, boundary, folder, by))
    return Archive(row["id"], before, boundary, folder)


async def allow_deletes(connection: Any) -> None:
    """Grant us, the owner, the right that nobody has at other times."""
    await connection.execute(_SQL["allow_deletes"])


async def lengths(connection: Any, archive: Archive) -> dict[str, int]:
    """Return how long each file is by what was committed, in bytes."""
    return {row["name"]: row["bytes"] for row in await connection.fetch(_SQL["files"], archive.id)}


async def create_lists(connection: Any, archive: Archive) -> None:
    """Prepare the session: lists of what goes, and of what must stay."""
    for name in ("create_origins", "create_rows", "create_staying"):
        await connection.execute(_SQL[name])
    await connection.execute(_SQL["note_newest"], archive.boundary)
    await connection.execute(_SQL["note_told"], archive.before, archive.boundary, archive.is_trial)


async def count_events(connection: Any, archive: Archive) -> int:
    """Return how many rows of events would go."""
    number: int = await connection.fetchval(_SQL["count_events"], archive.before)
    return number


async def archive_chunk(
    connection: Any, archive: Archive, what: str, after: UUID, files: Files | None, counts: Counter[str]
) -> UUID | None:
    """Move what may go of the next origins into the files, and count it, by kind of origin; without files, only count.

    Return the last origin looked at, None if there is none. If a file can't be written, nothing has gone.
    """
    async with connection.transaction():
        if files is not None:
            await connection.execute(_SQL["guard"])
        last = await _choose(connection, archive, what, after)
        for kind, number in await connection.fetch(_SQL["counts"]):
            counts[kind] += number
        rows = await connection.fetchval(_SQL["rows"])
        counts["movements"] += rows
        if rows and files is not None:
            await _move(connection, archive, files, rows)
    return last


async def _move(connection: Any, archive: Archive, files: Files, rows: int) -> None:
    """Move what is listed into the files: this number of movements, with what belongs to them."""
    for table in _COPIED:
        copied = await _copy(connection, archive, table, files)
        require(table != "transfers" or copied == rows, "movements that are listed twice, or not there")
    for removal in _REMOVED:
        await connection.execute(_SQL[removal])
    require_tag(await connection.execute(_SQL["remove_transfers"]), f"DELETE {rows}")


async def archive_events(connection: Any, archive: Archive, files: Files, counts: Counter[str]) -> bool:
    """Move the oldest events into their file; return whether there were any of before the archive's instant."""
    async with connection.transaction():
        copied = await _copy(connection, archive, "events", files, archive.before, EVENTS_CHUNK)
        tag = await connection.execute(_SQL["remove_events"], archive.before, EVENTS_CHUNK)
        require_tag(tag, f"DELETE {copied}")
        counts["events"] += copied
    return copied > 0


async def seal(connection: Any, archive: Archive, checksums: Mapping[str, str]) -> list[dict[str, Any]]:
    """Note the SHA-256 sums of the files; return the files, as the manifest tells them."""
    for name, checksum in checksums.items():
        require_tag(await connection.execute(_SQL["seal_file"], archive.id, name, checksum), "UPDATE 1")
    return [dict(row) for row in await connection.fetch(_SQL["files"], archive.id)]


async def finish(connection: Any, archive: Archive) -> None:
    """End an archive: nothing may be deleted any more."""
    async with connection.transaction():
        require_tag(await connection.execute(_SQL["finish"], archive.id), "UPDATE 1")
        await connection.execute(_SQL["refuse_deletes"])


async def _choose(connection: Any, archive: Archive, what: str, after: UUID) -> UUID | None:
    """List the next origins and what belongs to them, without what must stay; return the last one looked at."""
    more = (archive.before,) if what == "withdrawals" else ()
    last: UUID | None = await connection.fetchval(_SQL[f"find_{what}"], after, archive.boundary, CHUNK, *more)
    if last is not None:
        await connection.execute(_SQL["gather"])
        await connection.execute(_SQL["keep"], archive.boundary)
    return last


async def _copy(connection: Any, archive: Archive, table: str, files: Files, *arguments: object) -> int:
    """Add rows to the table's file, and note its length; return how many there were."""
    pieces: list[bytes] = []

    async def output(data: bytes) -> None:
        pieces.append(data)

    tag = await connection.copy_from_query(
        _SQL[f"copy_{table}"], *arguments, output=output, format="csv", header=not files.has(table)
    )
    rows = int(tag.removeprefix("COPY "))
    if rows:
        length = files.add(table, b"".join(pieces))
        await connection.execute(_SQL["note_file"], archive.id, table, rows, length)
    return rows
