"""`wbs restore FILE`: put a dump of `wbs backup` (or of pg_dump --format=custom) in the place of the database.

On a stack of `wbs up` with its private server: the dump is read into a new database beside the present one; only then
gateways, relays, actors and reconcilers are stopped, the databases are renamed, and all are started again. The former
database stays, as NAME_before_TIME; nothing is deleted. Else DATABASE_URL names an empty database, as the owner of its
schema: the dump is read into it, and you point the processes there.

That begins a new history: payouts are paused until you have compared it with the bank and resumed them
(docs/OPERATIONS.md, "Restore"). It asks first, or wants --yes.

Exit codes: 0 done (or, with --dry-run, it could be), 1 it can't be: no dump of ours, the database holds books already,
the answer was no; 2 nothing is running here, or the database is away.
"""

import argparse
import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from db import restores
from ops import journal
from ops.confirmation import add_yes, confirm
from ops.environment import running_environment
from ops.errors import OpsError
from ops.migration import migrate
from ops.operators import add_by, operator
from ops.postgres_tools import run as run_tool
from ops.postgres_tools import tool
from ops.state import StateDir

_OURS = (" TABLE public transfers ", " TABLE public wallets ", " TABLE public stack ")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs restore` to the command line."""
    parser = subparsers.add_parser(
        "restore",
        help="put a dump in the place of the database",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument(
        "--dry-run", action="store_true", help="look at the dump and the database, change nothing"
    )
    parser.add_argument(
        "--json", action="store_true", help='{"database": …, "kept_as": …, "payouts": "paused"}'
    )
    add_yes(parser)
    add_by(parser)


def run(args: argparse.Namespace) -> int:
    """Restore. Raises OpsError."""
    environment = running_environment()
    program = tool("pg_restore", environment)
    require_ours(program, args.file)
    taken_at = datetime.fromtimestamp(args.file.stat().st_mtime, UTC)
    reason = f"restored by {operator(args)} from {args.file.name} of {taken_at:%Y-%m-%d %H:%M:%S} UTC"
    if os.environ.get("DATABASE_URL") or "WBS_POSTGRES_BIN" not in environment:
        told = _into_given(args, program, environment["DATABASE_URL"], reason)
    else:
        from ops.local.exchange import into_private

        told = into_private(args, program, StateDir.from_env(os.environ), reason)
        if not args.dry_run:
            journal.write(StateDir.from_env(os.environ), "restored", operator(args), **told)
    _print(args, told)
    return 0


def require_ours(program: Path, file: Path) -> None:
    """Raise OpsError if the file is no dump of this service's database."""
    if not file.is_file():
        raise OpsError(f"There is no file {file}.")
    listed = run_tool(program, ["--list", str(file)])
    if not all(table in listed for table in _OURS):
        raise OpsError(f"{file} is a dump of another database: it lacks our tables.")


def read_into(program: Path, file: Path, owner_url: str, reason: str) -> None:
    """Read the dump into an empty database, bring its schema up to date, and pause its payouts. Raises OpsError."""
    # Rights are granted anew by the migration, for the roles that this server has.
    words = ["--no-owner", "--no-privileges", "--exit-on-error", "--clean", "--if-exists", str(file)]
    run_tool(program, words, owner_url)
    migrate(owner_url)
    asyncio.run(restores.begin_new_history(owner_url, reason))


def _into_given(args: argparse.Namespace, program: Path, url: str, reason: str) -> dict[str, Any]:
    if asyncio.run(restores.holds_books(url)):
        raise OpsError(
            "This database holds books already, and a restore overwrites none: make a new, empty database, name it in "
            "DATABASE_URL, restore into it, and point the processes there."
        )
    if not args.dry_run:
        confirm(
            args, f"reads {args.file} into the database above, and begins a new history: payouts are paused"
        )
        read_into(program, args.file, url, reason)
    return {"kept_as": None}


def _print(args: argparse.Namespace, told: dict[str, Any]) -> None:
    if args.json:
        print(json.dumps({"dry_run": args.dry_run, "file": str(args.file), **told, "payouts": "paused"}))
        return
    print(f"{args.file} {'could be' if args.dry_run else 'is'} restored.")
    if told["kept_as"]:
        print(f"The former database {'would be' if args.dry_run else 'is'} kept as {told['kept_as']}.")
    if not args.dry_run:
        print(
            "Payouts are paused. Have clients send again what they sent since; then `wbs reconcile`, `wbs audit`, and\n"
            '`wbs payouts resume` (docs/OPERATIONS.md, "Restore").'
        )
