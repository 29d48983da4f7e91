"""`wbs archive --before DATE`: move what is old and closed out of the books into files, under load.

What belongs together goes together: a charge with its release and reversals, a transfer with its legs, a hold with its
capture, a withdrawal with its payout. What is open, locked, or younger than DATE in any part stays, and so does the
newest movement of each wallet before DATE. Balances, statements from DATE on, keys and the audit stay right: a key that
comes again is refused (`idempotency_key_archived`), and an instant before DATE of a wallet that has lost something is
refused too (`history_archived`). Events of before DATE go as well.

The files are CSV, compressed, one per table, in `archives/DATE/` in the state folder or in --folder, with a manifest
that has their checksums; `--check FOLDER` compares them. The books must be right: unless a recorded audit says so of
the time before DATE, they are audited first. It works for a share of the time only (--share), so that requests do not
notice; stopped at any instant, the same command goes on, and does nothing more once it has ended. It needs the schema's
owner, as `wbs migrate` does.

DATE is a day (its beginning, UTC) or an instant; it must be older than WBS_REVERSIBLE_DAYS.

Exit codes: 0 done, 1 it can't be (too young, the books are wrong, events wait, a file), 2 nothing is running here, or
the database is away.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from actors.audit import AuditImpossible, run_audit
from db import archive
from db.errors import DATABASE_ERRORS
from db.watch import watched_session
from ops import archive_files, journal
from ops.archive_files import ArchiveFolder
from ops.confirmation import add_yes, confirm
from ops.environment import running_environment
from ops.errors import OpsError, ServerAway
from ops.migration import owner_url
from ops.operators import add_by, operator
from ops.state import StateDir
from runtime.settings import Settings

FOLDER = "archives"
SHARE = 0.1
SHARE_MIN = 0.001
_TELL_INTERVAL_S = 2.0
_LOOK_INTERVAL_S = 0.1
_PATIENCE = 300
"""Looks until what should take no time at all is taken not to happen."""
_FIRST_ID = UUID(int=0)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs archive` to the command line."""
    parser = subparsers.add_parser(
        "archive",
        help="move what is old and closed out of the books into files",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--before", type=_instant, metavar="DATE", help="archive what is older")
    what.add_argument("--check", type=Path, metavar="FOLDER", help="compare an archive with its manifest")
    parser.add_argument("--folder", type=Path, help="where the files go")
    parser.add_argument(
        "--share",
        type=_share,
        default=SHARE,
        help=f"share of the time to work for, from {SHARE_MIN} to 1 (default {SHARE})",
    )
    parser.add_argument("--dry-run", action="store_true", help="count what would go")
    parser.add_argument("--json", action="store_true", help='{"movements": …, "events": …, "folder": …, …}')
    add_yes(parser)
    add_by(parser)


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _share(text: str) -> float:
    if not SHARE_MIN <= float(text) <= 1:
        raise ValueError
    return float(text)


def run(args: argparse.Namespace) -> int:
    """Archive, or check an archive. Raises OpsError."""
    if args.check is not None:
        return _check(args)
    environment = running_environment()
    settings = Settings.from_env(environment)
    state = StateDir.from_env(os.environ)
    if not args.dry_run:
        confirm(args, f"moves closed movements from before {args.before} out of the books into files")
    try:
        told = asyncio.run(_run(args, settings, owner_url(environment), state))
    except DATABASE_ERRORS as error:
        raise ServerAway(f"The database gave up ({error}). The same command goes on where it was.") from error
    except AuditImpossible as error:
        raise OpsError(f"The books can't be audited first: {error}.") from error
    if not args.dry_run and state.log.is_dir():
        journal.write(state, "archived", operator(args), **told)
    print(json.dumps(told, default=str) if args.json else _text(told))
    return 0


def _check(args: argparse.Namespace) -> int:
    found = archive_files.problems(args.check)
    if args.json:
        print(json.dumps({"ok": not found, "problems": found}))
    else:
        print("\n".join(found) or "The files are as the manifest says.")
    return 1 if found else 0


async def _run(args: argparse.Namespace, settings: Settings, url: str, state: StateDir) -> dict[str, Any]:
    async with watched_session(url, archive.SESSION) as connection:
        if not await archive.take_turn(connection):
            raise OpsError("Another `wbs archive` is at work on this database.")
        begun = await archive.unfinished(connection)
        if begun is not None and begun.before != args.before:
            raise OpsError(f"The archive of before {begun.before} has not ended: go on with that one first.")
        if begun is None and (ended := await archive.folder_of(connection, args.before)) is not None:
            return _told(args, Counter(movements=0, events=0), ended)
        if begun is None:
            await _require_old(connection, args.before, settings.reversible_days)
        await _settled(connection)
        await _require_told(connection, args.before)
        if not args.dry_run and begun is None and not await archive.proved(connection, args.before):
            await _require_right(settings)
        folder = args.folder or Path(
            begun.folder if begun else state.root / FOLDER / f"{args.before:%Y%m%dT%H%M%SZ}"
        )
        if args.dry_run:
            run = archive.trial(args.before)
            files = None
        else:
            run = begun or await archive.begin(
                connection, args.before, str(folder.absolute()), operator(args)
            )
            files = ArchiveFolder(folder, await archive.lengths(connection, run))
            await archive.allow_deletes(connection)
        counts = await _Work(connection, run, files, args.share, quiet=args.json).all()
        if files is not None:
            written = await archive.seal(connection, run, files.checksums())
            files.write_manifest(
                {"before": run.before, "boundary": run.boundary, "by": operator(args), "files": written}
            )
            await archive.finish(connection, run)
        return _told(args, counts, None if files is None else str(folder.absolute()))


def _told(args: argparse.Namespace, counts: Counter[str], folder: str | None) -> dict[str, Any]:
    """Return what is told of a run: what it did, or would do, and where the files are."""
    told = {"before": args.before.isoformat(), "dry_run": args.dry_run, **counts}
    return told if folder is None else told | {"folder": folder}


async def _require_old(connection: Any, before: datetime, days: int) -> None:
    """Raise OpsError unless the instant is old enough, and later than that of the last archive."""
    latest = await archive.now(connection) - timedelta(days=days)
    if before > latest:
        raise OpsError(
            f"Charges and transfers can be reversed for {days} days (WBS_REVERSIBLE_DAYS): "
            f"name an instant before {latest:%Y-%m-%d %H:%M} UTC."
        )
    last = await archive.last_before(connection)
    if last is not None and before <= last:
        raise OpsError(f"There is an archive of before {last} already: name a later instant.")


async def _settled(connection: Any) -> None:
    """Wait for those who are writing now: what they write may be of before the instant. Raises OpsError."""
    mark = await archive.present(connection)
    for _ in range(_PATIENCE):
        if await archive.ended(connection, mark):
            return
        await asyncio.sleep(_LOOK_INTERVAL_S)
    raise OpsError("A transaction does not end: see pg_stat_activity. Nothing was archived.")


async def _require_told(connection: Any, before: datetime) -> None:
    """Raise OpsError if somebody still waits for an event of before the instant."""
    for _ in range(_PATIENCE):
        waiting = await archive.waiting_events(connection, before)
        if not waiting.unnumbered:
            break
        await asyncio.sleep(_LOOK_INTERVAL_S)
    else:
        raise OpsError("Some events of that time have no number yet: is a courier running? (`wbs ps`)")
    if waiting.waiting_for is not None:
        raise OpsError(
            f"A webhook still waits for event {waiting.waiting_for}: let it catch up, or disable it "
            f"(/console/webhooks)."
        )


async def _require_right(settings: Settings) -> None:
    """Audit our own books. Raises OpsError if they are not right: what is wrong in them must not leave them."""
    report = await run_audit(settings, bank=False)
    if not report.ok:
        raise OpsError(f"The books are not right ({report.summary}): see `wbs audit`. Nothing was archived.")


class _Work:
    """Goes through everything, pausing in between."""

    def __init__(
        self, connection: Any, run: archive.Archive, files: ArchiveFolder | None, share: float, *, quiet: bool
    ) -> None:
        self._connection = connection
        self._run = run
        self._files = files
        self._share = share
        self._quiet = quiet
        self._counts: Counter[str] = Counter(movements=0, events=0)
        self._told_at = time.monotonic()

    async def all(self) -> Counter[str]:
        """Archive, or count, everything; return how many movements and events, and origins by kind."""
        if self._files is None:
            self._counts["events"] = await archive.count_events(self._connection, self._run)
        else:  # first, so that no event ever names what is not there
            going = True
            while going:
                started = time.monotonic()
                going = await archive.archive_events(self._connection, self._run, self._files, self._counts)
                await self._pause(started, "events")
        await archive.create_lists(self._connection, self._run)
        for what in archive.PASSES:
            after: UUID | None = _FIRST_ID
            while after is not None:
                started = time.monotonic()
                after = await archive.archive_chunk(
                    self._connection, self._run, what, after, self._files, self._counts
                )
                await self._pause(started, what)
        return self._counts

    async def _pause(self, started: float, what: str) -> None:
        ended = time.monotonic()
        if not self._quiet and ended - self._told_at >= _TELL_INTERVAL_S:
            self._told_at = ended
            print(f"{what}: {self._counts['movements']:,} movements so far", file=sys.stderr)
        await asyncio.sleep((ended - started) * (1 / self._share - 1))


def _text(told: dict[str, Any]) -> str:
    kinds = ", ".join(
        f"{number:,} of {kind}s"
        for kind, number in told.items()
        if kind not in ("before", "dry_run", "folder", "movements", "events") and number
    )
    would = "would be " if told["dry_run"] else ""
    lines = [
        f"{told['movements']:,} movements {would}archived ({kinds or 'none'}); {told['events']:,} rows of events"
    ]
    if "folder" in told:
        lines.append(f"{told['folder']}: see its {archive_files.MANIFEST}")
    return "\n".join(lines)
