"""`wbs backup [FILE]`: dump the database into a file, with pg_dump; `wbs restore FILE` puts it back.

The dump is consistent, also in the middle of load, and holds everything: RabbitMQ has nothing that can't be made again.
Of a stack of `wbs up` it is dumped as the schema's owner; else DATABASE_URL names the owner (or whoever may read all).
Without FILE it goes to `backups/` in the state folder. A file that is there already is never overwritten.
It is recorded, so that Prometheus knows how old the last backup is; `--record PLACE` records one that something else
has just taken: a base backup, a provider's snapshot.

Exit codes: 0 done, 1 it can't be (the file is there, no pg_dump, no right), 2 nothing is running here, or the database
is away.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from db.audit_runs import record_backup
from db.errors import DATABASE_ERRORS
from db.watch import watched_session
from gateway.contract.request_models import Reason
from ops import journal
from ops.arguments import require
from ops.environment import running_environment
from ops.errors import OpsError
from ops.migration import owner_url
from ops.operators import add_by, operator
from ops.postgres_tools import database_name, tool
from ops.postgres_tools import run as run_tool
from ops.state import StateDir

FOLDER = "backups"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs backup` to the command line."""
    parser = subparsers.add_parser(
        "backup",
        help="dump the database into a file",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", nargs="?", type=Path)
    parser.add_argument(
        "--record", metavar="PLACE", help="dump nothing: record a backup taken now by something else"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be dumped, and where to")
    parser.add_argument(
        "--json", action="store_true", help='{"file": …, "bytes": …, "seconds": …}, or {"recorded": …}'
    )
    add_by(parser)


def run(args: argparse.Namespace) -> int:
    """Dump. Raises OpsError."""
    environment = running_environment()
    state = StateDir.from_env(os.environ)
    url = owner_url(environment)
    if args.record is not None:
        require(args.record, Reason, "A place")
        if not args.dry_run:
            asyncio.run(_record(url, datetime.now(UTC), args.record, operator(args)))
        recorded = {"dry_run": args.dry_run, "recorded": args.record}
        verb = "would record" if args.dry_run else "recorded"
        print(json.dumps(recorded) if args.json else f"{verb}: {args.record}")
        return 0
    file: Path = args.file or _default(state, url)
    if file.exists():
        raise OpsError(f"{file} is there already: name another file.")
    program = tool("pg_dump", environment)
    began_at, taken_at = time.monotonic(), datetime.now(UTC)
    if not args.dry_run:
        _dump(program, url, file, is_default=args.file is None)
        try:
            asyncio.run(_record(url, taken_at, str(file.absolute()), operator(args)))
        except OpsError as error:
            print(f"wbs backup: the dump is whole. {error}", file=sys.stderr)
        if state.log.is_dir():
            journal.write(state, "backed_up", operator(args), file=str(file.absolute()))
    told = {
        "dry_run": args.dry_run,
        "file": str(file.absolute()),
        "bytes": None if args.dry_run else file.stat().st_size,
        "seconds": round(time.monotonic() - began_at, 1),
    }
    if args.json:
        print(json.dumps(told))
    elif args.dry_run:
        print(f"would dump into {told['file']}, by {program}")
    else:
        print(f"{told['file']}: {file.stat().st_size / 1e6:,.1f} MB in {told['seconds']} s")
    return 0


async def _record(url: str, taken_at: datetime, place: str, by: str) -> None:
    """Write down that there is a backup. Raises OpsError."""
    try:
        async with watched_session(url) as connection:
            await record_backup(connection, taken_at, place, by)
    except DATABASE_ERRORS as error:
        raise OpsError(f"It can't be recorded: {error}.") from error


def _default(state: StateDir, url: str) -> Path:
    return state.root / FOLDER / f"{database_name(url)}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.dump"


def _dump(program: Path, url: str, file: Path, *, is_default: bool) -> None:
    """Dump into a file that only we may read, and that bears its name only once it is whole and on disk."""
    partial = file.with_name(f"{file.name}.partial")
    try:
        if is_default:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
        run_tool(program, ["--format=custom", f"--file={partial}"], url)
        with partial.open("rb") as dumped:
            os.fsync(dumped.fileno())
        partial.rename(file)
    except OSError as error:
        raise OpsError(f"{file} can't be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)
