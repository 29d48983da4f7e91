"""Commands where the synchronous standby is gone: they end and say so. On a server of this module's own."""

from collections.abc import Iterator

import asyncpg
import pytest

import db.watch
from db.migrate import migrate
from ops.errors import ServerAway
from ops.local.provision import private_servers
from ops.migration import migrate as migrate_command
from tests.conftest import execute, with_database
from tests.polling import poll_until


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that others do not use."""
    folder = tmp_path_factory.mktemp("standby")
    with private_servers(folder, rabbitmq=False, env={"DATABASE_URL": ""}, delete=True) as servers:
        yield servers.database_url


async def test_a_migration_does_not_wait_for_ever(server_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: it ends with a sentence that names the standby, leaves no lock, and goes on once the standby is back."""
    monkeypatch.setattr(db.watch, "INTERVAL_S", 0.1)
    monkeypatch.setattr(db.watch, "SILENT_S_MAX", 1.0)
    await execute(server_url, "create database without_standby")
    url = with_database(server_url, "without_standby")
    operator = await asyncpg.connect(server_url, timeout=10, server_settings={"synchronous_commit": "local"})
    try:
        await operator.execute("alter system set synchronous_standby_names = 'nobody'")
        await operator.execute("select pg_reload_conf()")

        async def is_waited_for() -> bool:
            names: str = await operator.fetchval("select current_setting('synchronous_standby_names')")
            return names == "nobody"

        await poll_until(is_waited_for)
        with pytest.raises(ServerAway, match="synchronous_standby_names"):
            migrate_command(url)

        async def is_gone() -> bool:
            left: int = await operator.fetchval(
                "select count(*) from pg_stat_activity where datname = 'without_standby'"
            )
            return left == 0

        await poll_until(is_gone, what="the session that waited is gone")
    finally:
        await operator.execute("alter system reset synchronous_standby_names")
        await operator.execute("select pg_reload_conf()")
        await operator.close(timeout=10)
    await migrate(url)
    migrated = await asyncpg.connect(url, timeout=10)
    assert await migrated.fetchval("select count(*) from stack") == 1
    await migrated.close(timeout=10)
