"""Makes the roles of PostgreSQL, once per server (`role_statements`), and grants anew with each migration (`grant`).

Who may do what stands in `db.roles`.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from db.roles import AUDITING, GRANTED, GRANTS, MEMBERSHIPS, OWNER, ROLES, WATCHERS

_MAKE = "do $$ begin if to_regrole('{role}') is null then create role {role}; end if; end $$"
_OWN = f"""\
do $$
declare
    thing record;
begin
    if not (select rolsuper from pg_roles where rolname = current_user) then
        execute format('grant {OWNER} to %I', current_user);
    end if;
    execute format('alter database %I owner to {OWNER}', current_database());
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to {", ".join(ROLES)}', current_database());
    execute format('grant temporary on database %I to {", ".join(AUDITING)}', current_database());
    for thing in
        select 'table' as kind, oid::regclass::text as name, relowner as owner
        from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v')
        union all
        select 'routine', oid::regprocedure::text, proowner from pg_proc where pronamespace = 'public'::regnamespace
        union all
        select 'type', t.oid::regtype::text, t.typowner
        from pg_type as t
        join pg_class as c on c.oid = t.typrelid and c.relkind = 'c'
        where t.typnamespace = 'public'::regnamespace
    loop
        if thing.owner <> '{OWNER}'::regrole then
            execute format('alter %s %s owner to {OWNER}', thing.kind, thing.name);
        end if;
    end loop;
end
$$"""  # noqa: S608  # only names from above are put in
_WATCH = f"""\
do $$ begin
    grant pg_monitor to {", ".join(WATCHERS)};
exception when insufficient_privilege then
    raise warning 'pg_monitor is not granted: size of the WAL and lag of standby servers stay unknown';
end $$"""
_SCRAM_ROUNDS = 4096


def role_statements(passwords: Mapping[str, str]) -> Iterator[str]:
    """Yield what makes the roles, and gives the database and what is in its schema to the owner; again does no harm.

    To be run in the database, by a superuser or a role that may create others and alter the database. A role of which a
    password is given may log in with it. The statements hold no password, only what PostgreSQL checks it by.
    """
    for role in ROLES:
        yield _MAKE.format(role=role)
        if role in passwords:
            yield f"alter role {role} login password '{_verifier(passwords[role])}'"
    for member, groups in MEMBERSHIPS.items():
        yield f"grant {', '.join(groups)} to {member}"
    yield _WATCH
    yield _OWN
    yield "revoke create on schema public from public"
    yield f"grant usage, create on schema public to {OWNER}"
    yield f"grant usage on schema public to {', '.join(GRANTED)}"


async def make_roles(connection: Any, passwords: Mapping[str, str]) -> None:
    """Run `role_statements` in one transaction. Raises asyncpg.PostgresError if our role may not do that.

    A standby is left alone: it has the roles of its primary.
    """
    if await connection.fetchval("select pg_is_in_recovery()"):
        return
    async with connection.transaction():
        for statement in role_statements(passwords):
            await connection.execute(statement)


async def grant(connection: Any) -> None:
    """Let each role that the server has do what `GRANTS` says and no more; the owner, too, can't change `transfers`.

    On a server without our roles, one role does everything but that.
    """
    async with connection.transaction():
        rows = await connection.fetch("select rolname from pg_roles where rolname = any($1)", list(ROLES))
        there = {row["rolname"] for row in rows}
        for role in ("current_user", *there & {OWNER}):
            await connection.execute(f"revoke update, delete, truncate on transfers from {role}")
        for role in there - {OWNER}:
            await connection.execute(f"revoke all on all tables in schema public from {role}")
        for table, rights in GRANTS.items():
            for role in there & rights.keys():
                await connection.execute(f"grant {rights[role]} on {table} to {role}")


def _verifier(password: str) -> str:
    """Return what PostgreSQL keeps of a password (SCRAM-SHA-256): so the password itself can't get into its log."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_SCRAM_ROUNDS}:{encoded[0]}${encoded[1]}:{encoded[2]}"
