"""`wbs chaos`: random load and seeded faults on a stack of its own, and an independent checker of the result.

schedule  the faults and their times, from the seed   faults    carries them out, heals
operations  the operations of the load, by the seed   load      the pace of the load
lines, proxy  connections that can be cut             client    calls, and writes the history
aftermath  settles and reads everything               checker/  reads the history, finds violations
campaign  one run                                     command   the command line
"""

import argparse


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs chaos` to the command line."""
    from lab.chaos import command

    parser = subparsers.add_parser(
        "chaos",
        help="kill and freeze everything under load, then check the books",
        description=command.DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.describe(parser)


def run(args: argparse.Namespace) -> int:
    """Run it. Returns the exit code."""
    from lab.chaos import command

    return command.run(args)
