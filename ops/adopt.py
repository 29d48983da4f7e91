"""`wbs reconcile --adopt`: books payouts that only the bank knows, as after the restore of an older backup.

Each payout becomes a completed withdrawal of the user who is named for it, under the bank's reference: a client that
repeats the request with its key meets it and is not paid twice. Amount and currency are the bank's, never the
operator's. A wallet that has too little (its charges were lost too) is filled up by an adjustment, with your name and
reason.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from actors.audit import AuditImpossible
from actors.bank import open_bank
from actors.bank.books import BOOKS_WITHIN_S, pages_of
from actors.bank.protocol import Bank, BookEntry, BooksUnreadable, PayoutOrder
from db.adoptions import BankPayout, adopt_payout
from db.connections import connect
from db.errors import DATABASE_ERRORS
from gateway.contract.request_models import Reason
from gateway.contract.user_ids import UserIdText
from ops.arguments import require
from ops.errors import OpsError
from ops.operators import operator
from runtime.settings import Settings
from wallet.outcomes import Paid, Returned

REASON = "the bank paid it, and our history of it was lost"


@dataclass(frozen=True, slots=True)
class AdoptionResult:
    """The result for one reference."""

    reference: str
    user_id: str
    result: str
    """`adopted`, `known` (there is such a withdrawal already) or `refused`."""
    detail: str
    withdrawal_id: str | None = None
    amount: int | None = None
    currency: str | None = None
    adjusted: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `--adopt`."""
    parser.add_argument(
        "--adopt",
        metavar="FILE|REFERENCE",
        help="book payouts that only the bank knows: one reference, or a file of lines `reference user`",
    )
    parser.add_argument(
        "--user", metavar="U", help="whose payout it is (of a file: where a line names nobody)"
    )
    parser.add_argument("--reason", default=REASON, help="written down with each")


def wanted(text: str, user: str | None) -> dict[str, str]:
    """Return the references to adopt and their users. Raises OpsError, naming what can't be understood."""
    path = Path(text)
    if not path.is_file():
        if user is None:
            raise OpsError("say whose payout it is: --user U (or name a file of lines `reference user`)")
        return {_reference(text): _user(user)}
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        reference, _, whose = line.strip().partition(" ")
        if not reference or reference.startswith("#"):
            continue
        whose = whose.strip() or user or ""
        try:
            reference, whose = _reference(reference), _user(whose)
        except OpsError as error:
            raise OpsError(f"{path}, line {number}: {error}") from None
        if found.setdefault(reference, whose) != whose:
            raise OpsError(f"{path}, line {number}: {reference} has two users")
    if not found:
        raise OpsError(f"{path} names no reference")
    return found


def _reference(text: str) -> str:
    try:
        UUID(text)
    except ValueError:
        raise OpsError(f"{text!r} is neither a file nor a reference") from None
    return text


def _user(text: str) -> str:
    return require(text, UserIdText, "A user's id")


async def adopt_all(
    settings: Settings, users: Mapping[str, str], by: str, reason: str, within_s: float = BOOKS_WITHIN_S
) -> list[AdoptionResult]:
    """Adopt these payouts, each in a transaction of its own. Raises AuditImpossible.

    `within_s` is the longest time for finding them in the bank's books, in seconds.
    """
    bank = open_bank(settings.for_bank)
    connection = None
    try:
        entries = await _entries(bank, users, within_s)
        connection = await connect(settings.database)
        results = []
        for reference, user in users.items():
            found = await _look_up(bank, reference, user, entries.get(reference))
            results.append(
                found if isinstance(found, AdoptionResult) else await _adopt(connection, found, by, reason)
            )
        return results
    except BooksUnreadable as error:
        raise AuditImpossible(f"the bank's books can't be read: {error}") from error
    except DATABASE_ERRORS as error:
        raise AuditImpossible(f"the database can't take it now: {type(error).__name__}") from error
    finally:
        await bank.close()
        if connection is not None:
            connection.terminate()


async def _entries(bank: Bank, users: Mapping[str, str], within_s: float) -> dict[str, BookEntry]:
    """Read the bank's books until all these references are found."""
    found: dict[str, BookEntry] = {}
    async for page in pages_of(bank, within_s=within_s):
        found |= {entry.reference: entry for entry in page.entries if entry.reference in users}
        if len(found) == len(users):
            break
    return found


async def _look_up(
    bank: Bank, reference: str, user: str, entry: BookEntry | None
) -> BankPayout | AdoptionResult:
    """Ask the bank itself: its books may be behind."""
    if entry is None:
        return AdoptionResult(reference, user, "refused", "the bank's books don't have it")
    order = PayoutOrder(reference, entry.amount, entry.currency, destination_known=False)
    answer = await bank.find(order)
    if isinstance(answer, Paid | Returned):
        return BankPayout(reference, user, answer.payout_id, entry.amount, entry.currency)
    return AdoptionResult(reference, user, "refused", f"the bank does not say that it paid it: {answer}")


async def _adopt(connection: object, payout: BankPayout, by: str, reason: str) -> AdoptionResult:
    adopted = await adopt_payout(connection, payout, by, reason)
    head = (payout.reference, payout.user_id)
    if adopted.user_id != payout.user_id:
        return AdoptionResult(*head, "refused", f"it is withdrawal {adopted.id} of another user here")
    result = "adopted" if adopted.new else "known"
    tail = (str(adopted.id), payout.amount, payout.currency, adopted.adjusted)
    return AdoptionResult(*head, result, adopted.status, *tail)


def run_adopt(args: argparse.Namespace, settings: Settings) -> int:
    """Adopt and tell: 0 all is booked, 1 something was refused."""
    users = wanted(args.adopt, args.user)
    require(args.reason, Reason, "A reason")
    results = asyncio.run(adopt_all(settings, users, operator(args), args.reason, args.within))
    if args.json:
        print(json.dumps({"adoptions": [asdict(result) for result in results]}))
    else:
        spelled = settings.taken_currencies.spelled
        for one in results:
            currency = one.currency or ""
            money = "" if one.amount is None else f", {spelled(one.amount, currency)}"
            lacked = f", {spelled(one.adjusted, currency)} of it by adjustment" if one.adjusted else ""
            print(f"{one.reference}: {one.result}, {one.detail}{money}{lacked} (user {one.user_id})")
    refused = sum(one.result == "refused" for one in results)
    if refused:
        print(f"wbs reconcile: {refused:,} of {len(results):,} were refused", file=sys.stderr)
    return 1 if refused else 0
