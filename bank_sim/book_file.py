"""The file that holds the books: SQLite.

One connection writes (in the books' writer thread), another one reads (on the event loop) and sees only what is
committed.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from .book_schema import connect, lock, prepare
from .book_writer import BookWriter, find
from .entries import Answer, DueCallback, Operation, Payout

# Money that left the bank, in the order in which it left: by number, but what was pending by its place.
_LEFT = """
SELECT * FROM (
    SELECT *, seq AS at FROM payouts WHERE seq > ?1 AND place IS NULL AND paid_us IS NOT NULL ORDER BY seq LIMIT ?2
)
UNION ALL
SELECT * FROM (SELECT *, place AS at FROM payouts WHERE place > ?1 ORDER BY place LIMIT ?2)
ORDER BY at LIMIT ?2
"""


class BookFile:
    """The books in a file, begun if there are none. Raises BooksInUse, BooksOfTheFuture, OSError, sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = lock(path.with_name(path.name + ".lock"))
        self._connection = connect(path)
        prepare(self._connection)
        self._connection.execute(
            "INSERT INTO settings VALUES ('books_id', ?) ON CONFLICT DO NOTHING", (secrets.token_hex(4),)
        )
        self._writer = BookWriter(self._connection)
        self._reader = connect(path)
        self._reader.execute("PRAGMA query_only = 1")
        self.books_id = str(self._setting("books_id"))

    def close(self) -> None:
        """Close both connections; the last one folds the WAL into the file."""
        self._reader.close()
        self._connection.close()
        os.close(self._lock)

    # --- writing: in the writer's thread ---

    def write(self, batch: Sequence[Operation]) -> list[Answer]:
        """Book all of them in one commit. After sqlite3.Error nothing is booked, unless the commit itself failed."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            answers = self._writer.write(batch, time.time_ns() // 1000)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._writer.recount()
            raise
        return answers

    # --- reading: on the event loop, some 20 µs each ---

    def find(self, reference: str) -> Payout | None:
        """Return the payout of this reference, whatever became of it; of several, the last."""
        return find(self._reader, reference)

    def place_of(self, seq: int) -> int | None:
        """Return where payout `seq` stands among what left the bank; None if there is no such payout."""
        row = self._reader.execute(
            "SELECT coalesce(place, seq) FROM payouts WHERE seq = ?", (seq,)
        ).fetchone()
        return None if row is None else int(row[0])

    def page(self, after: int, limit: int) -> list[Payout]:
        """Return up to `limit` payouts that left the bank after place `after`, in the order in which they left."""
        return [Payout._make(row[:-1]) for row in self._reader.execute(_LEFT, (after, limit))]

    def next_change_us(self) -> int | None:
        """Return when something becomes of a payout next (µs since 1970), None if nothing will."""
        return self._next("SELECT min(due_us) FROM changes")

    def due_callbacks(self, limit: int) -> list[DueCallback]:
        """Return up to `limit` callbacks that are due now, the longest due first."""
        rows = self._reader.execute(
            "SELECT e.type, e.at_us, e.attempts, p.* FROM events e JOIN payouts p USING (seq)"
            " WHERE e.delivered_us IS NULL AND e.due_us <= ? ORDER BY e.due_us LIMIT ?",
            (time.time_ns() // 1000, limit),
        )
        return [DueCallback(Payout._make(row[3:]), *row[:3]) for row in rows]

    def next_callback_us(self) -> int | None:
        """Return when the next callback is due (µs since 1970), None if none waits."""
        return self._next("SELECT min(due_us) FROM events WHERE delivered_us IS NULL")

    def callbacks_waiting(self) -> int:
        """Return how many events the wallet has not been told of yet."""
        row = self._reader.execute("SELECT count(*) FROM events WHERE delivered_us IS NULL").fetchone()
        return int(row[0])

    def faults_json(self) -> str | None:
        """Return the faults that were saved last, None if none ever were."""
        return self._setting("faults")

    def _next(self, query: str) -> int | None:
        at_us = self._reader.execute(query).fetchone()[0]
        return None if at_us is None else int(at_us)

    def _setting(self, name: str) -> str | None:
        row = self._reader.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])
