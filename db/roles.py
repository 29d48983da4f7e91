"""The roles of PostgreSQL: who may do what to which table. The one place where rights are granted.

Each kind of process logs in as a role of its own, the schema belongs to a role that only migrates, and nobody at all
may change or remove a row of `transfers`. Roles are made once per server (`role_statements`). Each migration grants
anew what `GRANTS` says; a test fails if a new table is not in it.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

OWNER = "wbs_owner"
"""Owns the schema: for `wbs migrate`, dumps and restores."""
GATEWAY, RELAY, ACTORS, RECONCILER = "wbs_gateway", "wbs_relay", "wbs_actors", "wbs_reconciler"
COURIER = "wbs_courier"
OPERATOR, AUDITOR = "wbs_operator", "wbs_auditor"
"""For the commands of `wbs`; and for those who only look."""
IN_MEMORY = "wbs_in_memory"
"""Relay and actors in one process, without RabbitMQ: a member of both."""

AUDITING = (RECONCILER, OPERATOR, AUDITOR)
"""May make temporary tables: an audit needs one, for the bank's books."""
WATCHERS = (RECONCILER, AUDITOR)
"""May see the server's own figures, those of other sessions included (pg_monitor): its WAL, its standby servers."""

MEMBERSHIPS = {IN_MEMORY: (RELAY, ACTORS)}
GRANTED = (GATEWAY, RELAY, ACTORS, RECONCILER, COURIER, OPERATOR, AUDITOR)
ROLES = (OWNER, *GRANTED, IN_MEMORY)

_KEY_COLUMNS = (
    "select (id, name, prefix, scopes, space, user_prefix, created_at, created_by, expires_at, revoked_at, revoked_by, "
    "last_used_at)"
)
_USED_KEYS = "select (digest, client, key)"
"""What locks the wallets also asks whether keys are used, of which only the gateway has any."""

_READ_BY_ALL_WHO_AUDIT = {RECONCILER: "select", OPERATOR: "select", AUDITOR: "select"}

GRANTS: dict[str, dict[str, str]] = {
    "transfers": {
        GATEWAY: "select, insert",
        ACTORS: "select, insert",
        RECONCILER: "select, insert",
        COURIER: "select",
        OPERATOR: "select, insert",
        AUDITOR: "select",
    },
    "wallets": {
        GATEWAY: "select, insert, update",
        ACTORS: "select, update",
        RECONCILER: "select, update",
        OPERATOR: "select, insert, update",
        AUDITOR: "select",
    },
    "locks": {
        GATEWAY: "select, insert, delete, update (amount)",
        RECONCILER: "select, delete",
        OPERATOR: "select, delete",
        AUDITOR: "select",
    },
    "holds": {
        GATEWAY: "select, insert, update",
        RECONCILER: "select, update (status, ended_at)",
        COURIER: "select",
        OPERATOR: "select, update (status, ended_at)",
        AUDITOR: "select",
    },
    "transfer_legs": {
        GATEWAY: "select, insert, update (reversed)",
        COURIER: "select",
        **_READ_BY_ALL_WHO_AUDIT,
    },
    "charge_reversals": {GATEWAY: "select, insert, update", **_READ_BY_ALL_WHO_AUDIT},
    "reversals": {GATEWAY: "select, insert", COURIER: "select", **_READ_BY_ALL_WHO_AUDIT},
    "reversal_legs": {GATEWAY: "select, insert", COURIER: "select", **_READ_BY_ALL_WHO_AUDIT},
    "withdrawals": {
        GATEWAY: "select, insert, update",
        ACTORS: "select, update",
        RECONCILER: "select, update",
        COURIER: "select",
        OPERATOR: "select, insert, update",
        AUDITOR: "select",
    },
    "withdrawal_history": {
        GATEWAY: "select, insert",
        ACTORS: "select, insert",
        RECONCILER: "select, insert",
        COURIER: "select",
        OPERATOR: "select, insert",
        AUDITOR: "select",
    },
    "idempotency_keys": {
        GATEWAY: "select, insert",
        ACTORS: _USED_KEYS,
        RECONCILER: "select",
        OPERATOR: "select",
        AUDITOR: "select",
    },
    "outbox": {
        GATEWAY: "select, insert",
        # A row that is claimed is locked, for which PostgreSQL wants the right to update some column.
        RELAY: "select, delete, update (created_at)",
        ACTORS: "select, insert",
        RECONCILER: "select, insert",
        OPERATOR: "select, insert",
        AUDITOR: "select",
    },
    "look_ups": {
        GATEWAY: "select, insert, update",
        RECONCILER: "select, insert, update, delete",
        OPERATOR: "select, insert, update, delete",
        AUDITOR: "select",
    },
    "heartbeats": {
        GATEWAY: "select, insert, update",
        RELAY: "select, insert, update",
        ACTORS: "select, insert, update",
        RECONCILER: "select, insert, update, delete",
        COURIER: "select, insert, update",
        OPERATOR: "select",
        AUDITOR: "select",
    },
    "leases": {
        RECONCILER: "select, insert, update, delete",
        COURIER: "select, insert, update, delete",
        OPERATOR: "select, insert, update, delete",
        AUDITOR: "select",
    },
    "audit_runs": {RECONCILER: "select, insert, update", OPERATOR: "select, insert", AUDITOR: "select"},
    "backups": {RECONCILER: "select", OPERATOR: "select, insert", AUDITOR: "select"},
    "bank_cursor": {GATEWAY: "select", RECONCILER: "select, update", OPERATOR: "select", AUDITOR: "select"},
    "stack": {
        GATEWAY: "select, update",
        ACTORS: "select, update",
        RECONCILER: "select, update",
        COURIER: "select",
        OPERATOR: "select, update",
        AUDITOR: "select",
    },
    "activity": {
        GATEWAY: "select, insert, update",
        RELAY: "select, insert, update",
        ACTORS: "select, insert, update",
        RECONCILER: "select, insert, update, delete",
        OPERATOR: "select",
        AUDITOR: "select",
    },
    "withdrawal_attempts": {
        GATEWAY: "select",
        ACTORS: "select, insert",
        OPERATOR: "select",
        AUDITOR: "select",
    },
    "operator_actions": {GATEWAY: "select, insert", OPERATOR: "select, insert", AUDITOR: "select"},
    "settlement_proposals": {
        GATEWAY: "select, insert, update, delete",
        OPERATOR: "select, insert, update, delete",
        AUDITOR: "select",
    },
    "discrepancies": {
        GATEWAY: "select",
        RECONCILER: "select, insert, update, delete",
        OPERATOR: "select",
        AUDITOR: "select",
    },
    "event_batches": {
        GATEWAY: "select, insert",
        ACTORS: "insert",
        RECONCILER: "select, insert",
        COURIER: "select, delete",
        OPERATOR: "select, insert",
        AUDITOR: "select",
    },
    "events": {GATEWAY: "select", COURIER: "select, insert, delete", OPERATOR: "select", AUDITOR: "select"},
    "event_sequence": {
        GATEWAY: "select",
        COURIER: "select, update",
        OPERATOR: "select",
        AUDITOR: "select",
    },
    "write_trials": {GATEWAY: "select, insert, update, delete", AUDITOR: "select"},
    "rate_reports": {GATEWAY: "select, insert, update, delete", AUDITOR: "select"},
    "api_keys": {
        GATEWAY: "select, update (last_used_at)",
        OPERATOR: f"{_KEY_COLUMNS}, insert, update (revoked_at, revoked_by)",
        AUDITOR: _KEY_COLUMNS,
    },
    "api_keys_revision": {GATEWAY: "select", OPERATOR: "select, update", AUDITOR: "select"},
}
"""By table and role. Who locks rows needs UPDATE, too. The owner aside, nobody has more, and nobody may TRUNCATE."""

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
