"""The operator's name, which commands that change something record."""

import argparse
import getpass

from gateway.contract.request_models import Reason
from ops.arguments import require


def add_by(parser: argparse.ArgumentParser) -> None:
    """Add `--as`, the operator's name."""
    parser.add_argument(
        "--as", dest="by", default=None, metavar="NAME", help="your name (default: the login name)"
    )


def operator(args: argparse.Namespace) -> str:
    """Return the operator's name as histories spell it: `operator:NAME`. Raises OpsError if it is none."""
    name = args.by
    if name:
        require(name, Reason, "Your name (--as)")
    else:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):  # no such user in this container
            name = "unknown"
    return f"operator:{name}"
