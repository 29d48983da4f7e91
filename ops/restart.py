"""`wbs restart KIND…`: end the processes of a kind and start them again, one after the other.

Each is ended by SIGTERM and finishes what it holds; the next one's turn comes once it answers again. A single gateway
gets a second one beside it meanwhile. There is one of each server (postgres, rabbitmq, bank_sim): while it restarts,
what needs it waits, and writes may get 503; so this asks first, or wants --yes.

Exit codes: 0 done (or, with --dry-run, it could be), 1 a process does not come up, or the answer was no, 2 there is no
such kind, or nothing is running here.
"""

import argparse
import json
import os

from ops import journal
from ops.confirmation import add_yes, confirm
from ops.kinds import KINDS
from ops.operators import add_by, operator
from ops.state import StateDir


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs restart` to the command line."""
    parser = subparsers.add_parser(
        "restart",
        help="restart the processes of a kind, one after the other",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kinds", metavar="KIND", nargs="+", choices=KINDS, help=", ".join(KINDS))
    parser.add_argument("--dry-run", action="store_true", help="say which processes, and change nothing")
    parser.add_argument("--json", action="store_true", help='{"restarted": {"gateway": ["gateway_1", …]}}')
    add_yes(parser, "do not ask before restarting a server")
    add_by(parser)


def run(args: argparse.Namespace) -> int:
    """Restart what was named. Raises OpsError."""
    from ops.local.fleet import SERVERS, Fleet
    from ops.local.progress import Progress

    state = StateDir.from_env(os.environ)
    fleet = Fleet(state, Progress.to_terminal())
    planned = {kind: [program.name for program in fleet.members(kind)] for kind in dict.fromkeys(args.kinds)}
    if not args.dry_run:
        servers = [kind for kind in planned if kind in SERVERS]
        if servers:
            confirm(args, f"restarts {' and '.join(servers)}: until then, what needs it waits or gets 503")
        with state.lock():
            for kind, names in planned.items():
                fleet.restart(kind)
                journal.write(state, "restarted", operator(args), kind=kind, programs=names)
    if args.json:
        print(json.dumps({"dry_run": args.dry_run, "restarted": planned}))
    else:
        did = "would be restarted" if args.dry_run else "restarted"
        for kind, names in planned.items():
            print(f"{kind}: {', '.join(names)} {did}")
    return 0
