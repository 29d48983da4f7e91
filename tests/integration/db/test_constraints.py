"""Writes that the database itself refuses from any session: its last word on the books."""

from datetime import UTC, datetime
from itertools import product
from uuid import UUID, uuid4

import asyncpg
import pytest

from db.errors import translate
from db.ledger import Ledger
from tests.integration.db.conftest import accepted, charge, withdraw
from wallet.errors import BalanceLimitExceeded, IllegalMove, InsufficientFunds, Unavailable
from wallet.ledger import ACCOUNTS, Account
from wallet.money import AMOUNT_MAX
from wallet.withdrawal import Status, can_move

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize(("source", "target"), list(product(Status, Status)))
async def test_the_trigger_knows_the_same_moves(
    connection: asyncpg.Connection, source: Status, target: Status
) -> None:
    """Goal: the database allows exactly the transitions that wallet.withdrawal allows: all 49 pairs are tried."""
    id = uuid4()
    paid = {Status.COMPLETED, Status.RETURNED}
    await connection.execute(
        "insert into withdrawals (id, user_id, currency, amount, status, bank_reference,"
        " next_attempt_at, ring_at, created_at, updated_at)"
        " values ($1, 'ann', 'USD', 1, $2, $3, $4, $4, $4, $4)",
        id,
        source.value,
        "p" if source in paid else None,
        NOW,
    )
    move = connection.execute(
        "update withdrawals set status = $2, bank_reference = $3 where id = $1",
        id,
        target.value,
        "p" if target in paid else None,
    )
    if can_move(source, target) or source is target:
        assert await move == "UPDATE 1"
    else:
        with pytest.raises(asyncpg.CheckViolationError) as refusal:
            await move
        assert refusal.value.constraint_name == "withdrawals_legal_move"
        assert isinstance(translate(refusal.value), IllegalMove)


@pytest.mark.parametrize(
    "statement", ["update transfers set amount = 1", "delete from transfers", "truncate transfers"]
)
async def test_transfers_are_append_only(
    ledger: Ledger, connection: asyncpg.Connection, statement: str
) -> None:
    """Goal: rows of the ledger stay there: UPDATE, DELETE and TRUNCATE are refused even to the owner."""
    await ledger.submit(charge(5))
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await connection.execute(statement)
    assert await connection.fetchval("select count(*) from transfers") == 1


INSERT_TRANSFER = (
    "insert into transfers (id, user_id, currency, kind, debit_account, credit_account, amount, total_after,"
    " reference, release_at, created_at) values ($1, 'ann', 'USD', $2, $3, $4, $5, 0, $6, $7, $8)"
)


async def _insert_transfer(
    connection: asyncpg.Connection,
    kind: str,
    debit: str,
    credit: str,
    amount: int = 1,
    reference: UUID | None = None,
) -> None:
    locked = NOW if credit == "locked" else None
    await connection.execute(
        INSERT_TRANSFER, uuid4(), kind, debit, credit, amount, reference or uuid4(), locked, NOW
    )


async def test_only_the_rows_of_the_design(connection: asyncpg.Connection) -> None:
    """Goal: of all kinds, debits and credits only the design's combinations can be written."""
    legal = {(kind.value, debit.value, credit.value) for kind, (debit, credit) in ACCOUNTS.items()}
    legal |= {("charge", "funding", "locked"), ("adjustment", "available", "funding")}
    legal |= {("receive", "peer", "locked"), ("send", "locked", "peer"), ("reversal", "locked", "funding")}
    written = set()
    kinds = [*(kind.value for kind in ACCOUNTS), "gift"]
    for row in product(kinds, Account, Account):
        try:
            await _insert_transfer(connection, *row)
        except asyncpg.CheckViolationError:
            continue
        written.add((row[0], row[1].value, row[2].value))
    assert written == legal


@pytest.mark.parametrize("amount", [0, -1])
async def test_amounts_are_positive(connection: asyncpg.Connection, amount: int) -> None:
    """Goal: no row moves nothing or backwards."""
    with pytest.raises(asyncpg.CheckViolationError):
        await _insert_transfer(connection, "charge", "funding", "available", amount)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("payout", "payout"),
        ("payout", "refund"),
        ("refund", "refund"),
        ("release", "release"),
        ("return", "return"),
        ("void", "void"),
    ],
)
async def test_money_ends_once(connection: asyncpg.Connection, first: str, second: str) -> None:
    """Goal: held money is paid or given back once, a lock is released once, a payout returned once."""
    rows = {kind.value: (kind.value, debit.value, credit.value) for kind, (debit, credit) in ACCOUNTS.items()}
    reference = uuid4()
    await _insert_transfer(connection, *rows[first], reference=reference)
    with pytest.raises(asyncpg.UniqueViolationError) as refusal:
        await _insert_transfer(connection, *rows[second], reference=reference)
    assert isinstance(translate(refusal.value), Unavailable)  # tried again, the batch sees what happened


@pytest.mark.parametrize("account", ["available", "locked", "held"])
async def test_no_balance_below_zero(ledger: Ledger, connection: asyncpg.Connection, account: str) -> None:
    """Goal: even a fault in the decision can't make a balance negative."""
    await ledger.submit(charge(5))
    with pytest.raises(asyncpg.CheckViolationError) as refusal:
        await connection.execute(f"update wallets set {account} = {account} - 6")
    assert isinstance(translate(refusal.value), InsufficientFunds)


async def test_no_total_above_the_limit(ledger: Ledger, connection: asyncpg.Connection) -> None:
    """Goal: even a fault in the decision can't bring a total near an overflow."""
    await ledger.submit(charge(AMOUNT_MAX))
    with pytest.raises(asyncpg.CheckViolationError) as refusal:
        await connection.execute("update wallets set held = held + (2::bigint ^ 60)::bigint")
    assert isinstance(translate(refusal.value), BalanceLimitExceeded)


@pytest.mark.parametrize(
    "values", [("", "USD"), ("u" * 129, "USD"), ("ann", "usd"), ("ann", "US"), ("ann", "USDT")]
)
async def test_names_of_wallets(connection: asyncpg.Connection, values: tuple[str, str]) -> None:
    """Goal: a wallet that no request may name can't be created; the error does not claim a lack of funds."""
    with pytest.raises(asyncpg.CheckViolationError) as refusal:
        await connection.execute("insert into wallets (user_id, currency) values ($1, $2)", *values)
    assert not isinstance(translate(refusal.value), InsufficientFunds)


async def test_a_hold_ends_once(connection: asyncpg.Connection) -> None:
    """Goal: whatever a hold has become, it is never changed again."""
    for status, captured, transfer_id in (
        ("captured", 3, uuid4()),
        ("voided", 0, None),
        ("expired", 0, None),
    ):
        id = uuid4()
        await connection.execute(
            "insert into holds (id, user_id, currency, amount, created_at) values ($1, 'ann', 'USD', 5, $2)",
            id,
            NOW,
        )
        end = "update holds set status = $2, captured = $3, transfer_id = $4, ended_at = $5 where id = $1"
        await connection.execute(end, id, status, captured, transfer_id, NOW)
        for again in (status, "open"):
            with pytest.raises(asyncpg.CheckViolationError):
                await connection.execute(end, id, again, captured, transfer_id, NOW)


async def test_counters_keep_within_what_they_undo(connection: asyncpg.Connection) -> None:
    """Goal: even a fault in the decision can't reverse more than there was, or capture more than was held."""
    id = uuid4()
    await connection.execute(
        "insert into transfer_legs (transfer_id, from_user_id, leg, to_user_id, currency, amount, receive_id)"
        " values ($1, 'ann', 1, 'bob', 'USD', 5, $1)", id,
    )  # fmt: skip
    await connection.execute("insert into charge_reversals values ($1, 'ann', 5, 5)", id)
    await connection.execute(
        "insert into holds (id, user_id, currency, amount, created_at) values ($1, 'ann', 'USD', 5, $2)",
        id,
        NOW,
    )
    for statement in (
        "update transfer_legs set reversed = 6",
        "update transfer_legs set reversed = -1",
        "update charge_reversals set reversed = 6",
        "update holds set status = 'captured', captured = 6, transfer_id = id, ended_at = now()",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(statement)


async def test_completed_names_its_payout(ledger: Ledger, connection: asyncpg.Connection) -> None:
    """Goal: a withdrawal is completed with the bank's reference or not at all."""
    await ledger.submit(charge(5))
    await accepted(ledger, withdraw(5))
    await connection.execute("update withdrawals set status = 'processing'")
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute("update withdrawals set status = 'completed'")
