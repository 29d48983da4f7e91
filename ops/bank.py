"""`wbs bank check`: tries whether the bank does what it must, so that everything is paid, and nothing twice.

It reads the bank's books. At the simulator of this stack it also orders a dozen payouts, with test destinations;
against any other bank it orders four, of `--amount` minor units each, and only with `--yes`. Their references begin
with `wbs-check-`; `wbs audit` and the reconciler know them by that.

Exit codes: 0 all that was tried passed, 1 something failed, 2 it could not be tried (settings, bank away).
"""

import argparse
import asyncio
import json
import os
import sys

from actors.bank import open_bank
from actors.bank.conformance import Check, Conformance
from actors.bank.protocol import BooksUnreadable
from actors.bank.trial import PATIENCE_S, Scope
from ops.environment import BANK_SETTINGS, running_environment
from runtime.settings import Settings, SettingsError

_MARKS = {True: "✓", False: "✗", None: "–"}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs bank` to the command line."""
    parser = subparsers.add_parser("bank", help="try whether the bank does what it must", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    check = commands.add_parser("check", help="try the rules", description=__doc__)
    check.add_argument("--yes", action="store_true", help="order payouts at a bank that is no simulator")
    check.add_argument("--simulator", action="store_true", help="the bank is the simulator, wherever it runs")
    check.add_argument(
        "--amount", type=int, default=1, metavar="N", help="minor units of a payout (default 1)"
    )
    check.add_argument("--currency", metavar="CODE", help="of the payouts (default: WBS_DEFAULT_CURRENCY)")
    check.add_argument(
        "--patience",
        type=float,
        default=PATIENCE_S,
        metavar="S",
        help="seconds to wait for what it says later",
    )
    check.add_argument("--json", action="store_true", help="print the results as JSON")


def run(args: argparse.Namespace) -> int:
    """Check the bank of the running stack, or the one that WBS_BANK and WBS_BANK_URL name."""
    try:
        settings = Settings.from_env(running_environment(*BANK_SETTINGS))
        checks = asyncio.run(check_bank(settings, scope_of(settings, args), quiet=args.json))
    except (SettingsError, BooksUnreadable) as error:
        print(f"wbs bank check: {error}", file=sys.stderr)
        return 2
    failed = sum(check.passed is False for check in checks)
    if args.json:
        results = [{"check": c.name, "passed": c.passed, "detail": c.detail} for c in checks]
        print(json.dumps({"ok": not failed, "checks": results}))
    else:
        tried = sum(check.passed is not None for check in checks)
        untried = f"; {len(checks) - tried} not tried" if tried < len(checks) else ""
        print(f"{tried - failed} of {tried} passed{untried}")
    return 1 if failed else 0


def scope_of(settings: Settings, args: argparse.Namespace) -> Scope:
    """Return how far to go: everything on the simulator, payouts elsewhere only if that was said."""
    simulates = args.simulator or settings.bank_url == f"http://127.0.0.1:{settings.bank_port}"
    return Scope(
        currency=args.currency or settings.default_currency,
        amount=max(1, args.amount),
        pays=simulates or args.yes,
        simulates=simulates,
        patience_s=args.patience,
        call_s_max=settings.bank_timeout_ms / 1000,
    )


def line_of(check: Check, *, colour: bool) -> str:
    """Return the line that tells how a rule's trial ended; red if it failed and there is `colour`."""
    line = f"  {_MARKS[check.passed]}  {check.name}: {check.detail}"
    return f"\033[31m{line}\033[0m" if colour and check.passed is False else line


async def check_bank(settings: Settings, scope: Scope, *, quiet: bool) -> list[Check]:
    """Try the rules, printing each unless `quiet`. Raises SettingsError; BooksUnreadable if the bank is away."""
    bank = open_bank(settings.for_bank)
    try:
        await bank.read_books(None)
        made = []
        async for check in Conformance(bank, scope).checks():
            made.append(check)
            if not quiet:
                print(line_of(check, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ), flush=True)
        return made
    finally:
        await bank.close()
