"""The tables of the books, how an older file becomes one of today, and who may have it open.

WAL with synchronous=FULL: when a commit returns, its whole batch is on disk, or none of it is.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from pathlib import Path

LOCK_WAIT_S = 5.0  # how long a predecessor may take to end
VERSION = 1  # PRAGMA user_version; books of version 0 are from before payouts could be pending

_PAYOUTS = """
CREATE TABLE IF NOT EXISTS payouts (
    seq             INTEGER PRIMARY KEY,
    reference       TEXT NOT NULL,
    idempotency_key TEXT,
    amount          INTEGER NOT NULL CHECK (amount > 0),
    currency        TEXT NOT NULL,
    destination     TEXT,
    status          TEXT NOT NULL CHECK (status IN ('pending', 'paid', 'returned', 'declined')),
    decline_code    TEXT,
    created_us      INTEGER NOT NULL,
    returned_us     INTEGER,
    place           INTEGER,
    paid_us         INTEGER,
    returned_amount INTEGER CHECK (returned_amount BETWEEN 1 AND amount),
    CHECK ((status = 'declined') = (decline_code IS NOT NULL)),
    CHECK ((status = 'returned') = (returned_us IS NOT NULL)),
    CHECK ((status = 'returned') = (returned_amount IS NOT NULL)),
    CHECK (status <> 'pending' OR paid_us IS NULL),
    CHECK (status NOT IN ('paid', 'returned') OR paid_us IS NOT NULL)
) STRICT;
"""

_REST = """
CREATE INDEX IF NOT EXISTS payouts_by_reference ON payouts (reference);
CREATE INDEX IF NOT EXISTS payouts_by_key ON payouts (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS payouts_by_place ON payouts (place) WHERE place IS NOT NULL;
CREATE TABLE IF NOT EXISTS changes (
    id     INTEGER PRIMARY KEY,
    seq    INTEGER NOT NULL REFERENCES payouts (seq),
    due_us INTEGER NOT NULL,
    status TEXT NOT NULL,
    code   TEXT,
    amount INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS changes_due ON changes (due_us);
CREATE TABLE IF NOT EXISTS events (
    seq          INTEGER NOT NULL REFERENCES payouts (seq),
    type         TEXT NOT NULL,
    at_us        INTEGER NOT NULL,
    attempts     INTEGER NOT NULL,
    due_us       INTEGER NOT NULL,
    copies       INTEGER NOT NULL,
    delivered_us INTEGER,
    PRIMARY KEY (seq, type)
) STRICT;
CREATE INDEX IF NOT EXISTS events_due ON events (due_us) WHERE delivered_us IS NULL;
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""

# In version 0 a reference stood for one payout, and only returns were told.
_BEFORE = """
ALTER TABLE payouts RENAME TO payouts_before;
DROP INDEX payouts_by_key;
"""
_AFTER = """
INSERT INTO payouts
SELECT seq, reference, idempotency_key, amount, currency, destination, status, decline_code, created_us, returned_us,
    NULL, iif(status = 'declined', NULL, created_us), iif(status = 'returned', amount, NULL)
FROM payouts_before;
INSERT INTO events
SELECT seq, 'payout.returned', p.returned_us, c.attempts, c.due_us, 1, c.delivered_us
FROM callbacks AS c JOIN payouts AS p USING (seq);
DROP TABLE callbacks;
DROP TABLE payouts_before;
"""


class BooksInUse(Exception):
    """Another bank has this file open."""


class BooksOfTheFuture(Exception):
    """The file was written by a later version."""


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables, or turn those of an older file into today's, whole or not at all. Raises BooksOfTheFuture."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise BooksOfTheFuture(f"the books are of version {version}, this bank knows {VERSION}")
    is_older = (
        version < VERSION
        and connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'callbacks'").fetchone()
    )
    script = _BEFORE + _PAYOUTS + _REST + _AFTER if is_older else _PAYOUTS + _REST
    connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {VERSION}; COMMIT;")


def connect(path: Path) -> sqlite3.Connection:
    """Open the file. A connection is used by one thread at a time, but not always by the one that opened it."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")  # pages, 16 MB: few checkpoints
    connection.execute("PRAGMA journal_size_limit = 33554432")
    connection.execute("PRAGMA cache_size = -16384")  # KiB
    return connection


def lock(path: Path) -> int:
    """Hold the books for this process alone: a second bank would number payouts on its own. Raises BooksInUse."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise BooksInUse(f"another bank has the books open ({path.name} is locked)") from error
            time.sleep(0.1)
