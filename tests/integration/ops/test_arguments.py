"""Odd arguments of `wbs`, and a terminal that can't show everything: one sentence, nothing done, nothing odd kept."""

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest

from ops.cli import main
from tests.integration.ops.wbs import is_one_sentence, run_wbs

REFUSED = {
    2: [
        ["show", "\udcff"],
        ["wallet", "ann", "--limit", "\udcff"],
        ["withdrawals", "--older-than", "999999d"],
        ["withdrawals", "--amount", "99999999999999999999"],
        ["withdrawals", "--amount", "0"],
        ["logs", "--since", "999999d"],
        ["archive", "--before", "2020-01-01", "--share", "1e-320"],
        ["archive", "--before", "2020-01-01", "--share", "nan"],
    ],
    1: [
        ["payouts", "pause", "--reason", ""],
        ["payouts", "pause", "--reason", "a\nb"],
        ["payouts", "pause", "--reason", "\x1b[31m"],
        ["payouts", "pause", "--reason", "x", "--as", "eve\x1b[0m"],
        ["keys", "create", "a\nb", "--scopes", "read", "--dry-run"],
        ["backup", "--record", "a\nb"],
        ["adjust", "Jos é", "5", "--reason", "r"],
        ["adjust", "José", "5", "--reason", "r"],
        ["adjust", "ann", "5", "--reason", "r", "--key", "a é"],
        ["adjust", "ann", "5", "--reason", "r", "--key", "k" * 256],
        ["adjust", "ann", "5", "--reason", "\ufffe"],
        ["reconcile", "--adopt", "00000000-0000-7000-8000-000000000000", "--user", "Jos é"],
        ["reconcile", "--adopt", "00000000-0000-7000-8000-000000000000", "--user", "ann", "--reason", ""],
    ],
}


async def test_what_the_api_would_refuse(
    database_url: str,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Goal: commands take no text that requests would not be allowed to write down, and say so in one sentence."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    for expected, commands in REFUSED.items():
        for words in commands:
            code = await asyncio.to_thread(_exit_code, words)
            said = capsys.readouterr()
            assert (code, said.out) == (expected, ""), (words, said)
            assert "Traceback" not in said.err
            assert "unexpectedly" not in said.err
            assert "database is not" not in said.err
            assert is_one_sentence(said.err) or said.err.startswith("usage:"), (words, said.err)
    for table in ("transfers", "backups", "api_keys"):
        assert await connection.fetchval(f"select count(*) from {table}") == 0
    assert await connection.fetchval("select paused_at from stack") is None


def _exit_code(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as ended:
        return int(ended.code or 0)


async def test_a_recorded_backup(tmp_path: Path, database_url: str, connection: asyncpg.Connection) -> None:
    """Goal: `backup --record` is JSON where that is asked for, and with --dry-run nothing is recorded."""
    for more, number in ((["--dry-run"], 0), ([], 1)):
        words = ["backup", "--record", "a snapshot", "--json", *more]
        code, out, err = await run_wbs(tmp_path, words, DATABASE_URL=database_url)
        assert code == 0, err
        assert json.loads(out) == {"dry_run": bool(more), "recorded": "a snapshot"}
        assert await connection.fetchval("select count(*) from backups") == number


async def test_a_terminal_without_the_characters(tmp_path: Path, database_url: str) -> None:
    """Goal: where the terminal's encoding lacks a character, a question mark stands for it, and it does its work."""
    code, out, err = await run_wbs(
        tmp_path, ["dlq", "list"], DATABASE_URL=database_url, PYTHONIOENCODING="ascii"
    )
    assert code == 0, err
    assert "0 require attention (? has a dead letter)" in out
