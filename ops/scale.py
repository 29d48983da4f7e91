"""`wbs scale KIND=N…`: run so many processes of a kind, on a stack that runs.

  wbs scale gateway=3 actors=4

New ones are copies of the first of their kind, and counted once they answer. Of those that are too many the last ones
are ended by SIGTERM: gateways answer what they have accepted, actors finish their round. Nobody is turned away. The
numbers hold until the stack ends; `wbs up` has options for the next one. Kinds: gateway, relay, actors, reconciler.

Exit codes: 0 done (or, with --dry-run, it could be), 1 a new process does not come up (those before it stay), 2 wrong
usage, there can't be so many of this kind, or nothing is running here.
"""

import argparse
import json
import os
import re

from ops import journal
from ops.operators import add_by, operator
from ops.state import StateDir


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs scale` to the command line."""
    parser = subparsers.add_parser(
        "scale",
        help="run more or fewer processes of a kind, without downtime",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("wanted", metavar="KIND=N", nargs="+", type=kind_and_number)
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    parser.add_argument("--json", action="store_true", help='{"gateway": {"started": […], "stopped": […]}}')
    add_by(parser)


def kind_and_number(text: str) -> tuple[str, int]:
    """Return what `gateway=3` says. Raises ArgumentTypeError."""
    parts = re.fullmatch(r"([a-z_]{1,20})=([0-9]{1,4})", text)
    if parts is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND=N, as in gateway=3")
    return parts[1], int(parts[2])


def run(args: argparse.Namespace) -> int:
    """Scale what was named. Raises OpsError."""
    from ops.local.fleet import Fleet
    from ops.local.progress import Progress

    state = StateDir.from_env(os.environ)
    fleet = Fleet(state, Progress.to_terminal())
    planned = {kind: fleet.plan(kind, number) for kind, number in args.wanted}
    if not args.dry_run:
        with state.lock():
            for kind, number in args.wanted:
                fleet.scale(kind, number)
                journal.write(state, "scaled", operator(args), kind=kind, number=number)
    if args.json:
        changes = {kind: {"started": start, "stopped": stop} for kind, (start, stop) in planned.items()}
        print(json.dumps({"dry_run": args.dry_run, **changes}))
        return 0
    would = "would be " if args.dry_run else ""
    for kind, (start, stop) in planned.items():
        said = [
            f"{', '.join(names)} {would}{did}"
            for names, did in ((start, "started"), (stop, "stopped"))
            if names
        ]
        print(f"{kind}: {'; '.join(said) or 'there are so many already'}")
    return 0
