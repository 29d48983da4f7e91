"""The roles of PostgreSQL: who may do what to which table. The one place where rights are granted.

Each kind of process logs in as a role of its own, the schema belongs to a role that only migrates, and nobody at all
may change or remove a row of `transfers`. `db.granting` makes the roles, and grants what `GRANTS` says; a test fails if
a new table is not in it.
"""

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
_WEBHOOK_COLUMNS = (
    "select (id, url, types, description, status, disabled_reason, user_prefix, made_by, delivered_seq, failures, "
    "failing_since, next_attempt_at, rung_until, leased_until, old_secret_until, created_at)"
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
        ACTORS: "select",
        COURIER: "select",
        OPERATOR: "select, update (status, ended_at)",
        AUDITOR: "select",
    },
    "transfer_legs": {
        GATEWAY: "select, insert, update (reversed)",
        ACTORS: "select",
        COURIER: "select",
        **_READ_BY_ALL_WHO_AUDIT,
    },
    "charge_reversals": {GATEWAY: "select, insert, update", **_READ_BY_ALL_WHO_AUDIT},
    "reversals": {ACTORS: "select", GATEWAY: "select, insert", COURIER: "select", **_READ_BY_ALL_WHO_AUDIT},
    "reversal_legs": {
        ACTORS: "select",
        GATEWAY: "select, insert",
        COURIER: "select",
        **_READ_BY_ALL_WHO_AUDIT,
    },
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
        OPERATOR: "select, insert",
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
    "archives": {GATEWAY: "select", **_READ_BY_ALL_WHO_AUDIT},
    "archive_files": {AUDITOR: "select"},
    "archived_balances": {GATEWAY: "select", **_READ_BY_ALL_WHO_AUDIT},
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
    "adjustment_proposals": {
        GATEWAY: "select, insert",
        OPERATOR: "select, insert",
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
    "events": {
        ACTORS: "select",
        GATEWAY: "select",
        COURIER: "select, insert, delete",
        OPERATOR: "select",
        AUDITOR: "select",
    },
    "event_sequence": {
        GATEWAY: "select",
        ACTORS: "select",
        COURIER: "select, update",
        OPERATOR: "select",
        AUDITOR: "select",
    },
    "webhook_endpoints": {
        GATEWAY: "select, insert, update, delete",
        ACTORS: "select, update",
        COURIER: f"{_WEBHOOK_COLUMNS}, update (rung_until)",
        RECONCILER: _WEBHOOK_COLUMNS,
        OPERATOR: _WEBHOOK_COLUMNS,
        AUDITOR: _WEBHOOK_COLUMNS,
    },
    "webhook_deliveries": {
        GATEWAY: "select",
        ACTORS: "select, insert, delete",
        OPERATOR: "select",
        AUDITOR: "select",
    },
    "webhook_parked": {
        GATEWAY: "select, insert, update",
        ACTORS: "select, insert, update, delete",
        COURIER: "select",
        OPERATOR: "select",
        AUDITOR: "select",
    },
    "webhook_turns": {
        COURIER: "select, insert",
        RELAY: "select, delete, update (at)",
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
