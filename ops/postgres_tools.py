"""PostgreSQL's own programs, `pg_dump` and `pg_restore`: where they are, and how they are run."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from db.hosts import single_hosts
from ops.errors import OpsError, ServerAway

INSTALLED = Path("/usr/lib/postgresql")
"""Debian's packages have a folder per version there."""
_AWAY = re.compile("connection to server|could not translate host|could not connect")


def tool(name: str, environment: Mapping[str, str]) -> Path:
    """Return the program: of the stack's private server, of the newest version installed, or on the PATH.

    Raises OpsError if there is none.
    """
    folders = [Path(environment["WBS_POSTGRES_BIN"])] if environment.get("WBS_POSTGRES_BIN") else []
    versions = sorted(INSTALLED.glob("*/bin"), key=lambda path: _number(path.parent.name), reverse=True)
    for folder in (*folders, *versions):
        if os.access(folder / name, os.X_OK):
            return folder / name
    found = shutil.which(name)
    if found is None:
        raise OpsError(
            f"There is no {name} here: install PostgreSQL's client programs, of the server's version or newer."
        )
    return Path(found)


def _number(version: str) -> float:
    try:
        return float(version)
    except ValueError:
        return 0.0


def run(program: Path, words: Sequence[str], database_url: str = "") -> str:
    """Run a program on a database; return what it printed. The password is in its environment, not in its command.

    Raises ServerAway if the database can't be reached, and OpsError with the program's last words if it fails.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    command = [str(program), *words]
    if database_url:
        url, password = without_password(database_url)
        command += [f"--dbname={url}"]
        environment |= {"PGPASSWORD": password} if password else {}
    environment |= {"LC_ALL": "C", "PGCONNECT_TIMEOUT": "10"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        telling = next(
            (line for line in lines if re.search("error|fatal", line, re.IGNORECASE)), "it said nothing"
        )
        kind = ServerAway if _AWAY.search(done.stderr) else OpsError
        raise kind(f"{program.name} failed: {telling.strip()[:500]}")
    return done.stdout


def without_password(url: str) -> tuple[str, str]:
    """Return a database's URL without its password, and the password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url, ""
    userinfo, _, hosts = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{userinfo.partition(':')[0]}@{hosts}")), unquote(parts.password)


def database_name(url: str) -> str:
    """Return the name of the database that a URL names."""
    return unquote(urlsplit(single_hosts(url)[0]).path.strip("/"))


def with_database(url: str, name: str) -> str:
    """Return the same server's URL of another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
