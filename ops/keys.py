"""`wbs keys`: who may call the API, and what.

  create NAME --scopes charge,read     a new key. Its secret is shown now and never again
         [--expires 30d]               when it ends by itself: so many d(ays), h(ours) or m(inutes) from now
         [--space S]                   what its idempotency keys are unique in (default: default)
         [--user-prefix P-]            it sees and moves only wallets of users whose ids begin so; needs its own space
  list [--all]                         all that are not revoked; with --all, those too
  revoke NAME-OR-PREFIX                for good: every gateway refuses it within 5 s

Scopes: charge withdraw transfer hold reverse cancel read events operate. Once a key was created, every request needs
one, unless WBS_AUTH is off.

Exit codes: 0 done, 1 it can't be (a name that is taken, say), 2 the database is away.
"""

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from db import api_keys
from db.api_keys import NewApiKey
from db.connections import connect
from ops.environment import running_environment
from ops.errors import OpsError
from ops.operators import add_by, operator
from runtime.settings import Settings
from wallet.errors import ValidationFailed
from wallet.scopes import Scope

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs keys` to the command line."""
    parser = subparsers.add_parser(
        "keys",
        help="API keys: create, list, revoke",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="a new key")
    create.add_argument("name", metavar="NAME")
    create.add_argument("--scopes", required=True, metavar="A,B", help="what it may do, comma separated")
    create.add_argument("--expires", metavar="30d", help="when it ends by itself (default: never)")
    create.add_argument("--space", default=api_keys.DEFAULT_SPACE, metavar="S")
    create.add_argument("--user-prefix", metavar="P-")
    listing = actions.add_parser("list", help="all keys")
    listing.add_argument("--all", action="store_true", help="those that were revoked, too")
    revoke = actions.add_parser("revoke", help="refuse a key from now on")
    revoke.add_argument("key", metavar="NAME-OR-PREFIX")
    for action in (create, listing, revoke):
        action.add_argument("--json", action="store_true", help="print JSON")
    for action in (create, revoke):
        add_by(action)
        action.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")


def run(args: argparse.Namespace) -> int:
    """Do what was asked. Raises OpsError, which says why not."""
    settings = Settings.from_env(running_environment())
    actions: dict[str, Callable[[Any, argparse.Namespace], Awaitable[None]]] = {
        "create": _create,
        "list": _list,
        "revoke": _revoke,
    }
    try:
        asyncio.run(_act(settings, actions[args.action], args))
    except ValidationFailed as error:
        raise OpsError("; ".join(f"{field}: {reason}" for field, reason in error.errors)) from error
    return 0


async def _act(
    settings: Settings, action: Callable[[Any, argparse.Namespace], Awaitable[None]], args: argparse.Namespace
) -> None:
    connection = await connect(settings.database)
    try:
        await action(connection, args)
    finally:
        connection.terminate()


async def _create(connection: Any, args: argparse.Namespace) -> None:
    new = NewApiKey(args.name, _scopes(args.scopes), args.space, args.user_prefix, _expires_in(args.expires))
    new.check()
    if args.dry_run:
        told = f"would create {new.name} for {', '.join(sorted(new.scopes))}"
        print(
            json.dumps({"dry_run": True, "name": new.name, "scopes": sorted(new.scopes)})
            if args.json
            else told
        )
        return
    created = await api_keys.create(connection, new, operator(args))
    if args.json:
        print(
            json.dumps(
                {
                    "name": new.name,
                    "prefix": created.prefix,
                    "secret": created.secret,
                    "scopes": sorted(new.scopes),
                    "space": new.space,
                    "user_prefix": new.user_prefix,
                    "expires_at": _text(created.expires_at),
                }
            )
        )
        return
    print(created.secret)
    print(
        f"Send it as `Authorization: Bearer …`. It is not kept: this is the only time that it is shown. "
        f"`wbs keys list` shows it as {created.prefix}.",
        file=sys.stderr,
    )


async def _list(connection: Any, args: argparse.Namespace) -> None:
    rows = [row for row in await api_keys.list_keys(connection) if args.all or row["revoked_at"] is None]
    keys = [
        {name: _text(value) if isinstance(value, datetime) else value for name, value in row.items()}
        for row in rows
    ]
    if args.json:
        print(json.dumps(keys))
        return
    if not keys:
        print("No keys.")
        return
    heads = ("prefix", "name", "scopes", "space", "user_prefix", "expires_at", "last_used_at", "revoked_at")
    table = [heads, *(tuple(_cell(key[head]) for head in heads) for key in keys)]
    widths = [max(len(row[column]) for row in table) for column in range(len(heads))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


async def _revoke(connection: Any, args: argparse.Namespace) -> None:
    if args.dry_run:
        valid = [row for row in await api_keys.list_keys(connection) if row["revoked_at"] is None]
        found = [str(row["prefix"]) for row in valid if args.key in (row["name"], row["prefix"])]
        print(
            json.dumps({"would_revoke": found})
            if args.json
            else f"would revoke {', '.join(found) or 'nothing'}"
        )
        return
    prefix = await api_keys.revoke(connection, args.key, operator(args))
    if prefix is None:
        raise OpsError(f"There is no key {args.key}, or it was revoked before.")
    if args.json:
        print(json.dumps({"revoked": prefix}))
    else:
        print(f"Revoked {prefix}. Every gateway refuses it within 5 s.")


def _scopes(text: str) -> frozenset[Scope]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in set(Scope)]
    if unknown:
        raise ValidationFailed([("scopes", f"there is no scope {unknown[0][:50]}")])
    return frozenset(Scope(word) for word in words)


def _expires_in(text: str | None) -> timedelta | None:
    if text is None:
        return None
    parts = re.fullmatch(r"([0-9]{1,6})([dhm])", text)
    if parts is None:
        raise ValidationFailed([("expires", "must be a number of days, hours or minutes: 30d, 12h, 5m")])
    return timedelta(**{_UNITS[parts[2]]: int(parts[1])})


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return "-" if value is None else str(value)
