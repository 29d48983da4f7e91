"""Books with something in every state, made once by the service's own code; each test may spoil them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from db.audit import Findings, Payout, audit_bank, audit_books
from db.ledger import Ledger
from db.reconciliation import WithdrawalRow
from db.releases import release_matured
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from tests.conftest import PATIENT, copy_of, execute, with_database
from tests.locks import in_a_month, in_an_hour, mature
from wallet.adjustments import Adjust
from wallet.commands import Charge, Leg, MakeTransfer, PlaceHold, Withdraw
from wallet.follow_up_commands import CaptureHold, ReverseCharge, ReverseTransfer, VoidHold
from wallet.outcomes import Declined, OutcomeUnknown, Paid, PayOutcome, Returned
from wallet.receipts import HoldReceipt

USER = "alice"
BOOKS = "wbs_test_audited"

STATES = (
    "pending",
    "cancelled",
    "processing",
    "requires_attention",
    "completed",
    "completed_too",
    "failed",
    "returned",
)
Made = dict[str, UUID]
"""Identifiers of what was made: withdrawals by their state, all else by its name. Each has a key."""


def key() -> str:
    return uuid4().hex


async def make_books(url: str) -> Made:
    """Make a row of every kind that the ledger can have; return the identifiers."""
    settings = Settings.from_env({**PATIENT, "DATABASE_URL": url, "WBS_RETRY_ROUNDS": "2"})
    ledger, withdrawals = Ledger(settings), Withdrawals(settings)
    ledger.start()
    withdrawals.start()
    connection = await asyncpg.connect(url)
    try:
        made = {
            "released": await charge(ledger, 30, release_at=in_an_hour()),
            "funds": await charge(ledger, 5_000, user="carol"),
            "released_transfer": await transfer(ledger, Leg("dave", 70, in_an_hour())),
            "expired": await hold(ledger, 90, in_an_hour()),
        }
        await mature(connection)
        await release_matured(connection)
        made |= {
            "charge": await charge(ledger, 10_000, metadata='{"order": 7}'),
            "locked": await charge(ledger, 50, release_at=in_a_month()),
            "locked_too": await charge(ledger, 60, release_at=in_a_month()),
            "euros": await charge(ledger, 500, currency="EUR"),
            "other": await charge(ledger, 700, user="bob"),
            "other_locked": await charge(ledger, 50, user="bob", release_at=in_a_month()),
        }
        made |= await make_transfers(ledger)
        made |= await make_holds(ledger)
        made |= await make_reversals(ledger, made)
        made |= {
            "adjusted": await adjustment(ledger, 35),
            "taken": await adjustment(ledger, -15, proposed_by="eve"),
        }
        for number, state in enumerate(STATES):
            request = Withdraw("default", key(), USER, "USD", 100 + number, '{"iban": "X"}', '{"n": 1}')
            made[state] = (await ledger.submit(request)).receipt.id
        await withdrawals.cancel(made["cancelled"])
        for state in STATES[2:]:
            await move(withdrawals, made[state], state, connection)
        returned = 100 + STATES.index("returned")
        known = WithdrawalRow(made["returned"], USER, "USD", returned, "completed", 1, "payout-returned")
        await withdrawals.learn(known, Returned("payout-returned", returned))
    finally:
        await connection.close()
        await ledger.stop()
        await withdrawals.stop()
    return made


async def make_transfers(ledger: Ledger) -> Made:
    """Transfers with one leg and with several, some of them locked."""
    return {
        "simple": await transfer(ledger, Leg("dave", 50)),
        "transfer": await transfer(
            ledger, Leg("dave", 200), Leg("erin", 100, in_a_month()), Leg("dave", 30), metadata='{"order": 9}'
        ),
        "escrow": await transfer(ledger, Leg("erin", 120, in_a_month())),
    }


async def make_holds(ledger: Ledger) -> Made:
    """A hold in each state, and the captures."""
    made = {
        "open": await hold(ledger, 110),
        "expiring": await hold(ledger, 111, in_a_month()),
        "captured": await hold(ledger, 112),
        "captured_in_part": await hold(ledger, 113, in_a_month()),
        "voided": await hold(ledger, 114, in_a_month()),
    }
    await ledger.follow_up(VoidHold(made["voided"]))
    whole = CaptureHold("default", key(), made["captured"], to_user_id="erin")
    part = CaptureHold(
        "default",
        key(),
        made["captured_in_part"],
        (Leg("dave", 40), Leg("erin", 20, in_a_month())),
        by="shop",
    )
    for name, command in ("capture", whole), ("capture_in_part", part):
        receipt = (await ledger.follow_up(command)).receipt
        assert isinstance(receipt, HoldReceipt)
        assert receipt.transfer_id is not None
        made[name] = receipt.transfer_id
    return made


async def make_reversals(ledger: Ledger, made: Made) -> Made:
    """Reversals of charges and transfers, in parts and whole, of what is available and of what is locked."""
    charges = {
        "reversed": await charge(ledger, 300, user="carol"),
        "reversed_locked": await charge(ledger, 130, user="carol", release_at=in_a_month()),
        "undone_locked": await charge(ledger, 140, user="carol", release_at=in_a_month()),
    }

    async def of_charge(name: str, amount: int | None) -> UUID:
        return await reversal(ledger, ReverseCharge("default", key(), charges[name], amount, "a mistake"))

    async def of_transfer(name: str, *legs: tuple[int, int], amount: int | None = None) -> UUID:
        return await reversal(ledger, ReverseTransfer("default", key(), made[name], legs, amount))

    return charges | {
        "reversal": await of_charge("reversed", 100),
        "reversal_of_the_rest": await of_charge("reversed", None),
        "reversal_of_locked": await of_charge("reversed_locked", 40),
        "reversal_of_all_locked": await of_charge("undone_locked", None),
        "reversal_of_legs": await of_transfer("transfer", (2, 30), (1, 60)),
        "reversal_of_leg": await of_transfer("simple", amount=20),
        "reversal_of_escrow": await of_transfer("escrow"),
        "reversal_of_capture": await of_transfer("capture", amount=12),
        "reversal_of_released": await of_transfer("released_transfer"),
    }


async def transfer(ledger: Ledger, *legs: Leg, metadata: str | None = None) -> UUID:
    amount = sum(leg.amount for leg in legs)
    request = MakeTransfer("default", key(), "carol", "USD", amount, legs, metadata)
    return (await ledger.submit(request)).receipt.id


async def hold(ledger: Ledger, amount: int, expires_at: datetime | None = None) -> UUID:
    request = PlaceHold("default", key(), "carol", "USD", amount, expires_at, '{"order": 8}', by="shop")
    return (await ledger.submit(request)).receipt.id


async def reversal(ledger: Ledger, command: ReverseCharge | ReverseTransfer) -> UUID:
    return (await ledger.follow_up(command)).receipt.id


async def adjustment(ledger: Ledger, amount: int, proposed_by: str | None = None) -> UUID:
    command = Adjust("default", key(), "carol", "USD", amount, "a chargeback", "adam", proposed_by)
    return (await ledger.follow_up(command)).receipt.id


async def charge(
    ledger: Ledger, amount: int, user: str = USER, currency: str = "USD", **more: object
) -> UUID:
    request = Charge("default", key(), user, currency, amount, **more)  # type: ignore[arg-type]
    return (await ledger.submit(request)).receipt.id


async def move(
    withdrawals: Withdrawals, withdrawal: UUID, state: str, connection: asyncpg.Connection
) -> None:
    """Take a withdrawal to this state, by way of the bank."""
    outcomes: dict[str, PayOutcome] = {
        "processing": OutcomeUnknown("timeout"),
        "requires_attention": OutcomeUnknown("timeout"),
        "failed": Declined("no_such_account"),
    }
    outcome = outcomes.get(state, Paid(f"payout-{state}"))
    for _ in range(2 if state == "requires_attention" else 1):
        # As if the wait between two rounds were over.
        await connection.execute("update withdrawals set next_attempt_at = now() where id = $1", withdrawal)
        attempt = await withdrawals.begin_attempt(withdrawal, USER)
        assert attempt is not None
        await withdrawals.settle(attempt, outcome)


@pytest.fixture(scope="module")
def made(postgres_url: str, template_database: str) -> Iterator[Made]:
    """The books to copy, and their content."""
    url = with_database(postgres_url, BOOKS)
    drop = f"drop database if exists {BOOKS} with (force)"
    asyncio.run(execute(postgres_url, drop, copy_of(template_database, BOOKS)))
    yield asyncio.run(make_books(url))
    asyncio.run(execute(postgres_url, drop))


@pytest.fixture(scope="module")
def unguarded_url(postgres_url: str, made: Made) -> str:
    """A database with these books in which no trigger or constraint refuses anything."""
    url = with_database(postgres_url, BOOKS)
    asyncio.run(remove_guards(url))
    return url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(unguarded_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A session for all tests of the module: the audit's statements are planned once."""
    connection = await asyncpg.connect(unguarded_url)
    await connection.execute("set session_replication_role = replica")
    yield connection
    await connection.close()


@pytest_asyncio.fixture(loop_scope="module")
async def books(session: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """A connection for spoiling the books: all its changes are undone."""
    undone = session.transaction(isolation="repeatable_read")
    await undone.start()
    yield session
    await undone.rollback()


BankEntry = Callable[..., Payout]


@pytest.fixture
def bank_entry(unguarded_url: str, made: Made) -> BankEntry:
    """`bank_entry("completed", status="paid")`: an entry of the bank's books about what was made for a state."""
    query = "select id, replace(reference::text, '-', '') from withdrawals"
    references = dict(asyncio.run(fetch(unguarded_url, query)))

    def entry(state: str, status: str = "paid") -> Payout:
        reference = references[made[state]]
        return Payout(
            f"payout-{state}", reference, 100 + STATES.index(state), "USD", status, datetime.now(UTC)
        )

    return entry


@pytest.fixture
def right_bank(bank_entry: BankEntry) -> list[Payout]:
    """The bank's books as they should be."""
    return [bank_entry("completed"), bank_entry("completed_too"), bank_entry("returned", "returned")]


async def fetch(url: str, query: str) -> list[asyncpg.Record]:
    """Return the rows of a query."""
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


async def found_in_books(connection: asyncpg.Connection) -> Findings:
    """The audit's findings in our books."""
    findings = Findings()
    await audit_books(connection, findings, lambda _: None)
    return findings


async def found_at_bank(
    connection: asyncpg.Connection, payouts: list[Payout], *, told_all: bool = False
) -> Findings:
    """The audit's findings with these books of the bank."""

    async def pages() -> AsyncIterator[list[Payout]]:
        yield payouts
        yield []

    findings = Findings()
    await audit_bank(connection, pages(), findings, lambda _: None, told_all=told_all)
    return findings


GUARDS = """
select format('alter table %s drop constraint %I cascade', conrelid::regclass, conname)
from pg_constraint where connamespace = 'public'::regnamespace and contype in ('c', 'p', 'u') and conrelid <> 0
union all
select format('drop index %s', indexrelid::regclass) from pg_index
where indisunique and not indisprimary and indrelid::regclass::text in ('transfers', 'withdrawals', 'holds')
union all
select format('alter table %s alter column %I drop not null', attrelid::regclass, attname)
from pg_attribute join pg_class on pg_class.oid = attrelid
where relnamespace = 'public'::regnamespace and relkind = 'r' and attnum > 0 and attnotnull and not attisdropped
and attidentity = ''
union all
select 'alter table idempotency_keys alter column digest drop expression'
"""


async def remove_guards(url: str) -> None:
    """As a superuser would: no constraint holds. (Of triggers none fires in a session of a replica.)"""
    connection = await asyncpg.connect(url)
    for row in await connection.fetch(GUARDS):
        await connection.execute(row[0])
    await connection.close()
