-- name: lock_wallets
-- Locks the wallets ($1, $2) in key order and reads the clock after the last lock. Along come those of the keys
-- ($3, $4) that are used already, once: told with each wallet, they would grow with the square of the batch. One row
-- at least, so that the clock is always told.
with locked_wallets as materialized (
    select w.user_id, w.currency, w.available, w.locked, w.held
    from unnest($1::text[], $2::text[]) as asked (user_id, currency)
    join wallets as w using (user_id, currency)
    order by w.user_id, w.currency
    for no key update of w
)

select
    w.user_id,
    w.currency,
    w.available,
    w.locked,
    w.held,
    clock_timestamp() as now,
    case when row_number() over () = 1 then (
        select array_agg(k.client || e'\x1f' || k.key)
        from unnest($3::text[], $4::text[]) as asked (client, key)
        join idempotency_keys as k on k.digest = key_digest(asked.client, asked.key)
    ) end as used
from (select 1) as one_row
left join locked_wallets as w on true;

-- name: write_expected
-- All of a batch by one statement, in the hope that its keys are new and every request can be accepted: the wallets
-- ($1, in key order) are locked and changed by one visit to each, then the movements ($2) are written. The clock is
-- read after the last lock; the identifiers begin with it. Refused as a whole if a wallet is not there or has too
-- little, or if the earliest `release_at` ($3) is over; a used key violates idempotency_keys_pkey.
-- $4: how long the doorbell may stay unanswered before the reconciler rings again. Of plain charges only, a batch is
-- written without the part that is marked: what does nothing has to be set up all the same.
with changed as (
    update wallets as w
    set
        available = w.available + c.available,
        locked = w.locked + c.locked,
        held = w.held + c.held,
        transactions = w.transactions + c.transactions
    from unnest($1::expected_change[]) with ordinality as c (
        user_id, currency, available, locked, held, transactions, needed, number
    )
    where w.user_id = c.user_id and w.currency = c.currency and w.available >= c.needed
    returning c.number, w.available + w.locked + w.held - c.available - c.locked - c.held as total_before
),

lock_taken as (
    select
        count(*) as wallets,
        array_agg(total_before order by number) as totals_before,
        clock_timestamp() as now
    from changed
),

decision as (
    select
        now,
        totals_before,
        uuid7_start(now) as id_start,
        case when wallets < cardinality($1) or $3::timestamptz <= now then refuse_batch() else true end as accepted
    from lock_taken
),

movements as materialized (
    select (d.id_start || m.id_end)::uuid as id, d.totals_before[m.wallet] + m.total_change as total_after, d.now, m.*
    from decision as d
    cross join unnest($2::expected_movement[]) as m
),

new_transfers as (
    insert into transfers (
        id, user_id, currency, kind, debit_account, credit_account, amount, total_after, reference, release_at,
        metadata, created_at
    )
    select
        id,
        user_id,
        currency,
        kind,
        case when kind = 'charge' then 'funding' else 'available' end,
        case when kind = 'reserve' then 'held' when release_at is null then 'available' else 'locked' end,
        amount,
        total_after,
        id,
        release_at,
        case when kind = 'charge' then metadata end,
        now
    from movements
),

-- only with locks or withdrawals
new_locks as (
    insert into locks (user_id, currency, release_at, charge_id, amount)
    select user_id, currency, release_at, id, amount
    from movements
    where release_at is not null
),

new_withdrawals as (
    insert into withdrawals (
        id, user_id, currency, amount, destination, metadata, created_at, updated_at, next_attempt_at, ring_at
    )
    select id, user_id, currency, amount, destination, metadata, now, now, now, now + $4::interval
    from movements
    where kind = 'reserve'
),

doorbell as (
    insert into outbox (user_id, withdrawal_id, created_at)
    select user_id, id, now
    from movements
    where kind = 'reserve'
),
-- end

new_keys as (
    insert into idempotency_keys (client, key, fingerprint, user_id, currency, movement_id)
    select client, key, fingerprint, user_id, currency, id
    from movements
    order by client, key
)

select now, id_start from decision where accepted;

-- name: receipts
-- What used keys stand for: the unchanging part of a charge or withdrawal, so that a replay gives the same bytes.
select
    k.client,
    k.key,
    k.fingerprint,
    t.id,
    t.user_id,
    t.currency,
    t.kind,
    t.amount,
    t.release_at,
    t.created_at,
    w.destination,
    case when w.id is null then t.metadata else w.metadata end as metadata
from unnest($1::text[], $2::text[]) as asked (client, key)
join idempotency_keys as k on k.digest = key_digest(asked.client, asked.key)
join transfers as t on t.user_id = k.user_id and t.currency = k.currency and t.id = k.movement_id
left join withdrawals as w on w.id = t.id and w.user_id = t.user_id;

-- name: create_wallets
insert into wallets (user_id, currency)
select user_id, currency
from unnest($1::text[], $2::text[]) as asked (user_id, currency)
order by user_id, currency
on conflict do nothing;

-- name: matured_locks
-- Locks whose time has come, the oldest first, at most $4 a wallet; $3 is the instant of the decision.
select asked.user_id, asked.currency, l.charge_id, l.release_at, l.amount
from unnest($1::text[], $2::text[]) as asked (user_id, currency)
cross join lateral (
    select charge_id, release_at, amount
    from locks
    where locks.user_id = asked.user_id and locks.currency = asked.currency and release_at <= $3
    order by release_at, charge_id
    limit $4
) as l;

-- name: record
-- The whole of a batch that every batch has: books, keys, balances (as differences, so that the checks on the
-- table guard the result). A movement without a reference refers to itself; one without a client has no key.
-- A key that is used by now violates idempotency_keys_pkey. Returns how many balances were written.
with movements as materialized (
    select * from unnest($1::movement[])
),

new_transfers as (
    insert into transfers (
        id, user_id, currency, kind, debit_account, credit_account, amount, total_after, reference, release_at,
        metadata, created_at
    )
    select
        id, user_id, currency, kind, debit_account, credit_account, amount, total_after,
        coalesce(reference, id), release_at, metadata, $3
    from movements
),

new_keys as (
    insert into idempotency_keys (client, key, fingerprint, user_id, currency, movement_id)
    select client, key, fingerprint, user_id, currency, id
    from movements
    where client is not null
    order by client, key
),

new_balances as (
    update wallets as w
    set
        available = w.available + d.available,
        locked = w.locked + d.locked,
        held = w.held + d.held,
        transactions = w.transactions + d.transactions
    from unnest($2::balance_change[]) as d
    where w.user_id = d.user_id and w.currency = d.currency
    returning 1
)

select count(*) as wallets from new_balances;

-- name: record_locks
insert into locks (user_id, currency, release_at, charge_id, amount)
select * from unnest($1::text[], $2::text[], $3::timestamptz[], $4::uuid[], $5::bigint[]);

-- name: end_locks
delete from locks
using unnest($1::text[], $2::text[], $3::uuid[], $4::timestamptz[])
    as ended (user_id, currency, charge_id, release_at)
where locks.user_id = ended.user_id
    and locks.currency = ended.currency
    and locks.release_at = ended.release_at
    and locks.charge_id = ended.charge_id;

-- name: record_withdrawals
-- $8: how long the doorbell may stay unanswered before the reconciler rings again.
with new_withdrawals as (
    insert into withdrawals (
        id, user_id, currency, amount, destination, metadata, created_at, updated_at, next_attempt_at, ring_at
    )
    select id, user_id, currency, amount, destination, metadata, at, at, at, at + $8::interval
    from unnest(
        $1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::json[], $6::json[], $7::timestamptz[]
    ) as new (id, user_id, currency, amount, destination, metadata, at)
    returning id, user_id, created_at
)

insert into outbox (user_id, withdrawal_id, created_at)
select user_id, id, created_at
from new_withdrawals;

-- name: wallets_with_matured_locks
-- Wallets with locks whose time has come, for the reconciler.
select distinct user_id, currency
from (
    select user_id, currency
    from locks
    where release_at <= clock_timestamp()
    order by release_at
    limit $1
) as oldest;

-- name: held_elsewhere
-- Which of the wallets ($1, $2) are locked by a transaction that has been going on for longer than $3. A locked row
-- names the transaction in xmax; the short ones, of processes that work, are none of our concern.
select w.user_id, w.currency
from unnest($1::text[], $2::text[]) as asked (user_id, currency)
join wallets as w using (user_id, currency)
join pg_stat_activity as a on a.backend_xid = w.xmax
where clock_timestamp() - a.xact_start > $3::interval;
