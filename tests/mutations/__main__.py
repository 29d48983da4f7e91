"""Break the code on purpose, in a copy of it, and see whether the tests notice.

    python -m tests.mutations                 all mutations (about half an hour)
    python -m tests.mutations 404 "no key"    those with one of these words in their names
    python -m tests.mutations --list          names only
    python -m tests.mutations --table FILE    write a Markdown table of what was found (`make mutations` does)

Servers are started once for all. The tests are first run on a copy that is not broken: a test that fails there
proves nothing. Exit code 0 if every mutation was caught, 1 if one was not, 2 if it could not be found out.
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
NAMED_MAX = 4


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


def failing_tests(copy: Path, selection: Sequence[str], environment: dict[str, str]) -> list[str]:
    """Run tests of the copy; return those that failed. Raises Undecided if they did not run."""
    options = [
        "-q",
        "--tb=no",
        "-rfE",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "--basetemp",
        str(copy / ".tmp"),
    ]
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
    failed = re.findall(r"^FAILED (.+?)(?: - .*)?$", run.stdout, re.MULTILINE)
    if run.returncode == 0 or (run.returncode == 1 and failed):
        return failed
    raise Undecided(run.stdout[-2000:] + run.stderr[-2000:])


def short(test: str) -> str:
    """Return a test's name without the folders."""
    path, _, name = test.partition("::")
    return f"{Path(path).stem}::{name}"


def verdict(failed: list[str]) -> str:
    """Return which tests noticed."""
    names = ", ".join(f"`{short(test)}`" for test in failed[:NAMED_MAX])
    more = f" and {len(failed) - NAMED_MAX} more" if len(failed) > NAMED_MAX else ""
    return f"caught by {names}{more}" if failed else "**not caught**"


def main() -> int:
    """Break the code in each way asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="words in the names of the mutations wanted")
    parser.add_argument("--list", action="store_true", help="print the names only")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write what was found there, as Markdown")
    parser.add_argument("--trust", action="store_true", help="don't run the tests on the unbroken code first")
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
            exit_code, rows = run_all(wanted, folder, environment, trust=arguments.trust)
    if arguments.table:
        write_table(arguments.table, rows, trusted=arguments.trust)
    return exit_code


def run_all(
    wanted: list[Mutation], folder: Path, environment: dict[str, str], *, trust: bool
) -> tuple[int, list[tuple[str, str]]]:
    """Break the code in each of the ways; return the exit code, and what was found of each."""
    if not trust:
        selection = sorted({test for mutation in wanted for test in mutation.tests})
        failed = failing_tests(copy_of_the_code(folder), selection, environment)
        if failed:
            print(f"already failing on the unbroken code: {', '.join(failed)}")
            return 2, []
    exit_code = 0
    rows: list[tuple[str, str]] = []
    for mutation in wanted:
        started = time.monotonic()
        try:
            copy = copy_of_the_code(folder)
            apply(mutation, copy)
            failed = failing_tests(copy, mutation.tests, environment)
        except Undecided as reason:
            print(f"{mutation.name}: not found out: {reason}", flush=True)
            rows.append((mutation.name, "not found out"))
            exit_code = 2
            continue
        rows.append((mutation.name, verdict(failed)))
        print(f"{mutation.name}: {rows[-1][1]} ({time.monotonic() - started:.0f} s)", flush=True)
        if not failed:
            exit_code = exit_code or 1
    return exit_code, rows


def write_table(file: Path, rows: list[tuple[str, str]], *, trusted: bool) -> None:
    """Write what was found of each mutation."""
    before = "was left out (`--trust`)" if trusted else "passed"
    caught = sum(row[1].startswith("caught") for row in rows)
    lines = [
        "# Broken on purpose",
        "",
        f"Made by `make mutations` on {datetime.now(UTC):%Y-%m-%d}; do not edit. The code was broken in {len(rows)}",
        f"ways, one at a time, in a copy; in {caught} a test noticed. The same tests on the code as it is: {before}.",
        "",
        "| mutation | |",
        "|---|---|",
        *(f"| {name} | {found} |" for name, found in rows),
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
