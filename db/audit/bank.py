"""Invariant 5: the bank's books against ours. What was paid there is completed here, and the other way round."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from db.audit.findings import Findings, Progress
from db.audit.stream import stream
from db.sql import load
from wallet.outcomes import is_check

_SQL = load("audit")
_INVARIANT = 5


class Payout(NamedTuple):
    """An entry of the bank's books. `status` is what the bank calls it: `paid`, `returned`, `pending`, `declined`."""

    payout_id: str
    reference: str
    amount: int
    currency: str
    status: str
    created_at: datetime


async def audit_bank(
    connection: Any, pages: AsyncIterator[Sequence[Payout]], findings: Findings, progress: Progress
) -> None:
    """Check invariant 5 against the bank's books, given page by page."""
    started: datetime = await connection.fetchval(_SQL["clock"])
    await connection.execute(_SQL["create_bank_payouts"])
    await connection.execute(_SQL["forget_bank_payouts"])
    read = 0
    async for page in pages:
        of_wallets = [payout for payout in page if not is_check(payout.reference)]
        if of_wallets:
            await connection.execute(_SQL["add_bank_payouts"], *zip(*of_wallets, strict=True))
        read += len(page)
        progress(f"the bank's books: {read:,} payouts")
    findings.count("payouts", read)
    await connection.execute(_SQL["analyze_bank_payouts"])
    async with connection.transaction(isolation="repeatable_read"):
        async for _, row in stream(connection, _SQL["bank_payouts"]):
            _judge(row, findings)
        async for _, row in stream(connection, _SQL["not_at_the_bank"], started):
            name = f"withdrawal {row['id']} of {row['user_id']}"
            findings.add(
                _INVARIANT,
                "not_paid_there",
                name,
                f"{row['amount']} {row['currency']} paid at the bank",
                f"{row['status']} here, not there",
                amount=row["amount"],
                currency=row["currency"],
            )


_EXPECTED = {
    "paid": ("completed",),
    "returned": ("returned",),
    "declined": ("failed",),
    "pending": ("processing", "requires_attention"),
}
"""What a withdrawal is here, once we know what the bank says."""

_ON_ITS_WAY = {
    "paid": ("processing", "requires_attention"),
    "returned": ("processing", "requires_attention", "completed"),
    "declined": ("processing", "requires_attention"),
    "pending": (),
}
"""What it still is before we do. Not for long, but for a return, which may stay unknown until the next round."""


def _judge(row: Any, findings: Findings) -> None:
    there = (
        f"{row['bank_amount']} {row['bank_currency']} {row['bank_status']} as {row['payout_id']} at the bank"
    )

    def add(kind: str, expected: str, found: str = there) -> None:
        findings.add(
            _INVARIANT,
            kind,
            name,
            expected,
            found,
            amount=row["bank_amount"],
            currency=row["bank_currency"],
        )

    if row["id"] is None:
        name = f"withdrawal {row['reference']}"
        add("unknown_here", "a withdrawal of ours", f"unknown here, {there}")
        return
    name = f"withdrawal {row['id']} of {row['user_id']}"
    bank, ours = row["bank_status"], row["status"]
    if row["entries"] > 1:
        add("paid_twice", "one payout at the bank", f"{row['entries']} entries, {there}")
    if row["namesakes"] > 1:
        add("payout_id_doubled", f"one payout {row['payout_id']}", f"{row['namesakes']} of this name")
    if (row["amount"], row["currency"]) != (row["bank_amount"], row["bank_currency"]):
        add("amount_differs", f"{row['amount']} {row['currency']}")
    elif bank in ("paid", "returned") and row["bank_reference"] not in (None, row["payout_id"]):
        add("payout_differs", f"payout {row['bank_reference']}")
    elif bank not in _EXPECTED:
        add("unknown_status", "paid, returned, declined or pending")
    elif ours in _ON_ITS_WAY[bank] and (ours == "completed" or not row["old"]):
        findings.add_unsettled(f"{name}: {ours} here, {there}")
    elif ours not in _EXPECTED[bank]:
        add("status_differs", f"{ours} here")
