"""`wbs adjust` as an operator uses it."""

import json
from pathlib import Path
from typing import Any

import asyncpg

from db.audit import Findings, audit_books
from tests.integration.link import Link
from tests.integration.ops.wbs import is_one_sentence, run_wbs, without_database


async def test_an_operator_adjusts(tmp_path: Path, database_url: str, connection: asyncpg.Connection) -> None:
    """Goal: it is booked once under its key, with name and reason; never below zero; by two persons if so set."""

    async def adjust(*words: str, **more: str) -> tuple[int, Any, str]:
        code, out, err = await run_wbs(
            tmp_path, ["adjust", *words, "--json"], DATABASE_URL=database_url, **more
        )
        return code, json.loads(out)["adjustments"] if out else None, without_database(err)

    words = ("ann", "500", "--reason", "what the bank gave back", "--as", "eve", "--key", "k1")
    code, [added], err = await adjust(*words)
    assert (code, err) == (0, "")
    assert (added["amount"], added["by"], added["status"]) == (500, "operator:eve", "completed")
    assert await adjust(*words) == (0, [added], "")
    code, _, err = await adjust("ann", "-501", "--reason", "chargeback 7")
    assert code == 1
    assert is_one_sentence(err)
    assert "500 can be withdrawn" in err
    code, _, err = await adjust("ann", "5")
    assert code == 1
    assert "--reason" in err

    code, [proposed], _ = await adjust(
        "ann", "-200", "--reason", "chargeback 7", "--as", "eve", WBS_SECOND_PERSON="1"
    )
    assert (code, proposed["status"]) == (0, "proposed")
    assert (await adjust("--list"))[1] == [proposed]
    confirm = ("--confirm", proposed["id"])
    code, _, err = await adjust(*confirm, "--as", "eve")
    assert code == 1
    assert "another person" in err
    code, [taken], _ = await adjust(*confirm, "--as", "adam")
    assert (code, taken["amount"], taken["proposed_by"]) == (0, -200, "operator:eve")
    assert (await adjust("--list"))[1] == []
    assert await connection.fetchval("select available from wallets where user_id = 'ann'") == 300
    findings = Findings()
    await audit_books(connection, findings, lambda _: None)
    assert findings.violations == []


async def test_an_answer_that_is_lost(tmp_path: Path, link: Link, connection: asyncpg.Connection) -> None:
    """Goal: who does not hear what became of it is told the key to repeat it with: it takes effect once."""
    words = ["adjust", "ann", "5", "--reason", "test"]
    assert (await run_wbs(tmp_path, words, DATABASE_URL=link.url))[0] == 0
    link.commits_done_to_lose = 1
    code, _, err = await run_wbs(tmp_path, words, DATABASE_URL=link.url)
    assert code == 2
    assert is_one_sentence(err)
    assert (await run_wbs(tmp_path, [*words, *err.split()[-2:]], DATABASE_URL=link.url))[0] == 0
    assert await connection.fetchval("select available from wallets where user_id = 'ann'") == 10
