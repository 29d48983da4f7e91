"""`wbs migrate`: brings the schema up to date."""

import argparse
import asyncio
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from ops.environment import running_environment
from ops.errors import OpsError, ServerAway
from runtime.settings import Settings, SettingsError

OWNER_URL = "OWNER_DATABASE_URL"
"""Where `env.json` of a running stack has the URL of the schema's owner."""


def run(args: argparse.Namespace) -> int:
    """Bring the schema of DATABASE_URL, or of the running stack, up to date."""
    migrate(owner_url(running_environment()))
    print(json.dumps({"ok": True}) if args.json else "The schema is up to date.")
    return 0


def owner_url(environment: Mapping[str, str]) -> str:
    """Return the URL of the database for the owner of its schema, of the environment that a command works on.

    A stack's DATABASE_URL is the operator's, who may not change the schema.
    """
    return os.environ.get("DATABASE_URL") or environment.get(OWNER_URL) or environment["DATABASE_URL"]


def require_fit_database(env: Mapping[str, str]) -> None:
    """Raise OpsError if DATABASE_URL leads to a server that must not be used. One that is away is left to `migrate`."""
    from db.sessions import require_fit_server

    try:
        with ThreadPoolExecutor(max_workers=1) as thread:
            thread.submit(asyncio.run, require_fit_server(Settings.from_env(env).database)).result()
    except SettingsError as error:
        raise OpsError(f"{error}.") from error


def migrate(database_url: str) -> None:
    """Apply the missing migrations. Raises ServerAway if the database can't be reached or one of them fails."""
    from db.migrate import migrate as apply

    try:
        # In a thread of its own, so that a caller's event loop, if there is one, is not in the way.
        with ThreadPoolExecutor(max_workers=1) as thread:
            thread.submit(asyncio.run, apply(database_url)).result()
    except Exception as error:  # of any kind: the driver's and pogo's errors are db's business
        why = str(error) or "it did not answer in time"
        raise ServerAway(
            f"The database cannot be migrated ({' '.join(why.split())}): check DATABASE_URL and that its server runs."
        ) from error
