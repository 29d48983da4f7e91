"""Invariant 5: the bank's books against our ledger. A payout is paid there if and only if it is completed here."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from db.audit.findings import Findings, Progress
from db.audit.stream import stream
from db.sql import load
from db.strict import one
from wallet.outcomes import is_check

_SQL = load("audit")
_INVARIANT = 5

STRANGE_MAX = 20_000_000
"""Number of payouts at the bank, beyond twice our withdrawals, that an audit takes: each takes some 150 bytes of the
database's disk until the audit ends, and a bank whose books never end must not fill it."""


class TooManyPayouts(Exception):
    """The bank's books hold far more payouts than can be ours."""


class Payout(NamedTuple):
    """An entry of the bank's books. `status` is the bank's word: `paid`, `returned`, `pending`, `declined`."""

    payout_id: str
    reference: str
    amount: int
    currency: str
    status: str
    created_at: datetime
    returned: int | None = None
    """Minor units that came back; None if the bank doesn't say."""


async def audit_bank(
    connection: Any,
    pages: AsyncIterator[Sequence[Payout]],
    findings: Findings,
    progress: Progress,
    *,
    told_all: bool = False,
) -> None:
    """Check invariant 5 against the bank's books, given page by page.

    `told_all` means that everything the bank knows was recorded a moment ago, so a return that is only in the bank's
    books is a violation and not news on its way. Raises TooManyPayouts.
    """
    started, ours = one(await connection.fetch(_SQL["withdrawals_now"]))
    await connection.execute(_SQL["create_bank_payouts"])
    await connection.execute(_SQL["forget_bank_payouts"])
    read = 0
    async for page in pages:
        of_wallets = [payout for payout in page if not is_check(payout.reference)]
        if of_wallets:
            await connection.execute(_SQL["add_bank_payouts"], *zip(*of_wallets, strict=True))
        read += len(page)
        if read > STRANGE_MAX + 2 * ours:
            raise TooManyPayouts(f"the bank's books hold more than {read:,} payouts, of {ours:,} withdrawals")
        progress(f"the bank's books: {read:,} payouts")
    findings.count("payouts", read)
    await connection.execute(_SQL["analyze_bank_payouts"])
    async with connection.transaction(isolation="repeatable_read"):
        async for _, row in stream(connection, _SQL["bank_payouts"]):
            _judge(row, findings, told_all)
        async for _, row in stream(connection, _SQL["not_at_the_bank"], started):
            name = f"withdrawal {row['id']} of {row['user_id']}"
            findings.add(
                _INVARIANT,
                "not_paid_there",
                name,
                f"{findings.spelled(row['amount'], row['currency'])} paid at the bank",
                f"{row['status']} here, not there",
                amount=row["amount"],
                currency=row["currency"],
            )


_EXPECTED = {
    "paid": ("completed",),
    "returned": ("returned",),
    "declined": ("failed", "returned"),
    "pending": ("processing", "requires_attention"),
}
"""The status of a withdrawal here, once we know the bank's word. (A decline after a payout means: returned.)"""

_ON_ITS_WAY = {
    "paid": ("processing", "requires_attention"),
    "returned": ("processing", "requires_attention", "completed"),
    "declined": ("processing", "requires_attention", "completed"),
    "pending": (),
}
"""Its possible status here until then."""


def _judge(row: Any, findings: Findings, told_all: bool) -> None:
    there = (
        f"{findings.spelled(row['bank_amount'], row['bank_currency'])} {row['bank_status']} as {row['payout_id']} "
        "at the bank"
    )
    if row["id"] is None:
        subject, wrong = f"withdrawal {row['reference']}", [("unknown_here", "a withdrawal of ours")]
    else:
        subject = f"withdrawal {row['id']} of {row['user_id']}"
        wrong = [finding for finding in _differences(row, findings.spelled) if finding is not None]
        if not wrong and _is_on_its_way(row, told_all):
            findings.add_unsettled(f"{subject}: {row['status']} here, {there}")
            return
        if not wrong and row["status"] not in _EXPECTED[row["bank_status"]]:
            wrong = [("status_differs", f"{row['status']} here")]
    for kind, expected in wrong:
        findings.add(
            _INVARIANT,
            kind,
            subject,
            expected,
            there,
            amount=row["bank_amount"],
            currency=row["bank_currency"],
        )


def _differences(row: Any, spelled: Callable[[int, str], str]) -> Iterator[tuple[str, str] | None]:
    """Yield the differences that are wrong in any state: kind and expectation."""
    ours, bank = row["status"], row["bank_status"]
    if row["entries"] > 1:
        yield "paid_twice", f"one payout at the bank, not {row['entries']}"
    if row["namesakes"] > 1:
        yield "payout_id_doubled", f"one payout {row['payout_id']}, not {row['namesakes']}"
    if (row["amount"], row["currency"]) != (row["bank_amount"], row["bank_currency"]):
        yield "amount_differs", spelled(row["amount"], row["currency"])
    if bank not in _EXPECTED:
        yield "unknown_status", "paid, returned, declined or pending"
    elif ours in ("completed", "returned") and row["bank_reference"] != row["payout_id"]:
        yield "payout_differs", f"payout {row['bank_reference']}"
    if bank == "returned" and (row["bank_returned"] or 0) > row["bank_amount"]:
        yield "returned_too_much", f"at most {row['bank_amount']} back, not {row['bank_returned']}"
    elif ours == "returned" and row["returned"] != _came_back(row):
        yield "return_differs", f"{row['returned']} back, not {_came_back(row)}"


def _came_back(row: Any) -> int | None:
    """Return the amount that came back according to the bank: the whole, unless the bank says otherwise."""
    all_of_it = row["bank_returned"] is None or row["bank_status"] == "declined"
    amount: int | None = row["bank_amount"] if all_of_it else row["bank_returned"]
    return amount


def _is_on_its_way(row: Any, told_all: bool) -> bool:
    """Return whether the bank's word is still to be recorded here.

    That is so if it is new, or, for an order that the bank had accepted, until the next look-up. For returned money,
    the time of the bank's word is unknown.
    """
    if row["status"] not in _ON_ITS_WAY[row["bank_status"]]:
        return False
    if row["status"] == "completed":
        return not told_all
    return not row["old"] or bool(row["asked_again"])
