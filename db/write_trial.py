"""The write trial, which shows whether a write succeeds now, and health's other queries about outgoing money."""

import asyncio
from datetime import timedelta
from typing import NamedTuple

from db.connections import Reader, transaction
from db.errors import AWAY, BROKEN, LOCKED, SLOW, reason_of
from db.sessions import connect
from db.sql import load
from db.strict import one, require_tag
from runtime.slices import DatabaseSettings

COMMITS_HANG = "database_commits_hang"
"""Only the commit gets no answer, because of a missing or frozen synchronous standby, or a disk."""
TRIAL_S_MAX = 2.0
_STATEMENT_TIMEOUT_S = 4
"""After this time the server ends the statement of a trial that gave up."""

_SQL = load("health")
_LOCK_TABLES = """
lock table stack in access share mode;
lock table withdrawals, wallets, locks, transfers, idempotency_keys, outbox, event_batches in row exclusive mode
"""
"""The locks of every write: they wait while another session locks one of the tables against all writers."""
_LOCK_HISTORY = "lock table withdrawal_history in row exclusive mode"
"""The only table that is not needed for accepting requests, but for payouts and cancelling."""


class WriteTrial(NamedTuple):
    """The result of a trial: `reason` is a token of `db.errors`, or `database_commits_hang`; None after a success."""

    reason: str | None
    detail: str | None = None
    accepts: bool = False
    """True if charges and withdrawals are accepted in spite of the reason, though withdrawals may not proceed."""


async def try_to_write(database: DatabaseSettings) -> WriteTrial:
    """Do the steps of a write in a session of its own, commit them, and return the result within 2 s.

    Each trial opens a new session: an old session may keep working although no new one can be opened, or although the
    server's own libraries were replaced underneath it.
    """
    stage = "connect"
    try:
        async with asyncio.timeout(TRIAL_S_MAX):
            connection = await connect(database)
            try:
                stage = "begin"
                await connection.execute(f"set statement_timeout = '{_STATEMENT_TIMEOUT_S}s'")
                async with transaction(connection):
                    stage = "lock the tables"
                    await connection.execute(_LOCK_TABLES)
                    stage = "write"
                    id_ = one(await connection.fetch(_SQL["try"]))["id"]
                    require_tag(await connection.execute(_SQL["try_move"], id_), "UPDATE 1")
                    require_tag(await connection.execute(_SQL["try_remove"], id_), "DELETE 1")
                    stage = "commit"
                stage = "history"
                async with transaction(connection):
                    await connection.execute(_LOCK_HISTORY)
            finally:
                connection.terminate()
    except Exception as error:  # noqa: BLE001  # whatever it is, a write would have met it too
        reason = reason_of(error)
        if stage == "commit" and reason in (SLOW, AWAY, BROKEN):
            reason = COMMITS_HANG if isinstance(error, TimeoutError) else reason
        # Locked while writing: nobody but trials needs that table.
        accepts = stage == "history" or (stage == "write" and reason == LOCKED)
        words = str(error) or f"no answer within {TRIAL_S_MAX:g} s"
        return WriteTrial(reason, f"{stage}: {words}", accepts=accepts)
    return WriteTrial(None)


async def late_withdrawals(reader: Reader, age: timedelta) -> tuple[str | None, bool]:
    """Return why payouts are paused (None if they are not), and whether a withdrawal has waited longer than `age`.

    A withdrawal that the bank has accepted does not count as waiting, and none does while payouts are paused. Raises
    Unavailable.
    """
    row = one(await reader.fetch(_SQL["late"], age), ("paused_reason",))
    return row["paused_reason"], row["is_late"]
