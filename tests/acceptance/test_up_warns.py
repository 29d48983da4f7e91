"""What `wbs up` refuses of the database, warns of, and says when it is up and not all is well."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.conftest import execute
from tests.ports import free_port
from tests.service import run_wbs

NO_BROKER = {"WBS_BROKER": "memory", "WBS_BANK_FAULTS": "{}"}


def ports() -> dict[str, str]:
    return {"WBS_HTTP_PORT": str(free_port()), "WBS_BANK_PORT": str(free_port())}


async def test_a_database_that_forgets(tmp_path: Path, database_url: str) -> None:
    """Goal: with synchronous_commit off for the database `wbs up` refuses, by name, and leaves nothing running."""
    database = urlsplit(database_url).path[1:]
    await execute(database_url, f"alter database {database} set synchronous_commit = off")
    ran = await asyncio.to_thread(
        run_wbs, tmp_path / "s", "up", "--detach", **NO_BROKER, **ports(), DATABASE_URL=database_url
    )
    assert ran.returncode == 1
    assert "wbs: synchronous_commit is off" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert run_wbs(tmp_path / "s", "ps", "--json").stdout == "[]\n"


def test_ports_that_clash(tmp_path: Path) -> None:
    """Goal: one port for two of ours is refused, with both settings named."""
    port = str(free_port())
    ran = run_wbs(tmp_path / "s", "up", "--detach", **NO_BROKER, WBS_HTTP_PORT=port, WBS_BANK_PORT=port)
    assert ran.returncode == 1
    assert "WBS_HTTP_PORT" in ran.stderr
    assert "WBS_BANK_PORT" in ran.stderr


@pytest.mark.parametrize("paused", [False, True])
async def test_up_but(
    tmp_path: Path, database_url: str, connection: asyncpg.Connection, paused: bool
) -> None:
    """Goal: `--detach` exits 1 and names what is not well, 0 if all is; a variable that nobody reads is warned of."""
    if paused:
        await connection.execute(
            "update stack set paused_at = now(), paused_by = 'operator', paused_reason = 'a drill'"
        )
    given = {**NO_BROKER, **ports(), "DATABASE_URL": database_url, "WBS_RETRY_ROUND": "3"}
    try:
        ran = await asyncio.to_thread(run_wbs, tmp_path / "s", "up", "--detach", **given)
        assert "WBS_RETRY_ROUND is set, and nothing reads it: is WBS_RETRY_ROUNDS meant?" in ran.stderr
        if paused:
            assert ran.returncode == 1, ran.stderr
            assert "Up, but degraded: payouts_paused (a drill)" in ran.stderr
        else:
            assert ran.returncode == 0, ran.stderr
            assert "Up and healthy" in ran.stderr
    finally:
        await asyncio.to_thread(run_wbs, tmp_path / "s", "down")
