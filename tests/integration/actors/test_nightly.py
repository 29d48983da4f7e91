"""The nightly audit: once a night, by one of several, in a process of its own that ends in time."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta

import asyncpg
import pytest

from actors.nightly import AGAIN_AFTER, NightlyAudit, last_instant
from db.vitals import VitalsSession
from runtime.audit_times import audit_time
from runtime.settings import Settings, SettingsError

TOMORROW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) + timedelta(days=1)
AT = time(3)
DUE_AT = TOMORROW.replace(hour=3)


def printing(report: dict[str, object]) -> tuple[str, str]:
    """Return the command of an audit that finds this."""
    return "-c", f"print({json.dumps(json.dumps(report))})"


FOUND_TWO = printing({"ok": False, "violations_total": 2, "summary": "2 × doubled: 5.00 USD"})


@pytest.fixture
def night(settings: Settings) -> Callable[..., NightlyAudit]:
    """`night(command, within_s=…)`: the audit of a reconciler, tomorrow at noon."""

    def make(command: tuple[str, ...] = FOUND_TWO, *, at: time = AT, within_s: float = 60) -> NightlyAudit:
        return NightlyAudit(settings.database, at, command=command, now=lambda: TOMORROW, within_s=within_s)

    return make


async def recorded(connection: asyncpg.Connection) -> list[tuple[datetime, int | None, str | None]]:
    """Return the audits that were begun: when due, the violations, the detail."""
    rows = await connection.fetch(
        "select due_at, violations, detail from audit_runs order by due_at offset 1"
    )
    return [tuple(row) for row in rows]


async def test_one_of_several_audits_once(
    night: Callable[..., NightlyAudit], connection: asyncpg.Connection, settings: Settings
) -> None:
    """Goal: however many reconcilers look, and however often, a night has one audit, and Prometheus hears of it."""
    session = VitalsSession(settings.database)
    before = await session.last_audit()
    assert before.violations == 0
    await asyncio.gather(*(night().look() for _ in range(3)))
    await night().look()
    assert await recorded(connection) == [(DUE_AT, 2, "2 × doubled: 5.00 USD")]
    last = await session.last_audit()
    session.terminate()
    assert last.violations == 2
    assert last.ended_at > before.ended_at
    assert last.seconds > 0


async def test_no_audit_is_due_before_the_first_night(
    night: Callable[..., NightlyAudit], settings: Settings, connection: asyncpg.Connection
) -> None:
    """Goal: a stack that starts in the afternoon does not make up for a night in which it was not there."""
    now = datetime.now(UTC)
    await NightlyAudit(
        settings.database, now.time(), command=FOUND_TWO, now=lambda: now - timedelta(days=1)
    ).look()
    assert await recorded(connection) == []


@pytest.mark.parametrize(
    ("command", "detail"),
    [
        (printing({"ok": None, "error": "the bank is away"}), "the bank is away"),
        (("-c", "raise SystemExit(7)"), "exit code 7"),
        (("-c", "print('{}')"), "exit code 0"),
        (("-c", "input = __import__('time').sleep(600)"), "not done after 1 s"),
    ],
)
async def test_an_audit_that_was_not_done_is_tried_again(
    command: tuple[str, ...], detail: str, night: Callable[..., NightlyAudit], connection: asyncpg.Connection
) -> None:
    """Goal: an audit that fails, dies or takes too long is none, and is tried again after an hour, not at once."""
    await night(command, within_s=1 if "sleep" in command[1] else 60).look()
    [(_, violations, told)] = await recorded(connection)
    assert violations is None
    assert detail in str(told)
    await night().look()
    assert (await recorded(connection))[0][1] is None
    await connection.execute("update audit_runs set started_at = started_at - $1::interval", AGAIN_AFTER)
    await night().look()
    assert (await recorded(connection))[0][1] == 2


async def test_the_real_audit(
    settings: Settings, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: the child process audits the books that the settings name; a bank that is away makes it impossible."""
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    monkeypatch.setenv("WBS_BANK_URL", "http://127.0.0.1:1")
    await NightlyAudit(settings.database, AT, now=lambda: TOMORROW).look()
    [(_, violations, told)] = await recorded(connection)
    assert violations is None
    assert "the bank's books can't be read" in str(told)


def test_the_time_of_the_audit() -> None:
    """Goal: the last instant at this time of day, in UTC; and what is no time is refused by the setting's name."""
    now = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)
    assert last_instant(time(3), now) == now
    assert last_instant(time(3, 0, 1), now) == datetime(2026, 11, 27, 3, 0, 1, tzinfo=UTC)
    assert audit_time("never") is None
    assert audit_time("23:59") == time(23, 59)
    for wrong in ("noon", "25:00", "03:00+01:00", "-1"):
        with pytest.raises(SettingsError, match="WBS_AUDIT_AT"):
            Settings.from_env({"WBS_AUDIT_AT": wrong})
