"""`wbs backup` and `wbs restore` of what DATABASE_URL names: nothing is overwritten, a new history begins."""

import json
from pathlib import Path

from db import stack
from db.connections import connect
from db.ledger import Ledger
from runtime.settings import Settings
from tests.integration.ops.wbs import is_one_sentence, run_wbs
from wallet.commands import Charge


async def test_a_dump_is_restored_into_an_empty_database(
    tmp_path: Path, database_url: str, empty_database_url: str, ledger: Ledger
) -> None:
    """Goal: what was there is there again, payouts are paused with the operator's name; a second restore, an existing
    file, and a dump of something else are refused, and without a yes nothing is done."""
    await ledger.submit(Charge("default", "key-1", "ann", "USD", 100))
    dump = tmp_path / "books.dump"
    words = ["backup", str(dump), "--json"]
    code, out, err = await run_wbs(tmp_path, words, DATABASE_URL=database_url)
    assert code == 0, err
    assert json.loads(out)["bytes"] == dump.stat().st_size > 0
    assert dump.stat().st_mode & 0o077 == 0
    code, _, err = await run_wbs(tmp_path, words, DATABASE_URL=database_url)
    assert code == 1
    assert is_one_sentence(err)

    restore = ["restore", str(dump), "--as", "eve"]
    for more, expected in ((["--dry-run"], 0), ([], 1), (["--yes"], 0), (["--yes"], 1)):
        code, out, err = await run_wbs(tmp_path, [*restore, *more], DATABASE_URL=empty_database_url)
        assert code == expected, (more, out, err)
        assert "Traceback" not in err
    connection = await connect(Settings.from_env({"DATABASE_URL": empty_database_url}).database)
    try:
        state = await stack.look(connection)
        assert not state.allowed
        assert state.history_lost_at is not None
        assert "operator:eve" in str(state.paused_reason)
        assert await connection.fetchval("select count(*) from transfers") == 1
    finally:
        connection.terminate()
    foreign = tmp_path / "foreign.dump"
    foreign.write_bytes(b"PGDMP nothing of ours")
    code, _, err = await run_wbs(
        tmp_path, ["restore", str(foreign), "--yes"], DATABASE_URL=empty_database_url
    )
    assert code == 1
    assert is_one_sentence(err)
