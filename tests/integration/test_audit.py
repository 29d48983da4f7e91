"""The audit finds what is wrong: one planted error of each kind, and nothing in books that are right."""

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from db.audit import Findings, Payout, audit_bank, audit_books
from db.ledger import Ledger
from db.withdrawals import Withdrawals
from ops import audit as audit_command
from tests.locks import in_a_month
from wallet.commands import Charge, Withdraw
from wallet.config import Settings
from wallet.outcomes import Declined, OutcomeUnknown, Paid

USER = "alice"


def key() -> str:
    return uuid4().hex


async def withdraw(ledger: Ledger, amount: int = 100) -> UUID:
    recorded = await ledger.submit(Withdraw("default", key(), USER, "USD", amount))
    return recorded.receipt.id


@pytest_asyncio.fixture
async def books(ledger: Ledger, withdrawals: Withdrawals) -> dict[str, UUID]:
    """Books with something in every state; returns the withdrawals by state."""
    await ledger.submit(Charge("default", key(), USER, "USD", 10_000))
    await ledger.submit(Charge("default", key(), USER, "USD", 50, release_at=in_a_month()))
    names = ("pending", "cancelled", "processing", "completed", "failed", "returned")
    made = {name: await withdraw(ledger) for name in names}
    await withdrawals.cancel(made["cancelled"])
    for name in ("processing", "completed", "failed", "returned"):
        attempt = await withdrawals.begin_attempt(made[name], USER)
        assert attempt is not None
        outcome = {"processing": OutcomeUnknown("timeout"), "failed": Declined("no_such_account")}.get(
            name, Paid(f"payout-{name}")
        )
        await withdrawals.settle(attempt, outcome)
    await withdrawals.return_(made["returned"], "payout-returned", 100, "USD")
    return made


def bank_entry(withdrawal: UUID, name: str, *, amount: int = 100, status: str = "paid") -> Payout:
    return Payout(f"payout-{name}", str(withdrawal), amount, "USD", status, datetime.now(UTC))


def right_bank(books: dict[str, UUID]) -> list[Payout]:
    return [
        bank_entry(books["completed"], "completed"),
        bank_entry(books["returned"], "returned", status="returned"),
    ]


async def found_by_books(connection: asyncpg.Connection) -> Findings:
    findings = Findings()
    await audit_books(connection, findings, lambda _: None)
    return findings


async def found_by_bank(connection: asyncpg.Connection, payouts: list[Payout]) -> Findings:
    async def pages() -> AsyncIterator[list[Payout]]:
        yield payouts
        yield []

    findings = Findings()
    await audit_bank(connection, pages(), findings, lambda _: None)
    return findings


async def test_right_books_have_no_violations(books: dict[str, UUID], connection: asyncpg.Connection) -> None:
    """The audit is silent when nothing is wrong, whatever states there are."""
    findings = await found_by_books(connection)
    assert findings.violations == []
    assert findings.checked["withdrawals"] == 6
    assert (await found_by_bank(connection, right_bank(books))).violations == []


ANY_TRIGGER = "set session_replication_role = replica"
"""As a superuser: no trigger fires, as if somebody had got around them."""

PLANTED = {
    "held without a reserve": ("update wallets set held = held + 1", 1, "wallet alice USD"),
    "a balance without its transfer": (
        "update wallets set available = available + 1",
        1,
        "wallet alice USD",
    ),
    "a transfer without its balance": (
        "insert into transfers values (gen_random_uuid(), 'alice', 'USD', 'charge', 'funding', 'available', 5, 5,"
        " gen_random_uuid(), null, null, now())",
        1,
        "wallet alice USD",
    ),
    "transfers without a wallet": (
        "insert into transfers values (gen_random_uuid(), 'bob', 'USD', 'charge', 'funding', 'available', 5, 5,"
        " gen_random_uuid(), null, null, now())",
        1,
        "wallet bob USD",
    ),
    "a changed amount": (
        "update transfers set amount = amount + 7 where kind = 'charge'",
        1,
        "wallet alice USD",
    ),
    "money held for nothing": (
        "update withdrawals set status = 'failed' where status = 'pending'",
        2,
        "wallet alice USD",
    ),
    "a lost lock": ("delete from locks", 2, "wallet alice USD"),
    "a release before its time": (
        "insert into transfers select gen_random_uuid(), user_id, currency, 'release', 'locked', 'available', amount,"
        " 0, id, null, null, now() from transfers where credit_account = 'locked'",
        2,
        "release",
    ),
    "a balance below zero": ("update wallets set locked = -50", 3, "wallet alice USD"),
    "a history with two ends": (
        "insert into withdrawal_history select user_id, id, 4, 'failed', now(), 'x' from withdrawals"
        " where status = 'completed'",
        3,
        "withdrawal",
    ),
    "a history cut short": ("delete from withdrawal_history where seq = 2", 3, "withdrawal"),
    "a state without its history": (
        "update withdrawals set status = 'cancelled' where status = 'pending'",
        3,
        "withdrawal",
    ),
    "paid twice": (
        "insert into transfers select gen_random_uuid(), user_id, currency, 'payout', 'held', 'bank', amount, 0,"
        " reference, null, null, now() from transfers where kind = 'payout'",
        4,
        "withdrawal",
    ),
    "completed without a payout": ("delete from transfers where kind = 'payout'", 4, "withdrawal"),
    "a payout without a withdrawal": (
        "insert into transfers values (gen_random_uuid(), 'alice', 'USD', 'payout', 'held', 'bank', 5, 5,"
        " gen_random_uuid(), null, null, now())",
        4,
        "transfer",
    ),
    "a payout of another amount": ("update transfers set amount = 99 where kind = 'payout'", 4, "withdrawal"),
    "a key without a movement": (
        "update idempotency_keys set movement_id = gen_random_uuid() where key ="
        " (select min(key) from idempotency_keys)",
        6,
        "key",
    ),
    "two keys for one movement": (
        "insert into idempotency_keys select client, key || 'x', fingerprint, user_id, currency, movement_id"
        " from idempotency_keys limit 1",
        6,
        "movement",
    ),
    "a movement without a key": (
        "delete from idempotency_keys where key = (select min(key) from idempotency_keys)",
        6,
        "",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
async def test_a_planted_error_is_named(
    name: str, books: dict[str, UUID], connection: asyncpg.Connection
) -> None:
    """Whoever gets around constraints and triggers is found out, and told where."""
    statement, invariant, subject = PLANTED[name]
    await connection.execute(ANY_TRIGGER)
    for constraint in ("wallets_locked_check", "wallets_total_limit"):
        await connection.execute(f"alter table wallets drop constraint {constraint}")
    await connection.execute("alter table withdrawals drop constraint withdrawals_completed")
    for index in ("transfers_end_once", "transfers_return_once"):
        await connection.execute(f"drop index {index}")
    await connection.execute("alter table transfers disable trigger all")
    await connection.execute(statement)
    violations = (await found_by_books(connection)).violations
    assert any(v.invariant == invariant and v.subject.startswith(subject) for v in violations), violations


async def test_the_banks_books_are_compared(books: dict[str, UUID], connection: asyncpg.Connection) -> None:
    """Each way in which the bank's books can differ from ours is a violation that names the withdrawal."""
    right = right_bank(books)
    wrong = {
        "unknown here": [*right, bank_entry(uuid4(), "x")],
        "paid there, failed here": [*right, bank_entry(books["failed"], "x")],
        "paid there, cancelled here": [*right, bank_entry(books["cancelled"], "x")],
        "paid there, never called from here": [*right, bank_entry(books["pending"], "x")],
        "completed here, not paid there": right[1:],
        "another amount": [bank_entry(books["completed"], "completed", amount=99), right[1]],
        "paid twice there": [*right, bank_entry(books["completed"], "again")],
        "returned here only": [right[0], right[1]._replace(status="paid")],
        "not one of our names": [*right, right[0]._replace(reference="who knows")],
    }
    for name, payouts in wrong.items():
        violations = (await found_by_bank(connection, payouts)).violations
        assert violations, name
        assert all(v.invariant == 5 for v in violations), name
        await connection.execute("drop table bank_payouts")


async def test_news_on_its_way_is_no_violation(
    books: dict[str, UUID], connection: asyncpg.Connection
) -> None:
    """Paid there a moment ago and open here is how every payout looks in between; after a minute it is wrong."""
    fresh = bank_entry(books["processing"], "processing")
    findings = await found_by_bank(connection, [*right_bank(books), fresh])
    assert findings.violations == []
    assert len(findings.unsettled) == 1
    await connection.execute("drop table bank_payouts")
    old = fresh._replace(created_at=datetime.now(UTC) - timedelta(minutes=2))
    assert (await found_by_bank(connection, [*right_bank(books), old])).violations


async def test_exit_codes_and_json(
    books: dict[str, UUID],
    connection: asyncpg.Connection,
    make_settings: Callable[..., Settings],
) -> None:
    """0 when right, 1 with violations, 2 when it could not be done; --json is one document each time."""
    report = await audit_command.run_audit(make_settings(), bank=False)
    assert report.ok
    await connection.execute("update wallets set available = available + 1")
    report = await audit_command.run_audit(make_settings(), bank=False)
    document = json.loads(report.as_json())
    assert document["ok"] is False
    assert document["violations_total"] == 1
    assert document["violations"][0]["invariant"] == 1
    assert document["violations"][0]["subject"] == "wallet alice USD"
    with pytest.raises(audit_command.AuditImpossible, match="bank"):
        await audit_command.run_audit(make_settings(WBS_BANK_URL="http://127.0.0.1:1"))
    with pytest.raises(audit_command.AuditImpossible, match="database"):
        await audit_command.run_audit(make_settings(DATABASE_URL="postgresql://127.0.0.1:1/none"), bank=False)
