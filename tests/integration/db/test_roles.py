"""Least rights: what each role of PostgreSQL may do to each table is what the table of grants says, and no more."""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from actors.vitals import Vitals
from db.granting import make_roles, role_statements
from db.migrate import migrate
from db.roles import (
    ACTORS,
    AUDITOR,
    GATEWAY,
    GRANTS,
    IN_MEMORY,
    MEMBERSHIPS,
    OPERATOR,
    OWNER,
    RECONCILER,
    RELAY,
    ROLES,
)
from db.vitals import VitalsSession
from runtime.settings import Settings
from runtime.telemetry import DATABASE_CONNECTIONS, VITALS_UNREADABLE, WAL_BYTES

RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
TABLES = "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm')"
OF_POGO = {"_pogo_migration", "_pogo_version"}
PASSWORD = "only for this test"


@pytest.fixture
async def lawful(connection: asyncpg.Connection, database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's session in a migrated database that has the roles."""
    await make_roles(connection, dict.fromkeys(ROLES, PASSWORD))
    await migrate(login(database_url, OWNER))
    yield connection
    await connection.execute("reset session authorization")


def login(database_url: str, role: str) -> str:
    """Return the URL for a role."""
    parts = urlsplit(database_url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{PASSWORD.replace(' ', '%20')}@{host}"))


def granted(role: str, table: str) -> dict[str, set[str] | None]:
    """Return the rights of a role on a table by the table of grants: None for all columns, else which."""
    found: dict[str, set[str] | None] = {}
    for one in (role, *MEMBERSHIPS.get(role, ())):
        text = GRANTS[table].get(one, "")
        for right, columns in re.findall(r"(\w+)(?: \(([^)]*)\))?(?:, |$)", text):
            names = set(columns.split(", ")) if columns else None
            known = found.get(right.upper(), set())
            found[right.upper()] = None if names is None or known is None else known | names
    return found


async def columns_of(connection: asyncpg.Connection, table: str) -> list[str]:
    """Return the columns of a table."""
    query = "select attname from pg_attribute where attrelid = $1::text::regclass and attnum > 0 and not attisdropped"
    return [row["attname"] for row in await connection.fetch(query, table)]


async def actual(connection: asyncpg.Connection, role: str, table: str) -> dict[str, set[str] | None]:
    """Return the same as `granted`, as PostgreSQL's catalog has it."""
    found: dict[str, set[str] | None] = {}
    columns = await columns_of(connection, table)
    for right in RIGHTS:
        if await connection.fetchval("select has_table_privilege($1, $2, $3)", role, table, right):
            found[right] = None
        elif right in ("SELECT", "INSERT", "UPDATE", "REFERENCES"):
            query = "select has_column_privilege($1, $2, $3, $4)"
            some = {name for name in columns if await connection.fetchval(query, role, table, name, right)}
            if some:
                found[right] = some
    return found


async def test_every_right_of_every_role_on_every_table(lawful: asyncpg.Connection) -> None:
    """Goal: process kind by table by right, the catalog says what the table of grants says; a new table is in it."""
    tables = {row["relname"] for row in await lawful.fetch(TABLES)} - OF_POGO
    assert tables == set(GRANTS)
    for table in tables:
        for role in set(ROLES) - {OWNER}:
            assert await actual(lawful, role, table) == granted(role, table), (role, table)


async def test_nobody_changes_the_ledger(lawful: asyncpg.Connection) -> None:
    """Goal: no role, the owner neither, may change, remove or truncate what was booked; a key is never removed."""
    for role in ROLES:
        rights = await actual(lawful, role, "transfers")
        assert not rights.keys() & {"UPDATE", "DELETE", "TRUNCATE"}, role
    for table in GRANTS:
        for role in set(ROLES) - {OWNER}:
            assert not (await actual(lawful, role, table)).keys() & {"TRUNCATE", "REFERENCES", "TRIGGER"}
    for role in set(ROLES) - {OWNER}:
        assert not (await actual(lawful, role, "idempotency_keys")).keys() & {"UPDATE", "DELETE"}


async def test_who_sees_secrets_of_keys(lawful: asyncpg.Connection) -> None:
    """Goal: only the gateway reads the hashes of keys, only the operator writes them."""
    for role in set(ROLES) - {OWNER}:
        query = "select has_column_privilege($1, 'api_keys', 'secret_hash', $2)"
        assert await lawful.fetchval(query, role, "SELECT") == (role == GATEWAY), role
        assert await lawful.fetchval(query, role, "INSERT") == (role == OPERATOR), role
        assert not await lawful.fetchval(query, role, "UPDATE"), role


async def test_new_attributes_of_roles(lawful: asyncpg.Connection) -> None:
    """Goal: no role is a superuser or may make roles, databases or replicas, or pass by row security."""
    query = (
        "select rolname from pg_roles where rolname = any($1) "
        "and (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls)"
    )
    assert not await lawful.fetch(query, list(ROLES))
    assert await lawful.fetchval("select count(*) from pg_roles where rolname = any($1)", list(ROLES)) == len(
        ROLES
    )


FORBIDDEN = (
    "update transfers set amount = amount",
    "update transfers set available_after = null where false",
    "delete from transfers",
    "truncate transfers",
    "set session_replication_role = replica",
    "create role somebody",
    "create database something",
    "copy transfers to program 'cat'",
    "select pg_read_file('pg_hba.conf')",
    "create extension dblink",
)
"""What no role may do, the owner neither."""
FORBIDDEN_TO_PROCESSES = (
    "create table something (id integer)",
    "create function something() returns integer language sql return 1",
    "alter table transfers disable trigger all",
    "drop trigger transfers_unchanging on transfers",
    "alter table wallets drop constraint wallets_total_limit",
    "drop table write_trials",
    "create schema something",
    "delete from idempotency_keys",
)


@pytest.mark.parametrize("role", ROLES)
async def test_what_is_refused(lawful: asyncpg.Connection, database_url: str, role: str) -> None:
    """Goal: logged in as each role, whatever goes beyond its rights is refused."""
    session = await asyncpg.connect(login(database_url, role), timeout=10)
    try:
        for statement in (*FORBIDDEN, *(FORBIDDEN_TO_PROCESSES if role != OWNER else ())):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await session.execute(statement)
    finally:
        await session.close(timeout=5)


async def test_who_may_make_temporary_tables(lawful: asyncpg.Connection) -> None:
    """Goal: only those who audit, which needs one for the bank's books, may write beside the tables."""
    query = "select has_database_privilege($1, current_database(), 'TEMPORARY')"
    may = {role for role in ROLES if await lawful.fetchval(query, role)}
    assert may == {OWNER, RECONCILER, OPERATOR, AUDITOR}


async def test_a_stranger_stays_out(lawful: asyncpg.Connection, database_url: str) -> None:
    """Goal: another role of the server can't even connect to the database."""
    await lawful.execute(f"drop role if exists stranger; create role stranger login password '{PASSWORD}'")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(login(database_url, "stranger"), timeout=10)
    finally:
        await lawful.execute("drop role stranger")


async def test_the_relay_locks_what_it_claims(lawful: asyncpg.Connection, database_url: str) -> None:
    """Goal: the relay and the process that is relay and actors claim messages, and see no wallet or all."""
    for role, sees in ((RELAY, False), (IN_MEMORY, True)):
        session = await asyncpg.connect(login(database_url, role), timeout=10)
        try:
            await session.fetch("select * from outbox for update skip locked")
            if sees:
                await session.fetch("select * from wallets")
            else:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await session.fetch("select * from wallets")
        finally:
            await session.close(timeout=5)


async def test_again_does_no_harm(lawful: asyncpg.Connection, database_url: str) -> None:
    """Goal: made and granted again, and by several at once, the rights are the same; what was granted by hand goes."""
    await lawful.execute(f"grant update on transfers to {ACTORS}, {OWNER}")
    await make_roles(lawful, {})
    await asyncio.gather(*(migrate(login(database_url, OWNER)) for _ in range(3)))
    for role in (ACTORS, OWNER):
        assert "UPDATE" not in await actual(lawful, role, "transfers")
    assert await actual(lawful, ACTORS, "transfers") == granted(ACTORS, "transfers")


def passwords_in(statements: Iterator[str]) -> bool:
    """Tell whether a password can be read in the statements."""
    return any(PASSWORD in statement for statement in statements)


async def test_the_statements_hold_no_password(lawful: asyncpg.Connection, database_url: str) -> None:
    """Goal: a server that logs statements logs no password, and the passwords are right all the same."""
    assert not passwords_in(role_statements(dict.fromkeys(ROLES, PASSWORD)))
    wrong: Any = login(database_url, GATEWAY).replace("only", "no")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(wrong, timeout=10)


async def test_the_reconciler_may_measure_the_server(lawful: asyncpg.Connection, database_url: str) -> None:
    """Goal: each measure of the vitals can be taken by the role that takes it; the WAL's size is no secret to it."""
    session = VitalsSession(Settings.from_env({"DATABASE_URL": login(database_url, RECONCILER)}).database)
    vitals = Vitals(session, "USD", ["/"])
    await vitals.measure()
    session.terminate()
    unread = {
        sample.labels["measure"]: sample.value
        for metric in VITALS_UNREADABLE.collect()
        for sample in metric.samples
    }
    assert len(unread) > 5
    assert not any(unread.values()), unread


async def test_a_measure_that_is_not_allowed_says_so(lawful: asyncpg.Connection, database_url: str) -> None:
    """Goal: an alert is not silent because its measure is missing: what can't be measured is NaN, and counted."""
    session = VitalsSession(Settings.from_env({"DATABASE_URL": login(database_url, ACTORS)}).database)
    await Vitals(session, "USD", ["/no such folder"]).measure()
    session.terminate()
    for measure, unreadable in {"wal": 1, "audit": 1, "disks": 1, "connections": 0, "open_money": 0}.items():
        assert VITALS_UNREADABLE.labels(measure)._value.get() == unreadable, measure
    assert math.isnan(WAL_BYTES._value.get())
    assert DATABASE_CONNECTIONS._value.get() > 0
