"""The audit: all six invariants of the books, checked by reading the tables and nothing else.

It trusts neither triggers nor constraints nor the code that wrote the rows. The books are read in one snapshot,
page by page, so that memory stays bounded however long the history is; a running service is not disturbed.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from db.sql import load
from wallet.withdrawal import END_STATES, Status, is_legal_history

_SQL = load("audit")
_PAGE = 2_000
VIOLATIONS_MAX = 100
"""Violations named by each check; a check that finds as many may have found more."""


class Violation(NamedTuple):
    """One thing that is wrong: which invariant (1 to 6), where, what was expected and what was found."""

    invariant: int
    subject: str
    expected: str
    found: str


class Payout(NamedTuple):
    """An entry of the bank's books. `status` is `paid` or `returned`."""

    payout_id: str
    reference: str
    amount: int
    currency: str
    status: str
    created_at: datetime


@dataclass(slots=True)
class Findings:
    """What the audit has seen so far. `unsettled` is news from the bank that is still on its way to us."""

    violations: list[Violation] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)

    def add(self, invariant: int, subject: str, expected: object, found: object) -> None:
        """Name a violation."""
        self.violations.append(Violation(invariant, subject, str(expected), str(found)))

    def count(self, what: str, number: int) -> None:
        """Add to the number of things looked at."""
        self.checked[what] = self.checked.get(what, 0) + number


Progress = Callable[[str], None]


@asynccontextmanager
async def auditor(database_url: str) -> AsyncIterator[Any]:
    """Open a connection for an audit. Raises OSError or asyncpg.PostgresError if there is no database."""
    connection = await asyncpg.connect(
        database_url, timeout=10, server_settings={"application_name": "wbs audit", "timezone": "UTC"}
    )
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def audit_books(connection: Any, findings: Findings, progress: Progress) -> None:
    """Check invariants 1 to 4 and 6, in one snapshot."""
    async with connection.transaction(isolation="repeatable_read"):
        await connection.execute(_SQL["open_by_wallet"])
        await connection.execute(_SQL["index_open_by_wallet"])
        sizes = {row["name"]: row["rows"] for row in await connection.fetch(_SQL["sizes"])}
        await _wallets(connection, findings, _counter(progress, "wallets", sizes))
        progress("single transfers")
        await _transfers(connection, findings)
        await _withdrawals(connection, findings, _counter(progress, "withdrawals", sizes))
        progress("idempotency keys")
        await _keys(connection, findings)


def _counter(progress: Progress, what: str, sizes: dict[str, int]) -> Callable[[int], None]:
    about = sizes.get(what, 0)

    def tell(done: int) -> None:
        progress(f"{what}: {done:,} of about {max(about, done):,}")

    return tell


async def _wallets(connection: Any, findings: Findings, tell: Callable[[int], None]) -> None:
    """Invariants 1, 2 and 3: balances are the sums of transfers, of locks, of open withdrawals, and not negative."""
    after, done = ("", ""), 0
    while rows := await connection.fetch(_SQL["wallet_sums"], *after, _PAGE):
        for row in rows:
            _wallet(row, findings)
            findings.count("transfers", row["transfers"])
        after = (rows[-1]["user_id"], rows[-1]["currency"])
        done += len(rows)
        tell(done)
    findings.count("wallets", done)


def _wallet(row: Any, findings: Findings) -> None:
    name = f"wallet {row['user_id']} {row['currency']}"
    for account in ("available", "locked", "held"):
        if row[account] != row[f"{account}_sum"]:
            findings.add(1, name, f"{account} {row[f'{account}_sum']} by its transfers", row[account])
        if row[account] < 0:
            findings.add(3, name, f"{account} at least 0", row[account])
    if row["transactions"] != row["transactions_sum"]:
        findings.add(1, name, f"{row['transactions_sum']} transactions", row["transactions"])
    if row["held"] != row["open_amount"]:
        findings.add(2, name, f"held {row['open_amount']} by its open withdrawals", row["held"])
    if row["locked"] != row["locks"]:
        findings.add(2, name, f"locked {row['locks']} by its locks", row["locked"])
    if row["locked_charges"] != row["locks"]:
        findings.add(2, name, f"locks of {row['locked_charges']} by its charges not released", row["locks"])


async def _transfers(connection: Any, findings: Findings) -> None:
    """What single transfers must be, whatever their wallet says."""
    for row in await connection.fetch(_SQL["transfers_without_wallet"], VIOLATIONS_MAX):
        findings.add(
            1, f"wallet {row['user_id']} {row['currency']}", "a wallet", "transfers without a wallet"
        )
    for row in await connection.fetch(_SQL["open_without_wallet"], VIOLATIONS_MAX):
        name = f"wallet {row['user_id']} {row['currency']}"
        findings.add(2, name, f"held {row['open_amount']}", "no wallet")
    for row in await connection.fetch(_SQL["bad_transfers"], VIOLATIONS_MAX):
        found = f"{row['kind']} {row['debit_account']} → {row['credit_account']} {row['amount']}"
        findings.add(1, f"transfer {row['id']} of {row['user_id']}", "a legal transfer", found)
    for row in await connection.fetch(_SQL["bad_releases"], VIOLATIONS_MAX):
        found = f"{row['amount']} at {row['created_at']}"
        expected = f"{row['charged']} not before {row['release_at']}"
        findings.add(2, f"release {row['id']} of charge {row['reference']}", expected, found)
    for row in await connection.fetch(_SQL["twice_ended"], VIOLATIONS_MAX):
        findings.add(4, f"withdrawal or charge {row['reference']}", "one end", " and ".join(row["kinds"]))
    for row in await connection.fetch(_SQL["transfers_without_withdrawal"], VIOLATIONS_MAX):
        findings.add(
            4, f"transfer {row['id']}", f"a withdrawal {row['reference']}", f"{row['kind']} without one"
        )


async def _withdrawals(connection: Any, findings: Findings, tell: Callable[[int], None]) -> None:
    """Invariants 3 and 4: legal histories, and the transfers that go with the state."""
    after, done = UUID(int=0), 0
    while rows := await connection.fetch(_SQL["withdrawals"], after, _PAGE):
        for row in rows:
            _withdrawal(row, findings)
        after = rows[-1]["id"]
        done += len(rows)
        tell(done)
    findings.count("withdrawals", done)


_TRANSFERS_OF = {
    Status.PENDING: ["reserve"],
    Status.PROCESSING: ["reserve"],
    Status.REQUIRES_ATTENTION: ["reserve"],
    Status.COMPLETED: ["payout", "reserve"],
    Status.FAILED: ["refund", "reserve"],
    Status.CANCELLED: ["refund", "reserve"],
    Status.RETURNED: ["payout", "reserve", "return"],
}


def _withdrawal(row: Any, findings: Findings) -> None:
    name = f"withdrawal {row['id']} of {row['user_id']}"
    path = row["path"] or []
    known = set(Status)
    if row["status"] not in known or any(state not in known for state in path):
        findings.add(3, name, "known states", f"{row['status']}, {path}")
        return
    states = [Status(state) for state in path]
    if not is_legal_history(states):
        findings.add(3, name, "a legal path", " → ".join(path) or "no history")
    elif states[-1] != row["status"] or len(states) != row["history_length"]:
        findings.add(3, name, f"a history that ends in {row['status']}", " → ".join(path))
    if len({state for state in states if state in END_STATES - {Status.RETURNED}}) > 1:
        findings.add(3, name, "one end state", " → ".join(path))
    kinds = sorted(row["kinds"] or [])
    if kinds != _TRANSFERS_OF[Status(row["status"])]:
        expected = f"{row['status']}: {' + '.join(_TRANSFERS_OF[Status(row['status'])])}"
        findings.add(4, name, expected, " + ".join(kinds) or "no transfers")
    if any(amount != row["amount"] for amount in row["amounts"] or []):
        findings.add(4, name, f"transfers of {row['amount']}", row["amounts"])


async def _keys(connection: Any, findings: Findings) -> None:
    """Invariant 6: keys and movements, one to one."""
    for row in await connection.fetch(_SQL["keys_without_movement"], VIOLATIONS_MAX):
        name = f"key {row['key_start']}… of {row['client']}"
        findings.add(6, name, f"movement {row['movement_id']} of {row['user_id']}", "none")
    for row in await connection.fetch(_SQL["movements_with_two_keys"], VIOLATIONS_MAX):
        findings.add(
            6, f"movement {row['movement_id']} of {row['user_id']}", "one key", f"{row['keys']} keys"
        )
    counts = await connection.fetchrow(_SQL["counts"])
    findings.count("keys", counts["keys"])
    if counts["keys"] != counts["movements"]:
        for row in await connection.fetch(_SQL["movements_without_key"], VIOLATIONS_MAX):
            findings.add(6, f"{row['kind']} {row['id']} of {row['user_id']}", "an idempotency key", "none")


async def audit_bank(
    connection: Any, pages: AsyncIterator[Sequence[Payout]], findings: Findings, progress: Progress
) -> None:
    """Check invariant 5 against the bank's books, given page by page."""
    started: datetime = await connection.fetchval(_SQL["clock"])
    await connection.execute(_SQL["create_bank_payouts"])
    read = 0
    async for page in pages:
        if page:
            await connection.execute(_SQL["add_bank_payouts"], *zip(*page, strict=True))
        read += len(page)
        progress(f"the bank's books: {read:,} payouts")
    findings.count("payouts", read)
    await connection.execute(_SQL["index_bank_payouts"])
    for row in await connection.fetch(_SQL["bank_payouts_doubled"], VIOLATIONS_MAX):
        findings.add(5, f"withdrawal {row['reference']}", "one payout at the bank", row["payouts"])
    _bank_rows(await connection.fetch(_SQL["bank_payouts_wrong"], VIOLATIONS_MAX), findings)
    for row in await connection.fetch(_SQL["completed_without_payout"], started, VIOLATIONS_MAX):
        name = f"withdrawal {row['id']} of {row['user_id']}"
        findings.add(5, name, f"{row['amount']} paid at the bank", f"{row['status']} here, not paid there")


def _bank_rows(rows: Iterable[Any], findings: Findings) -> None:
    for row in rows:
        name = f"withdrawal {row['reference']}"
        there = f"{row['bank_amount']} {row['bank_currency']} {row['bank_status']} as {row['payout_id']}"
        if row["status"] is None:
            findings.add(5, name, "a withdrawal of ours", f"unknown here, {there} at the bank")
        elif (row["amount"], row["currency"]) != (row["bank_amount"], row["bank_currency"]):
            findings.add(5, name, f"{row['amount']} {row['currency']}", f"{there} at the bank")
        elif row["bank_reference"] not in (None, row["payout_id"]):
            findings.add(5, name, f"payout {row['bank_reference']}", f"{there} at the bank")
        elif row["status"] in ("processing", "requires_attention") and not row["old"]:
            findings.unsettled.append(f"{name}: {row['status']} here, {there} at the bank")
        elif (row["status"], row["bank_status"]) == ("completed", "returned"):
            findings.unsettled.append(f"{name}: completed here, {there} at the bank")
        else:
            findings.add(5, name, f"{row['status']} here", f"{there} at the bank")
