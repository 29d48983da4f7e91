-- name: sizes
-- Rough sizes, for the progress only.
select
    relname as name,
    greatest(n_live_tup, 0) as rows
from pg_stat_user_tables
where relname in ('wallets', 'transfers', 'withdrawals', 'idempotency_keys');

-- name: wallet_sums
-- A page of wallets after ($1, $2), each beside the sums of what it should be equal to.
select
    w.user_id,
    w.currency,
    w.available,
    w.locked,
    w.held,
    w.transactions,
    t.transfers,
    t.available as available_sum,
    t.locked as locked_sum,
    t.held as held_sum,
    t.transactions as transactions_sum,
    t.locked_charges,
    l.locks,
    coalesce(o.open_amount, 0) as open_amount
from (
    select *
    from wallets
    where (user_id, currency) > ($1, $2)
    order by user_id, currency
    limit $3
) as w
cross join lateral (
    select
        count(*) as transfers,
        coalesce(sum(amount) filter (where credit_account = 'available'), 0)
        - coalesce(sum(amount) filter (where debit_account = 'available'), 0) as available,
        coalesce(sum(amount) filter (where credit_account = 'locked'), 0)
        - coalesce(sum(amount) filter (where debit_account = 'locked'), 0) as locked,
        coalesce(sum(amount) filter (where credit_account = 'held'), 0)
        - coalesce(sum(amount) filter (where debit_account = 'held'), 0) as held,
        count(*) filter (where kind in ('charge', 'reserve')) as transactions,
        coalesce(sum(amount) filter (where credit_account = 'locked'), 0)
        - coalesce(sum(amount) filter (where kind = 'release'), 0) as locked_charges
    from transfers
    where transfers.user_id = w.user_id and transfers.currency = w.currency
) as t
cross join lateral (
    select coalesce(sum(amount), 0) as locks
    from locks
    where locks.user_id = w.user_id and locks.currency = w.currency
) as l
left join open_by_wallet as o on o.user_id = w.user_id and o.currency = w.currency
order by w.user_id, w.currency;

-- name: open_by_wallet
create temporary table open_by_wallet on commit drop as
select user_id, currency, sum(amount) as open_amount
from withdrawals
where status in ('pending', 'processing', 'requires_attention')
group by user_id, currency;

-- name: index_open_by_wallet
create index on open_by_wallet (user_id, currency);

-- name: transfers_without_wallet
select distinct t.user_id, t.currency
from transfers as t
where not exists (select from wallets as w where w.user_id = t.user_id and w.currency = t.currency)
limit $1;

-- name: open_without_wallet
select o.user_id, o.currency, o.open_amount
from open_by_wallet as o
where not exists (select from wallets as w where w.user_id = o.user_id and w.currency = o.currency)
limit $1;

-- name: bad_transfers
-- Rows that the table's own checks should have refused.
select id, user_id, currency, kind, debit_account, credit_account, amount, total_after
from transfers
where
    amount <= 0
    or total_after < 0
    or (kind, debit_account, credit_account) not in (
        ('charge', 'funding', 'available'),
        ('charge', 'funding', 'locked'),
        ('release', 'locked', 'available'),
        ('reserve', 'available', 'held'),
        ('payout', 'held', 'bank'),
        ('refund', 'held', 'available'),
        ('return', 'bank', 'available')
    )
limit $1;

-- name: bad_releases
-- Releases of what was never locked, or of another amount, or before its time.
select r.id, r.user_id, r.reference, r.amount, c.amount as charged, c.release_at, r.created_at
from transfers as r
left join transfers as c
    on c.user_id = r.user_id and c.currency = r.currency and c.id = r.reference and c.credit_account = 'locked'
where
    r.kind = 'release'
    and (c.id is null or c.amount <> r.amount or c.release_at > r.created_at)
limit $1;

-- name: twice_ended
-- References that were paid, given back or released more than once.
select user_id, reference, array_agg(kind order by id) as kinds
from transfers
where kind in ('payout', 'refund', 'release', 'return')
group by user_id, reference
having count(*) filter (where kind <> 'return') > 1 or count(*) filter (where kind = 'return') > 1
limit $1;

-- name: transfers_without_withdrawal
select t.id, t.user_id, t.kind, t.reference
from transfers as t
where
    t.kind in ('reserve', 'payout', 'refund', 'return')
    and not exists (
        select from withdrawals as w
        where w.id = t.reference and w.user_id = t.user_id and w.currency = t.currency
    )
limit $1;

-- name: withdrawals
-- A page of withdrawals after $1 with their histories (which begin with pending, see reads.sql) and the transfers that
-- belong to them.
select
    w.id,
    w.user_id,
    w.amount,
    w.status,
    w.history_length,
    h.path,
    t.kinds,
    t.amounts
from (select * from withdrawals where id > $1 order by id limit $2) as w
cross join lateral (
    select array['pending'] || array_agg(status order by seq) as path
    from withdrawal_history
    where withdrawal_id = w.id and user_id = w.user_id and seq > 1
) as h
cross join lateral (
    select array_agg(kind order by id) as kinds, array_agg(amount order by id) as amounts
    from (
        select kind, amount, id
        from transfers
        where user_id = w.user_id and currency = w.currency and id = w.id
        union all
        select kind, amount, id
        from transfers
        where user_id = w.user_id and reference = w.id and kind in ('payout', 'refund', 'release')
        union all
        select kind, amount, id
        from transfers
        where user_id = w.user_id and reference = w.id and kind = 'return'
    ) as parts
) as t
order by w.id;

-- name: keys_without_movement
select k.client, left(k.key, 8) as key_start, k.user_id, k.movement_id
from idempotency_keys as k
where not exists (
    select from transfers as t
    where
        t.user_id = k.user_id
        and t.currency = k.currency
        and t.id = k.movement_id
        and t.kind in ('charge', 'reserve')
)
limit $1;

-- name: movements_with_two_keys
select user_id, movement_id, count(*) as keys
from idempotency_keys
group by user_id, movement_id
having count(*) > 1
limit $1;

-- name: movements_without_key
select t.id, t.user_id, t.kind
from transfers as t
where
    t.kind in ('charge', 'reserve')
    and not exists (
        select from idempotency_keys as k where k.movement_id = t.id and k.user_id = t.user_id
    )
limit $1;

-- name: counts
select
    (select count(*) from idempotency_keys) as keys,
    (select count(*) from transfers where kind in ('charge', 'reserve')) as movements;

-- name: create_bank_payouts
create temporary table bank_payouts (
    payout_id text, reference text, amount bigint, currency text, status text, created_at timestamptz
);

-- name: add_bank_payouts
insert into bank_payouts
select * from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[]);

-- name: index_bank_payouts
create index on bank_payouts (reference);

-- name: bank_payouts_doubled
select reference, count(*) as payouts
from bank_payouts
group by reference
having count(*) > 1
limit $1;

-- name: bank_payouts_wrong
-- Paid there: unknown here, of another amount, given back here, or left open here for over a minute.
select
    b.reference,
    b.payout_id,
    b.amount as bank_amount,
    b.currency as bank_currency,
    b.status as bank_status,
    b.created_at < clock_timestamp() - interval '1 minute' as old,
    w.amount,
    w.currency,
    w.status,
    w.bank_reference
from bank_payouts as b
left join withdrawals as w on w.id = case
    when b.reference ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then b.reference::uuid
end
where
    w.id is null
    or w.amount <> b.amount
    or w.currency <> b.currency
    or (b.status = 'paid' and w.status <> 'completed')
    or (b.status = 'returned' and w.status <> 'returned')
    or (w.bank_reference is not null and w.bank_reference <> b.payout_id)
limit $1;

-- name: completed_without_payout
-- Completed here before the bank's books were read ($1), and not paid there.
select w.id, w.user_id, w.amount, w.status
from withdrawals as w
where
    w.status in ('completed', 'returned')
    and w.updated_at < $1
    and not exists (select from bank_payouts as b where b.reference = w.id::text)
limit $2;

-- name: clock
select clock_timestamp() as now;
