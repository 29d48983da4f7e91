"""`wbs config`: the settings that commands and processes here have.

  show [TEXT]   each setting, where its value is from (the environment, the running stack, or the default), and what it
                is for; with TEXT, those with it in their name or description. Secrets are never shown
  check         whether they fit together, whether anything reads each WBS_ variable, and whether the database is fit

Exit codes: 0 done (check: nothing is wrong), 1 check: something is wrong, each thing in a line, 2 show: a setting can't
be read.
"""

import argparse
import asyncio
import json
import os
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from actors.bank import require_bank
from db.sessions import require_fit_server
from ops.environment import DATABASE, load_environment, running_stack, say_database
from ops.tables import table
from runtime.known_settings import unknown_settings, warning_of
from runtime.settings import Settings, SettingsError

MASK = "•••"
_PASSWORD = re.compile(r"(?<=:)[^:@/]+(?=@)")


class Setting(NamedTuple):
    """One setting, as it may be shown."""

    name: str
    value: str
    source: str
    """environment, stack or default."""
    meaning: str


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs config` to the command line."""
    parser = subparsers.add_parser(
        "config",
        help="show the settings, or check them",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser(
        "show",
        help="the settings, secrets masked",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    show.add_argument("text", metavar="TEXT", nargs="?", default="")
    check = actions.add_parser(
        "check",
        help="whether they are right",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for action in (show, check):
        action.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Show or check. Raises SettingsError if `show` can't read a setting."""
    environment = load_environment()
    if environment.get(DATABASE):
        say_database(environment[DATABASE])
    return _show(args, environment) if args.action == "show" else _check(args, environment)


def settings_of(environment: Mapping[str, str], stack: Mapping[str, str]) -> list[Setting]:
    """Return all settings, by name. Raises SettingsError."""
    settings = Settings.from_env(environment)
    found = []
    for item in fields(Settings):
        name = str(item.metadata["env"])
        value = getattr(settings, item.name)
        source = "environment" if os.environ.get(name) else "stack" if stack.get(name) else "default"
        found.append(Setting(name, _shown(value, secret=not item.repr), source, str(item.metadata["doc"])))
    return sorted(found)


def _shown(value: Any, *, secret: bool) -> str:
    text = str(value)
    if not secret or not text:
        return text
    # Of a server's address all but the password may be seen.
    return _PASSWORD.sub(MASK, text) if re.match(r"(postgres(ql)?|amqps?)://", text) else MASK


def _show(args: argparse.Namespace, environment: Mapping[str, str]) -> int:
    stack = running_stack(os.environ)
    wanted = args.text.lower()
    found = [one for one in settings_of(environment, stack) if wanted in f"{one.name} {one.meaning}".lower()]
    if args.json:
        print(json.dumps([one._asdict() for one in found], ensure_ascii=False))
    else:
        print(table(("SETTING", "VALUE", "FROM", "WHAT FOR"), found))
    return 0


def _check(args: argparse.Namespace, environment: Mapping[str, str]) -> int:
    wrong = [warning_of(name, nearest) for name, nearest in unknown_settings().items()]
    try:
        settings = Settings.from_env(environment)
        require_bank(settings)
        if settings.database_url:
            asyncio.run(require_fit_server(settings.database))
    except SettingsError as error:
        wrong.append(str(error))
    if args.json:
        print(json.dumps({"ok": not wrong, "wrong": wrong}, ensure_ascii=False))
    else:
        print("\n".join(wrong) or "The settings are right.")
    return 1 if wrong else 0
