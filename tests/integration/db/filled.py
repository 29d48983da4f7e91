"""A database as it looks after some time: 200,000 transfers, most withdrawals ended, a few of everything open."""

import asyncpg

TRANSFERS = 200_000
WALLETS = 20_000
WITHDRAWALS = 20_000

# Identifiers as time would have made them: ascending, in the layout of version 7.
_ID = "('0190' || lpad(to_hex(n), 8, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid"

_STATEMENTS = (
    f"""
    insert into wallets (user_id, currency, available, locked, held, transactions)
    select 'user-' || n, 'USD', 1000, 0, 0, 11 from generate_series(1, {WALLETS}) as n""",
    f"""
    insert into transfers (
        id, user_id, currency, kind, debit_account, credit_account, amount, total_after, reference, created_at)
    select {_ID}, 'user-' || (n % {WALLETS} + 1), 'USD', 'charge', 'funding', 'available', 100, 100, {_ID},
        now() - interval '1 day' + n * interval '1 ms'
    from generate_series(1, {TRANSFERS}) as n""",
    """
    insert into archived_balances
    select user_id, currency, 0, 0, 0, 1, 1, 1 from wallets""",
    """
    insert into idempotency_keys (client, key, fingerprint, user_id, currency, movement_id)
    select 'shop', 'key-' || id, '\\x00', user_id, currency, id from transfers""",
    f"""
    insert into withdrawals (
        id, user_id, currency, amount, status, attempts, bank_reference, next_attempt_at, ring_at, created_at,
        updated_at)
    select {_ID}, 'user-' || (n % {WALLETS} + 1), 'USD', 5,
        case n % 200 when 0 then 'pending' when 1 then 'processing' when 2 then 'requires_attention'
        else 'completed' end,
        1, case when n % 200 > 2 then 'p' || n end, now(), now() + (n % 3 - 1) * interval '1 hour', now(), now()
    from generate_series(1, {WITHDRAWALS}) as n""",
    """
    insert into withdrawal_history (user_id, withdrawal_id, seq, status, at, reason)
    select user_id, id, seq, 'pending', now(), 'x' from withdrawals cross join generate_series(2, 4) as seq""",
    """
    insert into outbox (user_id, withdrawal_id, created_at)
    select user_id, id, created_at from withdrawals where id in (select id from withdrawals limit 5000)""",
    f"""
    insert into locks (user_id, currency, release_at, charge_id, amount)
    select 'user-' || (n % {WALLETS} + 1), 'USD', now() + (n - 100) * interval '1 minute', {_ID}, 1
    from generate_series(1, 20000) as n""",
    f"""
    insert into holds (id, user_id, currency, amount, captured, status, transfer_id, created_at, ended_at)
    select {_ID}, 'user-' || (n % {WALLETS} + 1), 'USD', 5, case when n % 200 = 0 then 0 else 5 end,
        case when n % 200 = 0 then 'open' else 'captured' end, case when n % 200 <> 0 then {_ID} end, now(),
        case when n % 200 <> 0 then now() end
    from generate_series(1, 20000) as n""",
    f"""
    insert into transfer_legs (
        transfer_id, from_user_id, leg, to_user_id, currency, amount, receive_id)
    select {_ID}, 'user-' || (n % {WALLETS} + 1), 1, 'user-1', 'USD', 5, {_ID} from generate_series(1, 20000) as n""",
    f"""
    insert into reversals (id, user_id, currency, reverses, amount)
    select {_ID}, 'user-' || (n % {WALLETS} + 1), 'USD', {_ID}, 1 from generate_series(1, 20000) as n""",
    f"""
    insert into charge_reversals (charge_id, user_id, amount, reversed)
    select {_ID}, 'user-' || (n % {WALLETS} + 1), 5, 1 from generate_series(1, 20000) as n""",
    f"""
    insert into withdrawal_attempts (user_id, withdrawal_id, number, ended_at, took_ms, outcome)
    select 'user-' || (n % {WALLETS} + 1), {_ID}, 1, now(), 1, 'paid' from generate_series(1, 20000) as n""",
    f"""
    insert into operator_actions (made_by, action, withdrawal_id)
    select 'operator:eve', 'replay', {_ID} from generate_series(1, 20000) as n""",
    "analyze",
)


async def fill(connection: asyncpg.Connection) -> None:
    """Fill an empty database, some 20 s on a busy machine."""
    for statement in _STATEMENTS:
        await connection.execute(statement, timeout=120)
