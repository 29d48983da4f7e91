"""The audit finds nothing in correct books, compares the bank's, counts all violations and lists the first."""

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from actors.audit import AuditImpossible, run_audit
from db.audit import VIOLATIONS_MAX, Findings, Payout, TooManyPayouts, audit_bank
from runtime.settings import Settings
from tests.integration.audit.conftest import STATES, BankEntry, Made, found_at_bank, found_in_books

IN_THE_MODULES_LOOP = pytest.mark.asyncio(loop_scope="module")


@IN_THE_MODULES_LOOP
async def test_right_books_have_no_violations(
    made: Made, books: asyncpg.Connection, right_bank: list[Payout]
) -> None:
    """Goal: the audit is silent when nothing is wrong, whatever states there are."""
    findings = await found_in_books(books)
    assert findings.violations == []
    assert findings.total() == 0
    assert findings.checked["withdrawals"] == len(STATES)
    assert findings.checked["keys"] == len(made)
    assert (await found_at_bank(books, right_bank)).violations == []


@IN_THE_MODULES_LOOP
async def test_the_banks_books_are_compared(
    books: asyncpg.Connection, right_bank: list[Payout], bank_entry: BankEntry
) -> None:
    """Goal: each way in which the bank's books can differ from ours is a violation that names the withdrawal."""
    completed, too, returned = right_bank
    wrong = {
        "unknown_here": [*right_bank, completed._replace(reference=uuid4().hex, payout_id="x")],
        "unknown_here, by another stack's name": [
            *right_bank,
            completed._replace(reference="0" * 8 + completed.reference[8:], payout_id="x"),
        ],
        "unknown_here, no name of ours": [*right_bank, completed._replace(reference="who", payout_id="x")],
        "status_differs, failed": [*right_bank, bank_entry("failed")],
        "status_differs, cancelled": [*right_bank, bank_entry("cancelled")],
        "status_differs, never called": [*right_bank, bank_entry("pending")],
        "status_differs, failed, pending there": [*right_bank, bank_entry("failed", "pending")],
        "status_differs, pending there": [completed._replace(status="pending"), too, returned],
        "status_differs, never returned": [completed, too, returned._replace(status="paid")],
        "unknown_status": [completed._replace(status="sent"), too, returned],
        "not_paid_there": right_bank[1:],
        "amount_differs": [completed._replace(amount=99), too, returned],
        "amount_differs, currency": [completed._replace(currency="EUR"), too, returned],
        "paid_twice": [*right_bank, completed._replace(payout_id="again")],
        "payout_differs": [completed._replace(payout_id="another"), too, returned],
        "payout_differs, one for two": [completed, too._replace(payout_id=completed.payout_id), returned],
        "payout_id_doubled": [completed, too._replace(payout_id=completed.payout_id), returned],
        "return_differs": [completed, too, returned._replace(returned=1)],
        "returned_too_much": [completed._replace(status="returned", returned=1000), too, returned],
    }
    for name, payouts in wrong.items():
        violations = (await found_at_bank(books, payouts)).violations
        assert all(v.invariant == 5 for v in violations), name
        assert name.split(",")[0] in [v.kind for v in violations], (name, violations)


@IN_THE_MODULES_LOOP
async def test_news_on_its_way_is_no_violation(
    books: asyncpg.Connection, right_bank: list[Payout], bank_entry: BankEntry
) -> None:
    """Goal: a word of the bank that is not recorded yet is listed apart; after a minute it is a violation."""
    completed, too, returned = right_bank
    fresh = bank_entry("processing")
    came_back = [completed._replace(status="returned"), too, returned]
    for payouts in (
        [*right_bank, fresh],
        [*right_bank, fresh._replace(status="declined")],
        [completed._replace(status="declined"), too, returned],
        came_back,
    ):
        findings = await found_at_bank(books, payouts)
        assert findings.violations == []
        assert findings.unsettled_total == len(findings.unsettled) == 1
    old = fresh._replace(created_at=datetime.now(UTC) - timedelta(minutes=2))
    assert (await found_at_bank(books, [*right_bank, old])).violations
    assert (await found_at_bank(books, came_back, told_all=True)).violations


@IN_THE_MODULES_LOOP
async def test_a_bank_may_take_days(
    made: Made, books: asyncpg.Connection, right_bank: list[Payout], bank_entry: BankEntry
) -> None:
    """Goal: what the bank accepted and has not paid is right; once it is, we have until we ask again."""
    old = bank_entry("processing")._replace(created_at=datetime.now(UTC) - timedelta(days=2))
    assert not (await found_at_bank(books, [*right_bank, old._replace(status="pending")])).violations
    accepted = "update withdrawals set accepted_at = now(), next_attempt_at = now() + $2 where id = $1"
    await books.execute(accepted, made["processing"], timedelta(minutes=30))
    findings = await found_at_bank(books, [*right_bank, old])
    assert (findings.violations, findings.unsettled_total) == ([], 1)
    await books.execute(accepted, made["processing"], timedelta(minutes=-2))
    assert (await found_at_bank(books, [*right_bank, old])).violations


@IN_THE_MODULES_LOOP
async def test_all_are_counted_and_the_first_are_named(books: asyncpg.Connection) -> None:
    """Goal: however many are wrong, the totals are true, by kind and currency, and the list stays short."""
    many = 3 * VIOLATIONS_MAX
    await books.execute(
        "insert into wallets (user_id, currency, available, last_at)"
        " select 'user-' || n, case when n % 3 = 0 then 'EUR' else 'USD' end, 5, '-infinity'"
        " from generate_series(1, $1::int) as n",
        many,
    )
    findings = await found_in_books(books)
    assert findings.total(1) == many
    assert len([v for v in findings.violations if v.invariant == 1]) == VIOLATIONS_MAX
    totals = {(t["kind"], t["currency"]): (t["violations"], t["amount"]) for t in findings.totals()}
    euros, dollars = many // 3, many - many // 3
    assert totals == {("balance", "EUR"): (euros, 5 * euros), ("balance", "USD"): (dollars, 5 * dollars)}


@IN_THE_MODULES_LOOP
async def test_books_that_would_fill_the_disk(
    books: asyncpg.Connection, bank_entry: BankEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a bank that names ever more payouts is left before they fill the disk of the database."""
    monkeypatch.setattr("db.audit.bank.STRANGE_MAX", 100)
    read = 0

    async def pages() -> AsyncIterator[list[Payout]]:
        nonlocal read
        while True:
            read += 10
            yield [bank_entry("completed")] * 10

    ours = await books.fetchval("select count(*) from withdrawals")
    with pytest.raises(TooManyPayouts, match=f"of {ours} withdrawals"):
        await audit_bank(books, pages(), Findings(), lambda _: None)
    assert 100 + 2 * ours < read <= 110 + 2 * ours


async def test_exit_codes_and_json(
    connection: asyncpg.Connection, make_settings: Callable[..., Settings]
) -> None:
    """Goal: 0 when right, 1 with violations, 2 when it could not be done; --json is one document each time."""
    report = await run_audit(make_settings(), bank=False)
    assert report.ok
    await connection.execute("insert into wallets (user_id, currency, available) values ('alice', 'USD', 7)")
    report = await run_audit(make_settings(), bank=False)
    document = json.loads(report.as_json())
    assert document["ok"] is False
    assert document["violations_total"] == 1
    assert document["violations"][0]["invariant"] == 1
    assert document["violations"][0]["subject"] == "wallet alice USD"
    assert document["totals"] == [
        {"invariant": 1, "kind": "balance", "currency": "USD", "violations": 1, "amount": 7}
    ]
    with pytest.raises(AuditImpossible, match="bank"):
        await run_audit(make_settings(WBS_BANK_URL="http://127.0.0.1:1"))
    with pytest.raises(AuditImpossible, match="database"):
        await run_audit(make_settings(DATABASE_URL="postgresql://127.0.0.1:1/none"), bank=False)
