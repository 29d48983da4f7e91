"""What deletes or replaces something asks first, or wants `--yes`."""

import argparse
import sys

from ops.errors import OpsError


def add_yes(parser: argparse.ArgumentParser, text: str = "do not ask") -> None:
    """Add `--yes`."""
    parser.add_argument("--yes", action="store_true", help=text)


def confirm(args: argparse.Namespace, what: str) -> None:
    """Ask at the terminal whether to do `what`, unless `--yes` says so. Raises OpsError if the answer is no.

    Where there is no terminal to ask at, the answer is no.
    """
    if args.yes:
        return
    if not sys.stdin.isatty():
        raise OpsError(f"This {what}. Say --yes to do it.")
    print(f"This {what}.", file=sys.stderr)
    print("Go on? Type yes: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() != "yes":
        raise OpsError("Nothing was done.")
