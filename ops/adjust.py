"""`wbs adjust`: add money to a wallet, or take some, as an operator.

  wbs adjust USER AMOUNT --reason R     AMOUNT is in minor units: 500 adds, -500 takes (of what is withdrawable)
  wbs adjust --confirm ID               with WBS_SECOND_PERSON=1: book what another person proposed
  wbs adjust --list                     what waits for a second person

If the answer to a command was lost, repeat it with its --key: it takes effect once. docs/OPERATIONS.md says how a
chargeback is booked.

Exit codes: 0 done (or proposed), 1 refused, 2 the database is away.
"""

import argparse
import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from db import adjustments
from db.connections import connect
from db.errors import DATABASE_ERRORS, Rejected
from db.follow_up_writer import write_follow_ups
from db.lists import LAST_ID
from db.releases import STEP_LOCKS_MAX, release_oldest
from gateway.contract.idempotency_keys import BadKey, plain_key
from gateway.contract.request_models import Reason
from gateway.contract.user_ids import UserIds, UserIdText, fitted
from ops.arguments import require
from ops.environment import running_environment
from ops.errors import OpsError
from ops.operators import add_by, operator
from runtime.settings import Settings
from wallet.adjustments import CONFIRMED_WITHIN, Adjust
from wallet.decision import ReleasesNeeded
from wallet.errors import WalletError
from wallet.ids import uuid7_sequence
from wallet.money import AMOUNT_MAX
from wallet.receipts import AdjustmentReceipt

SPACE = "default"
TRIES_MAX = 20
LISTED_MAX = 100


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs adjust` to the command line."""
    parser = subparsers.add_parser(
        "adjust",
        help="add money to a wallet, or take some, and say why",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("user", nargs="?", help="whose wallet")
    parser.add_argument("amount", nargs="?", type=int, help="minor units; negative: take them")
    parser.add_argument("--currency", help="default: WBS_DEFAULT_CURRENCY")
    parser.add_argument("--reason", help="written down with it, on one line")
    parser.add_argument("--key", help="idempotency key (default: a new one, which is told)")
    parser.add_argument("--confirm", metavar="ID", type=UUID, help="book the proposal with this identifier")
    parser.add_argument("--list", action="store_true", help="list what waits for a second person")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_by(parser)


def run(args: argparse.Namespace) -> int:
    """Do what was asked, and tell."""
    settings = Settings.from_env(running_environment())
    args.key = args.key or uuid4().hex
    try:
        results = asyncio.run(_act(settings, args))
    except WalletError as error:
        raise OpsError(str(error)) from error
    except DATABASE_ERRORS as error:
        # It may have taken effect: under a new key it would do so twice.
        again = "" if args.list or args.confirm else f"; repeat it with --key {args.key}"
        print(f"wbs adjust: the database can't take it now: {type(error).__name__}{again}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps({"adjustments": results}, default=str))
        return 0
    for one in results:
        money = settings.taken_currencies.spelled(one["amount"], one["currency"])
        print(
            f"{one['id']}: {one['status']}, {money} to {one['user_id']}: {one['reason']} (key {one['key']})"
        )
    return 0


async def _act(settings: Settings, args: argparse.Namespace) -> list[dict[str, Any]]:
    connection = await connect(settings.database)
    try:
        if args.list:
            since = datetime.now(UTC) - CONFIRMED_WITHIN
            found = await adjustments.proposals(connection, LAST_ID, LISTED_MAX, since)
            return [_proposed(one) for one in found]
        if args.confirm is not None:
            proposal = await adjustments.proposal(connection, args.confirm)
            return [await _book(connection, settings, proposal.confirmed(operator(args)))]
        asked = _asked(settings, args)
        if settings.second_person:
            id = next(uuid7_sequence(datetime.now(UTC)))
            proposed = await adjustments.propose(connection, id, asked)
            if proposed is not None:
                return [_proposed(proposed)]
        return [await _book(connection, settings, asked)]
    finally:
        connection.terminate()


def _asked(settings: Settings, args: argparse.Namespace) -> Adjust:
    """Return the adjustment of the command line. Raises OpsError, saying what is wrong with it."""
    if args.user is None or args.amount is None or not args.reason:
        raise OpsError("say whose wallet, how much and why: wbs adjust USER AMOUNT --reason R")
    user = require(args.user, fitted(UserIdText, UserIds(settings.user_ids)), "A user's id")
    if not 1 <= abs(args.amount) <= AMOUNT_MAX:
        raise OpsError(f"an amount is not 0, and at most {AMOUNT_MAX}")
    reason = require(args.reason, Reason, "A reason")
    try:
        key = plain_key(args.key)
    except BadKey as bad:
        raise OpsError(f"A key {bad}.") from None
    currency = args.currency or settings.default_currency
    if settings.taken_currencies.taken(currency) is None:
        raise settings.taken_currencies.refusal(currency)
    return Adjust(SPACE, key, user, currency, args.amount, reason, operator(args))


async def _book(connection: Any, settings: Settings, command: Adjust) -> dict[str, Any]:
    """Book it as gateways do. Raises the refusals of the ledger, or OpsError if it can't be written."""
    for _ in range(TRIES_MAX):
        written = await write_follow_ups(connection, [command], settings.limits)
        if isinstance(written, Rejected):
            continue  # the wallet is there now, or another request used the key meanwhile
        [outcome] = written
        if isinstance(outcome, ReleasesNeeded):
            await release_oldest(connection, [command.wallet], STEP_LOCKS_MAX)
        elif isinstance(outcome, WalletError):
            raise outcome
        else:
            assert isinstance(outcome.receipt, AdjustmentReceipt)
            return {**outcome.receipt._asdict(), "status": "completed", "key": command.key}
    raise OpsError("it could not be written: the wallet is too busy; try again")


def _proposed(one: adjustments.Proposal) -> dict[str, Any]:
    names = ("id", "user_id", "currency", "amount", "reason", "proposed_by", "status", "key")
    return {name: getattr(one, name) for name in names}
