"""Plans of every statement on a filled database: no request reads a table from end to end.

With the settings of our sessions (generic plans, `enable_seqscan` off), and with PostgreSQL's own defaults too: the
settings are to keep a good plan good, not to force one that the planner would never choose.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

import db.sql
from db.connections import connect
from db.sql import load
from runtime.settings import Settings
from tests.conftest import copy_of, execute, with_database
from tests.integration.db.filled import fill

IN_THE_MODULES_LOOP = pytest.mark.asyncio(loop_scope="module")

USERS = "array['user-1','user-77']"
CURRENCIES = "array['USD','USD']"
ID = "'01900000-4e20-7000-8000-000000004e20'"
IDS = f"array[{ID}]::uuid[]"
NOW = "now()"
FIRST, LAST = "'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"
REFERENCE_ENDS = "array['0123456789abcdef01234567']"
TRACES = ("array['r-1']", "array['00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00']")
MOVEMENTS = (
    f"array[row({ID}, 'user-1', 'USD', 'charge', 'funding', 'available', 1, 1, 0, 0, null, null, null, now(), 'x',"
    " null, null, 'c', 'k', '\\x00')]::movement_v3[]"
)
CHANGES = "array[row('user-1', 'USD', 1, 0, 0, 1, now())]::balance_change_v2[]"
EXPECTED_CHANGES = "array[row('user-1', 'USD', 1, 0, 0, 1, 0, 1)]::optimistic_change[]"
EXPECTED_MOVEMENTS = (
    "array[row('8000000000000000', 1, 'user-1', 'USD', 'charge', 1, 1, 0, 0, null, null, null, null, 'x',"
    " null, null, null, null, 'c', 'k', '\\x00')]::optimistic_movement[]"
)

# Parameters of every statement, as SQL. A statement that is missing here fails the first test.
PARAMETERS: dict[tuple[str, str], list[str]] = {
    ("ledger", "lock_wallets"): [
        USERS, CURRENCIES, "array['shop']", "array['key-1']", "array['user-1']", REFERENCE_ENDS, "null",
    ],
    ("ledger", "used_meanwhile"): ["array['shop']", "array['key-1']", "array['user-1']", REFERENCE_ENDS, "null"],
    ("ledger", "write_plain_charges"): [EXPECTED_CHANGES, EXPECTED_MOVEMENTS, "null::timestamptz", "1"],
    ("ledger", "write_optimistically"): [
        EXPECTED_CHANGES, EXPECTED_MOVEMENTS, "null::timestamptz", "1", "'30 s'", "null", REFERENCE_ENDS, *TRACES,
    ],
    ("ledger", "write_commands"): [
        EXPECTED_CHANGES, EXPECTED_MOVEMENTS, "null::timestamptz", "1", "'30 s'", "null", REFERENCE_ENDS, *TRACES,
    ],
    ("ledger", "write_captures"): [EXPECTED_CHANGES, EXPECTED_MOVEMENTS, "null::timestamptz", "1"],
    ("ledger", "write_captures_with_locks"): [EXPECTED_CHANGES, EXPECTED_MOVEMENTS, "null::timestamptz", "1"],
    ("ledger", "write_transfers"): [EXPECTED_CHANGES, EXPECTED_MOVEMENTS, "null::timestamptz", "1"],
    ("ledger", "write_holds"): [EXPECTED_CHANGES, EXPECTED_MOVEMENTS, "null::timestamptz", "1"],
    ("ledger", "write_holds_with_locks"): [EXPECTED_CHANGES, EXPECTED_MOVEMENTS, "null::timestamptz", "1"],
    ("ledger", "write_withdrawals"): [
        EXPECTED_CHANGES, EXPECTED_MOVEMENTS, "null::timestamptz", "1", "'30 s'", "null", REFERENCE_ENDS, *TRACES,
    ],
    ("ledger", "in_doubt"): [EXPECTED_CHANGES, "array['shop']", "array['key-1']"],
    ("ledger", "claim_adopted"): [
        "array['user-1']", REFERENCE_ENDS, "array['shop']", "array['key-1']", "array['\\x00'::bytea]",
        "array[null]::json[]", "array[null]::json[]", "null",
    ],
    ("ledger", "receipts"): ["array['shop']", f"array['key-' || {ID}]"],
    ("ledger", "create_wallets"): [USERS, CURRENCIES],
    ("ledger", "matured_locks"): [USERS, CURRENCIES, NOW, "501"],
    ("ledger", "record"): [MOVEMENTS, CHANGES],
    ("ledger", "record_without_keys"): [MOVEMENTS, CHANGES],
    ("ledger", "record_locks"): [
        USERS, CURRENCIES, f"array[{NOW},{NOW}]", f"array[{ID},{ID}]::uuid[]", "array[1,1]",
        "array['locked','held']",
    ],
    ("ledger", "record_legs"): [
        IDS, "array['user-1']", "array[1]", "array['user-2']", "array['USD']", "array[1]", f"array[{NOW}]", IDS,
    ],
    ("ledger", "record_holds"): [
        IDS, "array['user-1']", "array['USD']", "array[1]", f"array[{NOW}]", "array[null]::json[]", f"array[{NOW}]",
        "array['x']",
    ],
    ("ledger", "expire_holds"): [IDS, "array['user-1']", f"array[{NOW}]"],
    ("follow_ups", "stay"): [],
    ("follow_ups", "find"): [IDS, IDS, IDS],
    ("follow_ups", "holds"): [IDS],
    ("follow_ups", "charges"): [IDS],
    ("follow_ups", "legs"): [IDS],
    ("follow_ups", "end_holds"): [
        IDS, "array['user-1']", "array['captured']", "array[1]", IDS, f"array[{NOW}]",
    ],
    ("follow_ups", "reduce_locks"): [
        USERS, CURRENCIES, f"array[{NOW},{NOW}]", f"array[{ID},{ID}]::uuid[]", "array[1,1]",
    ],
    ("follow_ups", "record_reversals"): [IDS, "array['user-1']", "array['USD']", IDS, "array[1]", "array['x']"],
    ("follow_ups", "reverse_charges"): [IDS, "array['user-1']", "array[1]", "array[1]"],
    ("follow_ups", "reverse_legs"): [IDS, "array['user-1']", "array[1]", "array[1]"],
    ("follow_ups", "record_reversal_legs"): [IDS, "array['user-1']", "array[1]", "array[1]", IDS],
    ("ledger", "end_locks"): [USERS, CURRENCIES, f"array[{ID},{ID}]::uuid[]", f"array[{NOW},{NOW}]"],
    ("ledger", "record_withdrawals"): [
        IDS, "array['user-1']", "array['USD']", "array[1]", "array[null]::json[]", "array[null]::json[]",
        f"array[{NOW}]", "array['x']", REFERENCE_ENDS, *TRACES, NOW, NOW, "null",
    ],
    ("ledger", "held_elsewhere"): [USERS, CURRENCIES],
    ("ledger", "count_open"): [USERS, CURRENCIES, NOW],
    ("releases", "release_oldest"): [USERS, CURRENCIES, "1000"],
    ("releases", "wallets_with_matured_locks"): ["20", USERS, CURRENCIES],
    ("outbox", "announce"): [ID, "'user-1'"],
    ("outbox", "claim"): ["100", IDS],
    ("outbox", "published"): [IDS, "array['user-1']"],
    ("outbox", "depth"): [],
    ("reads", "balances"): [USERS, CURRENCIES],
    ("reads", "transactions"): [
        USERS, CURRENCIES, f"array[{LAST},{LAST}]::uuid[]", f"array[{FIRST},{FIRST}]::uuid[]", "array[21,21]",
        "0", "2000", "null", "null",
    ],
    ("reads", "end_of_numbered"): ["'user-1'", "'USD'", "20000"],
    ("reads", "withdrawals"): [IDS],
    ("reads", "withdrawal_id_by_key"): ["'shop'", f"'key-' || {ID}"],
    ("reads", "known_before"): ["'user-1'", "'USD'", "'shop'", "'key-1'"],
    ("reads", "ended"): [IDS],
    ("reads", "charges"): [IDS],
    ("reads", "transfers"): [IDS],
    ("reads", "holds"): [IDS],
    ("lists", "charges"): ["'user-1'", "'USD'", LAST, FIRST, "21", "2000"],
    ("lists", "transfers"): ["'user-1'", "'USD'", LAST, FIRST, "21", "2000", "'sent'"],
    ("lists", "holds_of_wallet"): ["'user-1'", "'USD'", LAST, FIRST, "21", "2000", "'open'"],
    ("lists", "holds_of_all"): [LAST, FIRST, "21", "2000", "'open'"],
    ("lists", "withdrawals_of_wallet"): ["'user-1'", "'USD'", LAST, FIRST, "21", "2000", "'pending'"],
    ("lists", "withdrawals_of_all"): [LAST, FIRST, "21", "2000", "'completed'"],
    ("lists", "withdrawals_not_completed"): [LAST, FIRST, "21", "'failed'"],
    ("lists", "by_key"): ["'shop'", f"'key-' || {ID}", "array['charge']"],
    ("statements", "wallets_of"): ["'user-1'"],
    ("statements", "wait_for_writers"): ["'user-1'", "'USD'"],
    ("statements", "now"): [],
    ("statements", "archived_before"): ["'user-1'", "'USD'"],
    ("statements", "split"): ["'user-1'", "'USD'", LAST, NOW, FIRST],
    ("statements", "rows"): ["'user-1'", "'USD'", FIRST, LAST, "21", "2000"],
    ("statements", "effects"): ["'user-1'", "'USD'", f"{NOW} - interval '1 day'", FIRST, NOW, "21"],
    ("reads", "queue_length"): [],
    ("adjustments", "propose"): [
        ID, "'user-1'", "'USD'", "5", "'x'", "'eve'", "'shop'", "'key-1'", "'\\x00'::bytea",
    ],
    ("adjustments", "key_has_moved"): ["'shop'", "'key-1'"],
    ("adjustments", "proposal"): [ID],
    ("adjustments", "proposal_by_key"): ["'shop'", "'key-1'"],
    ("adjustments", "proposals"): [LAST, "21", f"{NOW} - interval '7 days'"],
    ("adjustments", "booked"): [ID],
    ("adjustments", "all_booked"): [LAST, "21"],
    ("reads", "heartbeats"): [],
    ("reads", "beat"): ["'relay'", "'1'", "'{}'"],
    ("reads", "forget_heartbeats"): [],
    ("api_keys", "revision"): [],
    ("api_keys", "live"): [],
    ("api_keys", "all"): [],
    ("api_keys", "neighbours"): ["'shop'", "'default'"],
    ("api_keys", "create"): [
        "'shop'", "'wbs_abcdefgh'", "'\\x00'::bytea", "array['read']", "'default'", "null", "null", "'operator:eve'",
    ],
    ("api_keys", "revoke"): ["'shop'", "'operator:eve'"],
    ("api_keys", "used"): ["array['\\x00'::bytea]", f"array[{NOW}]"],
    ("withdrawals", "begin"): [IDS, "array['user-1']", "'20 s'"],
    ("withdrawals", "lock"): [IDS],
    ("withdrawals", "held_elsewhere"): [IDS],
    ("withdrawals", "held_elsewhere_with_wallets"): [IDS],
    ("withdrawals", "redrive_due"): ["100", "'30 s'"],
    ("withdrawals", "postpone_due"): ["100", "'30 s'"],
    ("withdrawals", "count_open"): [],
    ("withdrawals", "requiring_attention"): ["null", "100"],
    ("withdrawals", "complete"): [
        IDS, "array['user-1']", "array['p1']", "array['8000000000000000']", "array['actor']",
        "array[12]",
    ],
    ("withdrawals", "record_attempts"): [
        IDS, "array['user-1']", "array[1]", "array[12]", "array['outcome_unknown']", "array['timeout']",
    ],
    ("withdrawals", "step"): [IDS, "array['user-1']", "array['completed']", "array['p1']"],
    ("withdrawals", "move"): [
        IDS, "array['user-1']", "array['completed']", "array[1]", f"array[{NOW}]", "array[3]",
        "array[null]", "array[null]", "array['p1']", f"array[{NOW}]", f"array[{NOW}]",
        IDS, "array['user-1']", "array[3]", "array['completed']", f"array[{NOW}]", "array['x']", "array['actor']",
        IDS, "array['user-1']", NOW,
    ],
    ("reconciliation", "cursor"): [],
    ("reconciliation", "advance"): ["'x'"],
    ("health", "try"): [],
    ("health", "try_move"): [ID],
    ("health", "try_remove"): [ID],
    ("health", "late"): ["'60 s'"],
    ("operator", "open_sums"): ["10000"],
    ("operator", "oldest_open"): ["1000"],
    ("operator", "attention_sums"): ["10000"],
    ("operator", "outbox"): ["10000"],
    ("operator", "activity"): ["60"],
    ("operator", "note_activity"): ["'host:1'", "array['x']", "array[1]", "array[0.1]"],
    ("operator", "forget_activity"): [],
    ("operator", "walk_of_statuses"): [
        LAST, FIRST, "2000", "array['pending','requires_attention']", "'USD'", "5", "'x'",
    ],
    ("operator", "walk_of_statuses_oldest_first"): [
        LAST, FIRST, "2000", "array['pending','requires_attention']", "'USD'", "5", "'x'",
    ],
    ("operator", "walk_of_all"): [LAST, FIRST, "2000", "array['completed']", "'USD'", "5", "'x'"],
    ("operator", "walk_of_user"): [LAST, FIRST, "2000", "array['completed']", "'USD'", "5", "'x'", "'user-1'"],
    ("operator", "by_identifier"): [ID],
    ("operator", "by_idempotency_key"): ["'key-1'"],
    ("operator", "by_bank_reference"): ["'p17'", "20000"],
    ("operator", "is_user"): ["'user-1'"],
    ("operator", "attempts"): [ID],
    ("operator", "lengths"): [ID],
    ("operator", "request_of"): [ID],
    ("operator", "actions_of"): [ID],
    ("operator", "last_actions"): ["50"],
    ("operator", "proposals"): [IDS],
    ("operator", "books"): [],
    ("operator", "discrepancies"): ["100"],
    ("operator", "locks"): ["'user-1'", "'USD'", "100"],
    ("operator", "note_action"): ["'operator:eve'", "'replay'", ID, "'test'", "1"],
    ("operator", "redrive"): [ID],
    ("operator", "propose"): [ID, "'paid'", "'po_1'", "'test'", "'operator:eve'"],
    ("operator", "drop_proposal"): [ID],
    ("withdrawals", "take_proposals"): [IDS, "array[now()]"],
    ("leases", "look"): ["'reconciler'"],
    ("leases", "renew"): ["'reconciler'", "'host:1:a'"],
    ("leases", "take_free"): ["'reconciler'", "'host:1:a'"],
    ("leases", "take_over"): ["'reconciler'", "'host:2:b'", "'host:1:a'", "7"],
    ("leases", "give_up"): ["'reconciler'", "'host:1:a'"],
    ("reconciliation", "by_references"): [IDS],
    ("reconciliation", "requiring_attention"): ["null", "100"],
    ("reconciliation", "looked_up"): [IDS],
    ("reconciliation", "look_up_soon"): [IDS, "array['user-1']"],
    ("reconciliation", "look_ups_due"): ["50"],
    ("reconciliation", "look_ups_done"): [IDS, "array['user-1']", f"array[{NOW}]"],
    ("reconciliation", "look_ups_missed"): [IDS, "array['user-1']", f"array[{NOW}]"],
    ("reconciliation", "told"): [ID],
    ("reconciliation", "note_discrepancies"): ["array['different']", "array['x']", "array['y']", "array['z']"],
    ("reconciliation", "forget_discrepancies"): [],
    ("reconciliation", "bank_prefix"): [],
    ("reconciliation", "look_up_open"): ["200"],
    ("adoptions", "lock"): [],
    ("adoptions", "known"): [ID],
    ("adoptions", "write"): [
        ID, "'user-1'", "'USD'", "1", ID, "'p1'", "'operator:eve'", NOW, "array['pending']", "array['x']",
    ],
    ("stack", "look"): ["1", "1"],
    ("stack", "server"): [],
    ("stack", "write_down"): ["1", "1", "true"],
    ("stack", "pause"): ["'operator:eve'", "'test'"],
    ("stack", "pause_by_itself"): ["'wbs'", "'test'", "'another%'", "true", "true", "'before'"],
    ("stack", "resume"): [],
    ("stack", "resume_by_itself"): ["'wbs'", "'another%'", "'before'"],
}  # fmt: skip
FILES = (
    "ledger",
    "follow_ups",
    "releases",
    "outbox",
    "reads",
    "lists",
    "statements",
    "withdrawals",
    "reconciliation",
    "operator",
    "leases",
    "health",
    "stack",
    "adoptions",
    "adjustments",
    "api_keys",
)

BOUNDED = {
    "activity", "adjustment_proposals", "api_keys", "api_keys_revision", "archives", "bank_cursor",
    "discrepancies", "heartbeats", "leases", "look_ups", "pg_database", "rate_reports",
    "settlement_proposals", "stack", "write_trials",
}  # fmt: skip
"""Tables of a few rows."""

COUNTS_ALL = {("outbox", "depth")}
"""The reconciler's measure of what waits; it has to see all of that."""


@pytest.fixture(scope="module")
def filled_url(postgres_url: str, template_database: str) -> Iterator[str]:
    """A filled database, made once."""
    name = f"{template_database}_filled"
    asyncio.run(execute(postgres_url, copy_of(template_database, name)))
    url = with_database(postgres_url, name)
    asyncio.run(_fill(url))
    yield url
    asyncio.run(execute(postgres_url, f"drop database {name} with (force)"))


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    await fill(connection)
    await connection.close(timeout=10)


@pytest_asyncio.fixture(params=["our settings", "PostgreSQL's defaults"], scope="module", loop_scope="module")
async def session(request: pytest.FixtureRequest, filled_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A session to the filled database."""
    if request.param == "our settings":
        connection = await connect(Settings.from_env({"DATABASE_URL": filled_url}).database)
    else:
        connection = await asyncpg.connect(filled_url, timeout=10)
    yield connection
    await connection.close(timeout=10)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def new_session(postgres_url: str, template_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A session of ours to a database in which there is nothing yet."""
    name = f"{template_database}_empty"
    await execute(postgres_url, copy_of(template_database, name))
    connection = await connect(
        Settings.from_env({"DATABASE_URL": with_database(postgres_url, name)}).database
    )
    yield connection
    await connection.close(timeout=10)
    await execute(postgres_url, f"drop database {name} with (force)")


async def plan(connection: asyncpg.Connection, file: str, name: str) -> dict[str, Any]:
    """Return the plan of a statement, as the session would execute it."""
    parameters = ", ".join(PARAMETERS[file, name])
    await connection.execute(f"prepare statement as {load(file)[name]}")
    try:
        execute_ = f"execute statement({parameters})" if parameters else "execute statement"
        [row] = await connection.fetch(f"explain (format json) {execute_}")
    finally:
        await connection.execute("deallocate statement")
    document: dict[str, Any] = json.loads(row["QUERY PLAN"])[0]["Plan"]
    return document


def nodes(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a plan's nodes."""
    yield document
    for child in document.get("Plans", ()):
        yield from nodes(child)


def test_every_statement_is_looked_at() -> None:
    """Goal: no statement of the service escapes this module."""
    shipped = {(file, name) for file in FILES for name in load(file)}
    assert shipped == PARAMETERS.keys()


@pytest.mark.parametrize(("file", "name"), PARAMETERS, ids=lambda value: value)
@IN_THE_MODULES_LOOP
async def test_no_table_is_read_from_end_to_end(session: asyncpg.Connection, file: str, name: str) -> None:
    """Goal: each statement finds its rows by an index, whatever the planner's settings."""
    found = [
        node["Relation Name"]
        for node in nodes(await plan(session, file, name))
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] not in BOUNDED
    ]
    if (file, name) not in COUNTS_ALL:
        assert not found


WALKS = {
    # Measures, pages and queues of background processes: bounded by a limit, or by how much is open.
    ("releases", "wallets_with_matured_locks"), ("outbox", "claim"), ("outbox", "depth"), ("reads", "queue_length"),
    ("reads", "heartbeats"), ("reads", "forget_heartbeats"), ("withdrawals", "redrive_due"),
    ("withdrawals", "postpone_due"), ("withdrawals", "count_open"),
    ("withdrawals", "requiring_attention"), ("withdrawals", "open_ones"),
    ("reconciliation", "cursor"), ("reconciliation", "advance"),
    ("reconciliation", "requiring_attention"), ("reconciliation", "look_ups_due"),
    ("reconciliation", "look_up_open"), ("reconciliation", "bank_prefix"), ("stack", "look"), ("stack", "server"),
    ("stack", "write_down"), ("stack", "pause"), ("stack", "pause_by_itself"), ("stack", "resume"),
    ("stack", "resume_by_itself"),
    ("api_keys", "revision"), ("api_keys", "live"), ("api_keys", "all"), ("api_keys", "neighbours"),
    ("api_keys", "revoke"), ("api_keys", "used"),
    ("operator", "outbox"), ("operator", "attention_sums"), ("operator", "last_actions"), ("operator", "books"),
    ("operator", "discrepancies"), ("operator", "by_idempotency_key"),
}  # fmt: skip


@pytest.mark.parametrize(("file", "name"), sorted(PARAMETERS.keys() - WALKS), ids=lambda value: value)
@IN_THE_MODULES_LOOP
async def test_plans_of_an_empty_database_go_by_key(
    new_session: asyncpg.Connection, file: str, name: str
) -> None:
    """Goal: a session keeps its plans, those made before there was data too: no index is walked from end to end."""
    found = [
        node["Index Name"]
        for node in nodes(await plan(new_session, file, name))
        if "Index" in node["Node Type"] and "Index Cond" not in node
    ]
    # The last archive is the first entry of its index.
    assert set(found) <= {"archives_boundary"}


DUE = [
    ("reads", "balances", "release_at"), ("ledger", "matured_locks", "release_at"),
    ("releases", "release_oldest", "release_at"),
    ("releases", "wallets_with_matured_locks", "release_at"), ("withdrawals", "redrive_due", "ring_at"),
    ("withdrawals", "postpone_due", "ring_at"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "name", "column"), DUE, ids=lambda value: value)
@IN_THE_MODULES_LOOP
async def test_what_is_not_due_is_not_read(
    session: asyncpg.Connection, file: str, name: str, column: str
) -> None:
    """Goal: the instant is an index condition: millions that are not due yet cost those that are nothing."""
    conditions = [
        node.get("Index Cond", "")
        for node in nodes(await plan(session, file, name))
        if node.get("Relation Name") in ("locks", "withdrawals") and "Index Name" in node
    ]
    assert any(column in condition for condition in conditions), conditions


@pytest.mark.parametrize("file", FILES)
def test_no_column_is_compared_with_a_moving_clock(file: str) -> None:
    """Goal: queries for due rows compare with an instant that is read once: the clock itself is no index condition."""
    for name, statement in load(file).items():
        where = re.sub(r"--.*", "", statement)
        assert not re.search(r"\b(release_at|ring_at)\s*[<>]=?\s*(clock_timestamp|now)\(", where), name


@IN_THE_MODULES_LOOP
async def test_a_page_of_the_stuck_reads_a_page(session: asyncpg.Connection) -> None:
    """Goal: to list those that require attention is not to walk over the thousands that have ended."""
    document = await plan(session, "withdrawals", "requiring_attention")
    scanned = {node["Index Name"] for node in nodes(document) if "Index Name" in node}
    assert scanned == {"withdrawals_attention"}


IN_ORDER = {
    ("reads", "transactions"): {"transfers_pkey", "withdrawals_pkey"},
    ("reads", "end_of_numbered"): {"transfers_pkey"},
    ("lists", "charges"): {"transfers_pkey"},
    ("lists", "transfers"): {"transfers_pkey"},
    ("lists", "holds_of_wallet"): {"holds_of_wallet"},
    ("lists", "holds_of_all"): {"holds_pkey"},
    ("lists", "withdrawals_of_wallet"): {"transfers_reserves", "withdrawals_pkey"},
    ("lists", "withdrawals_of_all"): {"withdrawals_pkey"},
    ("lists", "withdrawals_not_completed"): {"withdrawals_not_completed"},
    ("statements", "rows"): {"transfers_pkey"},
}


@pytest.mark.parametrize(("file", "name"), IN_ORDER, ids=lambda value: value)
@IN_THE_MODULES_LOOP
async def test_a_page_reads_a_page(session: asyncpg.Connection, file: str, name: str) -> None:
    """Goal: a page of a wallet with much history comes from an index in order: nothing is sorted, nothing skipped."""
    found = list(nodes(await plan(session, file, name)))
    assert not [node["Node Type"] for node in found if "Sort" in node["Node Type"]]
    scans = {
        node["Index Name"]
        for node in found
        if node.get("Relation Name") in ("transfers", "holds", "withdrawals")
    }
    assert scans == IN_ORDER[file, name]
    assert all("Index Cond" in node for node in found if "Index Name" in node)


@IN_THE_MODULES_LOOP
async def test_what_was_written_late_is_found_from_its_end(session: asyncpg.Connection) -> None:
    """Goal: a split of the past goes back from its instant in the order of effects, however long the history."""
    for name in ("split", "effects"):
        found = list(nodes(await plan(session, "statements", name)))
        by_effect = [node for node in found if node.get("Index Name") == "transfers_by_effect"]
        assert by_effect
        assert all("effective_at" in node["Index Cond"] for node in by_effect)


def test_every_statement_is_used() -> None:
    """Goal: there is no unused statement, other than one that others are without some of its parts."""
    folder = Path(db.sql.__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    derived = "".join(path.read_text(encoding="utf-8") for path in folder.glob("queries/*.sql"))
    unused = {
        (file, name)
        for file, name in PARAMETERS
        if f'["{name}"]' not in text and f" is {name} without " not in derived
    }
    assert not unused


def test_parameters_are_all_there() -> None:
    """Goal: each statement is given as many parameters as it has."""
    for (file, name), parameters in PARAMETERS.items():
        code = re.sub(r"--.*", "", load(file)[name])
        numbers = {int(number) for number in re.findall(r"\$(\d+)", code)}
        assert max(numbers | {0}) == len(parameters), (file, name)
