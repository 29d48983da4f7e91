"""`wbs roles`: makes the roles of PostgreSQL, with which each kind of process can do what it needs and no more.

Run by an administrator of the database, once before `wbs migrate`, which grants the rights. It may be run again.
"""

import argparse
import asyncio
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from db.errors import DATABASE_ERRORS
from db.granting import make_roles, role_statements
from db.roles import ROLES
from db.watch import watched_session
from ops.environment import say_database
from ops.errors import OpsError, ServerAway


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the command."""
    text = "make the roles of PostgreSQL: print the SQL, or run it with --apply"
    parser = subparsers.add_parser(
        "roles",
        help=text,
        description=f"{text}. Passwords are taken from {', '.join(map(password_variable, ROLES))}; a role without one "
        "is not given a login.",
    )
    parser.add_argument(
        "--apply", action="store_true", help="run it in the database of DATABASE_URL, as its administrator"
    )
    parser.add_argument("--json", action="store_true", help='{"statements": […]}')


def run(args: argparse.Namespace) -> int:
    """Print the statements, or run them in the database of DATABASE_URL."""
    passwords = given_passwords(os.environ)
    if args.json and not args.apply:
        print(json.dumps({"statements": list(role_statements(passwords))}))
        return 0
    if not args.apply:
        for statement in role_statements(passwords):
            print(f"{statement};")
        return 0
    url = os.environ.get("DATABASE_URL", "")
    if not url:
        raise OpsError("DATABASE_URL must name the database, with an administrator's login.")
    say_database(url)
    make(url, passwords)
    done = "The roles are made. `wbs migrate`, as wbs_owner, grants them what they need."
    print(json.dumps({"done": True}) if args.json else done)
    return 0


def password_variable(role: str) -> str:
    """Return the environment variable with a role's password."""
    return f"POSTGRES_{role.removeprefix('wbs_').upper()}_PASSWORD"


def given_passwords(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the passwords in the environment, by role."""
    return {role: environ[name] for role in ROLES if environ.get(name := password_variable(role))}


def make(administrator_url: str, passwords: Mapping[str, str]) -> None:
    """Make the roles. Raises ServerAway if the database can't be reached, or the login may not do that."""
    try:
        # In a thread of its own, so that a caller's event loop, if there is one, is not in the way.
        with ThreadPoolExecutor(max_workers=1) as thread:
            thread.submit(asyncio.run, _make(administrator_url, passwords)).result()
    except DATABASE_ERRORS as error:
        why = " ".join(str(error).split()) or "it did not answer in time"
        raise ServerAway(f"The database's roles cannot be made: {why}.") from error


async def _make(administrator_url: str, passwords: Mapping[str, str]) -> None:
    async with watched_session(administrator_url) as connection:
        await make_roles(connection, passwords)
