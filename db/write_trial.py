"""A trial: does a write go through now? And what else health asks the database about money on its way out."""

import asyncio
from datetime import timedelta
from typing import NamedTuple

from db.connections import Reader, transaction
from db.errors import AWAY, BROKEN, SLOW, reason_of
from db.sessions import connect
from db.sql import load
from db.strict import one, require_tag
from runtime.slices import DatabaseSettings

COMMITS_HANG = "database_commits_hang"
"""Everything but the commit is answered: a synchronous standby that is gone or frozen, or a disk."""
TRIAL_S_MAX = 2.0
_STATEMENT_TIMEOUT_S = 4
"""What a trial leaves behind when it gives up ends by itself after so long."""

_SQL = load("health")
_LOCK_TABLES = """
lock table stack, withdrawals, wallets, locks, transfers, idempotency_keys, outbox
in row exclusive mode
"""
"""As every write does: waits while somebody keeps one of them from all who write."""
_LOCK_HISTORY = "lock table withdrawal_history in row exclusive mode"
"""The only one that accepting does not need: payouts and cancelling do."""


class WriteTrial(NamedTuple):
    """How a trial ended: `reason` is a token of `db.errors`, or `database_commits_hang`; None if it went through."""

    reason: str | None
    detail: str | None = None
    accepts: bool = False
    """Though there is a reason, charges and withdrawals are accepted; withdrawals can't go on."""


async def try_to_write(database: DatabaseSettings) -> WriteTrial:
    """Do in a session of its own what a write needs, commit it, and tell within 2 s how that went.

    A new session each time: one that is open already may go on while no other can be opened, or while the server's
    own libraries were replaced below it.
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
    except Exception as error:  # noqa: BLE001  # whatever it is: a write would have met it too
        reason = reason_of(error)
        if stage == "commit" and reason in (SLOW, AWAY, BROKEN):
            reason = COMMITS_HANG if isinstance(error, TimeoutError) else reason
        words = str(error) or f"no answer within {TRIAL_S_MAX:g} s"
        return WriteTrial(reason, f"{stage}: {words}", accepts=stage == "history")
    return WriteTrial(None)


async def late_withdrawals(reader: Reader, age: timedelta) -> tuple[str | None, bool]:
    """Return why payouts are paused (None if they are not), and whether a withdrawal waits for longer than `age`.

    What the bank has accepted does not count as waiting, and nothing does while payouts are paused. Raises
    Unavailable.
    """
    row = one(await reader.fetch(_SQL["late"], age), ("paused_reason",))
    return row["paused_reason"], row["is_late"]
