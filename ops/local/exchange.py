"""Restores a dump into the private server of a stack that runs: one database for another, in a short pause."""

import argparse
import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from db import restores
from db.roles import OWNER, ROLES
from ops.confirmation import confirm
from ops.local.fleet import SCALABLE, Fleet
from ops.local.postgres import DATABASE, SUPERUSER
from ops.local.progress import Progress
from ops.restore import read_into
from ops.roles import make as make_roles
from ops.state import StateDir

NEW = f"{DATABASE}_restoring"


def into_private(args: argparse.Namespace, program: Path, state: StateDir, reason: str) -> dict[str, Any]:
    """Restore as `wbs restore` says; return what became of the former database. Raises OpsError.

    Whatever fails before the databases are exchanged leaves the present one as it is, and the processes at work.
    """
    kept_as = f"{DATABASE}_before_{datetime.now(UTC):%Y%m%dt%H%M%Sz}"
    told = {"kept_as": kept_as}
    progress = Progress.to_terminal()
    fleet = Fleet(state, progress)
    if args.dry_run:
        return told
    confirm(
        args,
        f"puts {args.file} in the place of the database above, which is kept as {kept_as}, stops gateways and actors "
        "for some seconds, and begins a new history: payouts are paused",
    )
    with state.lock():
        administrator = _url(state, SUPERUSER, state.secret("postgres_password"), SUPERUSER)
        progress.say(f"Reading {args.file} into a new database")
        asyncio.run(restores.create(administrator, NEW))
        passwords = {role: state.secret(f"postgres_{role}") for role in ROLES}
        make_roles(_url(state, SUPERUSER, state.secret("postgres_password"), NEW), passwords)
        read_into(program, args.file, _url(state, OWNER, passwords[OWNER], NEW), reason)
        with fleet.paused(SCALABLE):
            progress.say("Exchanging the databases")
            asyncio.run(restores.replace(administrator, DATABASE, NEW, kept_as))
    return told


def _url(state: StateDir, user: str, password: str, database: str) -> str:
    return f"postgresql://{user}:{password}@127.0.0.1:{state.recall('ports', 'postgres')}/{database}"
