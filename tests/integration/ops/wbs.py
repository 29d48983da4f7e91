"""Run `wbs` commands as an operator does, and know which there are."""

import argparse
import asyncio
import os
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from ops.cli import build_parser

ENDS_WITHIN_S = 120.0

NO_ID = "00000000-0000-7000-8000-000000000000"
ARGUMENTS = {
    "archive": ["--before", "2026-01-01", "--yes"],
    "adjust": ["user-1", "5", "--reason", "test"],
    "keys create": ["shop", "--scopes", "read"],
    "keys revoke": ["shop"],
    "dlq show": [NO_ID],
    "dlq replay": ["--all"],
    "dlq discard": ["--all", "--yes"],
    "payouts pause": ["--reason", "test"],
    "backup": ["books.dump", "--dry-run"],
    "restart": ["relay"],
    "restore": ["books.dump"],
    "scale": ["relay=2"],
    "show": [NO_ID],
    "top": ["--once"],
    "wallet": ["nobody"],
}
"""What a command asks for beside its name."""

LOCAL = {"up", "down", "ps", "refresh-db", "reset", "restart", "scale", "attack", "bench", "chaos"}
"""The commands that need the extra `[local]`: they start, stop or watch processes of this machine."""


def every_command() -> list[list[str]]:
    """Return the words of every command that there is, each with what it asks for."""
    names = _subcommands(build_parser(""))
    found = [[name, *words] for name in names for words in _leaves(_subcommands(build_parser(name))[name])]
    return [[*words, *ARGUMENTS.get(" ".join(words), [])] for words in found]


def _subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _leaves(parser: argparse.ArgumentParser) -> Iterator[list[str]]:
    deeper = _subcommands(parser)
    if not deeper:
        yield []
    for name, child in deeper.items():
        yield from ([name, *words] for words in _leaves(child))


async def run_wbs(
    folder: Path, words: list[str], *, without: Collection[str] = (), **settings: str
) -> tuple[int, str, str]:
    """Run a command to its end; return its exit code, and what it said on both outputs.

    `without`: packages that it finds not to be installed.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WBS_")}
    environment |= {"WBS_STATE_DIR": str(folder), "RABBITMQ_URL": "", "DATABASE_URL": "", **settings}
    code = f"import sys; sys.modules.update(dict.fromkeys({sorted(without)!r})); from ops.cli import main; "
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code + "sys.exit(main())",
        *words,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(ENDS_WITHIN_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def tells_database(said: str) -> bool:
    """Tell whether a command named the database that it speaks to, first of all and without the password."""
    return said.startswith("wbs: database ") and "password" not in said


def without_database(said: str) -> str:
    """Return what a command said beside that."""
    return said.partition("\n")[2] if said.startswith("wbs: database ") else said


def is_one_sentence(said: str) -> bool:
    """Tell whether a command said one line and no traceback, beside the database that it speaks to."""
    said = without_database(said)
    return len(said.splitlines()) == 1 and said.startswith("wbs") and "Traceback" not in said
