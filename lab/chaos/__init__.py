"""`wbs chaos`: random load and seeded faults on a stack of its own, and an independent checker of it all.

schedule  which fault strikes when, from the seed   faults    carries them out, heals
operations  what the load does, from the seed       load      how fast
lines, proxy  connections that can be cut           client    calls, and writes the history
aftermath  settles and reads everything             checker/  reads the history, finds what is wrong
campaign  one run                                   command   the command line
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
