-- The queries of `wbs bench`. None is on the path of a request.

-- name: pgbench_charge
-- The yardstick, in pgbench's own language: one charge per commit, one round trip. It writes the movement and the
-- balance, but unlike our charges no idempotency key, and it decides nothing, which is to its advantage.
\set user random(10001, 20000)
\set amount random(100, 999)
with new_charge as materialized (select gen_random_uuid() as id),

new_balance as (
    insert into wallets (user_id, currency, available, transactions) values (:user, 'USD', :amount, 1)
    on conflict (user_id, currency) do update
        set available = wallets.available + excluded.available, transactions = wallets.transactions + 1
    returning available + locked + held as total
)

insert into transfers (
    id, user_id, currency, kind, debit_account, credit_account, amount, total_after, reference, release_at,
    metadata, created_at
)
select c.id, :user, 'USD', 'charge', 'funding', 'available', :amount, b.total, c.id, null, null, clock_timestamp()
from new_charge as c
cross join new_balance as b;

-- name: add_api_key
insert into api_keys (name, prefix, secret_hash, scopes, created_by)
values ('bench', 'wbs_bench000', $1, $2, 'operator:bench');

-- name: prefill
-- $1 more charges for each wallet ($2, $3), consistent with the ledger, with keys ($4: the fingerprint of each of the
-- wallet's charges). They are inserted round by round, as time would have brought them, so that the indexes get their
-- natural shape.
with drawn as (
    select
        gen_random_uuid()::text as random,
        lpad(to_hex(floor(extract(epoch from clock.at) * 1000)::bigint + round), 12, '0') as milliseconds,
        clock.at + round * interval '1 ms' as at,
        w.user_id,
        w.currency,
        w.available + 100 * round as available_after,
        w.locked as locked_after,
        w.held as held_after,
        asked.fingerprint
    from generate_series(1, $1::int) as round
    cross join (select clock_timestamp() as at) as clock
    cross join unnest($2::text[], $3::text[], $4::bytea[]) as asked (user_id, currency, fingerprint)
    join wallets as w using (user_id, currency)
),

new_charges as materialized (
    select
        (substr(milliseconds, 1, 8) || '-' || substr(milliseconds, 9, 4) || '-7' || substr(random, 16))::uuid as id,
        user_id,
        currency,
        100 as amount,
        available_after,
        locked_after,
        held_after,
        at as created_at,
        random as key,
        fingerprint
    from drawn
),

transfers_written as (
    insert into transfers (
        id, user_id, currency, kind, debit_account, credit_account, amount, total_after, available_after,
        locked_after, held_after, reference, created_at
    )
    select
        id,
        user_id,
        currency,
        'charge',
        'funding',
        'available',
        amount,
        available_after + locked_after + held_after,
        available_after,
        locked_after,
        held_after,
        id,
        created_at
    from new_charges
),

keys_written as (
    insert into idempotency_keys (client, key, fingerprint, user_id, currency, movement_id)
    select 'default', key, fingerprint, user_id, currency, id
    from new_charges
),

balances_written as (
    update wallets as w
    set available = w.available + 100 * $1::int, transactions = w.transactions + $1::int, last_at = last.at
    from (select user_id, currency, max(created_at) as at from new_charges group by user_id, currency) as last
    where w.user_id = last.user_id and w.currency = last.currency
)

select count(*) as charges from new_charges;

-- name: leave_out_triggers
-- What fills the database notes no events: no courier could ever be so far behind.
set session_replication_role = replica;

-- name: note_events
-- Whether writers note events.
alter table transfers %s trigger transfers_noted;
alter table withdrawal_history %s trigger withdrawal_history_noted;

-- name: complete_from_now
-- What was written without a note is not missing: events are complete from now on.
update event_sequence
set kinds_since = (select jsonb_object_agg(k.key, clock_timestamp()) from jsonb_each(kinds_since) as k)
where kinds_since <> '{}';

-- name: all_numbered
select not exists (select from event_batches) as all_numbered;

-- name: archived
select coalesce(sum(movements), 0)::bigint as movements from archived_balances;

-- name: courier_leads
select exists (select from heartbeats where kind = 'courier' and at > $1 and (detail ->> 'leads')::boolean) as leads;

-- name: last_event
select last_seq from event_sequence;

-- name: numbered
-- Events numbered since $1: how many, how long each waited from its statement on, and at which rate. The first
-- transaction is left out of the rate, since nothing tells when it began; null: there was no other.
with written as (
    select xmin::text as transaction, count, at, numbered_at
    from events
    where numbered_at >= $1
),

transactions as (
    select transaction, sum(count)::bigint as events, max(numbered_at) as ended_at
    from written
    group by transaction
),

first as (select transaction, ended_at from transactions order by ended_at limit 1)

select
    (select sum(events)::bigint from transactions) as events,
    (
        select sum(t.events) / nullif(extract(epoch from max(t.ended_at) - max(f.ended_at)), 0)
        from transactions as t
        cross join first as f
        where t.transaction <> f.transaction
    )::float8 as per_s,
    (
        select percentile_cont(array[0.5, 0.99]) within group (order by extract(epoch from numbered_at - at))
        from written
    ) as lags_s;

-- name: transactions
select coalesce(sum(transactions), 0)::bigint as transactions from wallets;

-- name: open_withdrawals
select count(*) as open from withdrawals where status in ('pending', 'processing');

-- name: idle
-- Whether everything is paid, and published as far as the queue has room. It runs often during measurements, so it reads
-- one row of each table.
select
    not exists (select from outbox)
    or exists (select from heartbeats where kind = 'relay' and detail ->> 'queue' = 'full') as published_or_full,
    not exists (select from withdrawals where status in ('pending', 'processing')) as paid;

-- name: drain
-- The ends of the withdrawals accepted since $1: their number, the time of all, and the latency of each.
select
    count(*) as completed,
    extract(epoch from max(updated_at) - min(updated_at))::float8 as seconds,
    percentile_cont(array[0.5, 0.99]) within group (
        order by extract(epoch from updated_at - created_at)
    ) as latencies_s
from withdrawals
where status = 'completed' and created_at >= $1;

-- name: clock
select clock_timestamp() as now;

-- name: wallets
select user_id, currency from wallets where user_id <> $1 order by user_id, currency;

-- name: server_facts
select name, setting || coalesce(' ' || unit, '') as setting
from pg_settings
where name in (
    'server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers', 'max_wal_size',
    'wal_compression', 'autovacuum'
)
order by name;
