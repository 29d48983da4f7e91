"""Invariants 1 to 4 and 6 to 8: our own ledger, in one snapshot. Most checks are queries that return violations."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from db.audit.findings import Findings, Progress
from db.audit.keys import KeyJudge
from db.audit.stream import PREFETCH, stream
from db.audit.withdrawals import WithdrawalJudge
from db.sql import load
from db.watch import watched_session

_SQL = load("audit")
_TRANSFERS = load("audit_transfers")
_EVENTS = load("audit_events")

DUE_WITHIN = timedelta(minutes=75)
"""Time within which an open withdrawal is taken up again: the longest interval between look-ups, and a margin."""

_CHECKS = ("transfers", "adjustments", "wallets", "locks", "releases", "outbox", "doubled")
"""Blocks of audit.sql that return violations. So do all of audit_transfers.sql and audit_events.sql."""


@asynccontextmanager
async def auditor(database_url: str) -> AsyncIterator[Any]:
    """Open a connection for an audit.

    Raises OSError or asyncpg.PostgresError if there is no database, TimeoutError if it stops answering within the
    block.
    """
    settings = {
        "application_name": "wbs audit",
        "timezone": "UTC",
        "work_mem": "64MB",
        "jit": "off",
    }
    async with watched_session(database_url, settings) as connection:
        yield connection


async def audit_books(
    connection: Any, findings: Findings, progress: Progress, due_within: timedelta = DUE_WITHIN
) -> None:
    """Check invariants 1 to 4 and 6 to 8, in one snapshot.

    By the settings, no open withdrawal may wait for longer than `due_within` until it is taken up.
    """
    async with connection.transaction(isolation="repeatable_read"):
        sizes = {row["name"]: row["rows"] for row in await connection.fetch(_SQL["sizes"])}
        for name, number in (await connection.fetchrow(_SQL["counts"])).items():
            findings.count(name, number)
        for check, query in [
            *((check, _SQL[check]) for check in _CHECKS),
            *_TRANSFERS.items(),
            *_EVENTS.items(),
        ]:
            progress(check.replace("_", " "))
            await _run(connection, findings, query)
        await _run(connection, findings, _SQL["look_ups"], due_within)
        now = await connection.fetchval(_SQL["clock"])
        withdrawals = WithdrawalJudge(findings, now, due_within)
        about = sizes.get("withdrawals", 0)
        async for number, row in stream(connection, _SQL["withdrawals"]):
            withdrawals.judge(row)
            if number % PREFETCH == 0:
                progress(f"withdrawals: {number:,} of about {max(about, number):,}")
        keys = KeyJudge(findings)
        about = sizes.get("idempotency_keys", 0)
        async for number, row in stream(connection, _SQL["keys"]):
            keys.judge(row)
            if number % PREFETCH == 0:
                progress(f"idempotency keys: {number:,} of about {max(about, number):,}")
        keys.end(await connection.fetchval(_SQL["archived_keys"]))


async def _run(connection: Any, findings: Findings, query: str, *arguments: object) -> None:
    async for _, row in stream(connection, query, *arguments):
        invariant, kind, subject, expected, found, amount, currency = row
        findings.add(invariant, kind, subject, expected, found, amount=amount, currency=currency)
