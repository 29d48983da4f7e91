"""Break the code on purpose, in a copy of it, and see whether the tests notice.

    python -m tests.mutations                 all mutations (about half an hour)
    python -m tests.mutations 404 "no key"    those with one of these words in their names
    python -m tests.mutations --list          names only
    python -m tests.mutations --table FILE    write what was found into a Markdown table (`make mutations` does);
                                              rows of mutations that were not asked for stay as they are

Servers are started once for all. A mutation's tests run until one fails. That one notices if it passes on a copy that
is not broken. Exit code 0 if every mutation was caught, 1 if one was not, 2 if it could not be found out.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ops.local.provision import private_servers
from tests.mutations.catalogue import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]
RUN_S_MAX = 900
ROW = re.compile(r"^\| (?P<name>[^|]+) \| (?P<found>.+) \| (?P<day>[0-9-]+) \|$", re.MULTILINE)


class Undecided(Exception):
    """It can't be told whether the tests notice."""


def copy_of_the_code(folder: Path) -> Path:
    """Copy the files of the repository, also those that git does not know yet."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


def apply(mutation: Mutation, root: Path) -> None:
    """Break the code below `root`. Raises Undecided if it has changed since the mutation was written."""
    for change in mutation.changes:
        path = root / change.file
        text = path.read_text(encoding="utf-8")
        if text.count(change.old) != 1:
            raise Undecided(
                f"{change.file} has changed: {change.old!r} is there {text.count(change.old)} times"
            )
        path.write_text(text.replace(change.old, change.new), encoding="utf-8")


def failing_test(copy: Path, selection: Sequence[str], environment: dict[str, str]) -> str | None:
    """Run tests of the copy until one fails; return that one. Raises Undecided if they did not run."""
    options = ["-q", "-x", "--tb=no", "-rf", "-p", "no:cacheprovider", "-p", "no:randomly"]
    options += ["--basetemp", str(copy / ".tmp")]
    try:
        # From within the copy, `python -m` finds the copy's packages before those that are installed.
        run = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *selection],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=RUN_S_MAX,
        )
    except subprocess.TimeoutExpired as error:
        raise Undecided(f"no end after {RUN_S_MAX} s") from error
    failed = re.search(r"^FAILED (.+?)(?: - .*)?$", run.stdout, re.MULTILINE)
    if run.returncode == 0 or (run.returncode == 1 and failed):
        return failed and failed[1]
    raise Undecided(run.stdout[-2000:] + run.stderr[-2000:])


def short(test: str) -> str:
    """Return a test's name without folders and parameters."""
    path, _, name = test.partition("::")
    return f"{Path(path).stem}::{name.partition('[')[0]}"


def main() -> int:
    """Break the code in each way asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="words in the names of the mutations wanted")
    parser.add_argument("--list", action="store_true", help="print the names only")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write what was found there, as Markdown")
    arguments = parser.parse_args()
    wanted = [m for m in MUTATIONS if not arguments.words or any(word in m.name for word in arguments.words)]
    if arguments.list:
        print("\n".join(mutation.name for mutation in wanted))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers and folders go
    with tempfile.TemporaryDirectory(prefix="wbs-mutations-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may have to run as another user
        with private_servers(folder / "servers", env={"DATABASE_URL": "", "RABBITMQ_URL": ""}) as servers:
            environment = os.environ | {
                "TEST_DATABASE_URL": servers.database_url,
                "TEST_RABBITMQ_URL": servers.rabbitmq_url,
                "HYPOTHESIS_PROFILE": "unshrunk",
            }
            exit_code = 0
            for mutation in wanted:
                found, code = judge(mutation, folder, environment)
                exit_code = max(exit_code, code)
                if arguments.table:
                    write_table(arguments.table, {mutation.name: found})
    return exit_code


def judge(mutation: Mutation, folder: Path, environment: dict[str, str]) -> tuple[str, int]:
    """Break a copy of the code in this way; return what was found, for the table, and an exit code."""
    started = time.monotonic()
    try:
        copy = copy_of_the_code(folder)
        apply(mutation, copy)
        failed = failing_test(copy, mutation.tests, environment)
        if failed and failing_test(copy_of_the_code(folder), (failed,), environment):
            raise Undecided(f"{failed} fails on the unbroken code, too")
    except Undecided as reason:
        print(f"{mutation.name}: not found out: {reason}", flush=True)
        return "not found out", 2
    found = f"`{short(failed)}`" if failed else "**not caught**"
    print(f"{mutation.name}: {found} ({time.monotonic() - started:.0f} s)", flush=True)
    return found, 0 if failed else 1


def write_table(file: Path, rows: dict[str, str]) -> None:
    """Write what was found of each mutation; of those that were not run now, what the file said before."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    table = {row["name"]: (row["found"], row["day"]) for row in ROW.finditer(text)}
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    table |= {name: (found, today) for name, found in rows.items()}
    known = {mutation.name: table.get(mutation.name, ("not run", "-")) for mutation in MUTATIONS}
    caught = sum(found.startswith("`") for found, _ in known.values())
    lines = [
        "# Broken on purpose",
        "",
        f"Made by `make mutations`; do not edit. The code was broken in {len(known)} ways, one at a time, in a copy;",
        f"in {caught} a test noticed. Named is the first that did, of often more; it passes on the unbroken code.",
        "",
        "| mutation | noticed by | run on |",
        "|---|---|---|",
        *(f"| {name} | {found} | {day} |" for name, (found, day) in known.items()),
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
