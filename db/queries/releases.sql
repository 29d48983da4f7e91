-- name: release_oldest
-- Writes the releases of matured locks and of expired holds in the wallets ($1, $2): the oldest of each, up to $3. Wallets that
-- another session keeps locked are passed over; for each of the others a row returns the number of ended locks and the
-- available balance. The ledger rows are those that `wallet.ledger.Wallet.move` would have made: the split after each
-- release, instants that never go back, ascending identifiers. If another session released locks after this statement
-- began and before it had the wallet, they are still visible but can't be deleted: only deleted locks are written. The
-- statement refuses itself if a row is not written as told (a trigger can swallow it).
with locked_wallets as materialized (
    select w.user_id, w.currency, w.available, w.locked, w.held, w.last_at
    from unnest($1::text[], $2::text[]) as asked (user_id, currency)
    join wallets as w using (user_id, currency)
    order by w.user_id, w.currency
    for no key update of w skip locked
),

lock_taken as materialized (
    select clock_timestamp() as now from (select count(*) from locked_wallets) as all_of_them
),

dated_wallets as materialized (
    select w.*, t.now, a.at, uuid7_start(a.at) as id_start
    from lock_taken as t
    cross join locked_wallets as w
    cross join lateral (select greatest(t.now, w.last_at + interval '1 microsecond') as at) as a
),

due as materialized (
    select w.user_id, w.currency, l.release_at, l.charge_id
    from dated_wallets as w
    cross join lateral (
        select release_at, charge_id
        from locks
        where locks.user_id = w.user_id and locks.currency = w.currency and release_at <= w.now
        order by release_at, charge_id
        limit $3
    ) as l
),

ended as (
    delete from locks as l
    using due as d
    where
        l.user_id = d.user_id
        and l.currency = d.currency
        and l.release_at = d.release_at
        and l.charge_id = d.charge_id
    returning l.user_id, l.currency, l.release_at, l.charge_id, l.amount, l.account
),

released as materialized (
    select
        user_id,
        currency,
        charge_id,
        release_at,
        amount,
        account,
        row_number() over oldest_first as number,
        (sum(amount) over oldest_first)::bigint as amount_so_far,
        (coalesce(sum(amount) filter (where account = 'held') over oldest_first, 0))::bigint as held_so_far
    from ended
    window oldest_first as (
        partition by user_id, currency
        order by release_at, charge_id
        rows between unbounded preceding and current row
    )
),

sums as materialized (
    select
        user_id,
        currency,
        count(*) as locks,
        sum(amount)::bigint as amount,
        (coalesce(sum(amount) filter (where account = 'held'), 0))::bigint as held
    from released
    group by user_id, currency
),

new_transfers as (
    insert into transfers (
        id, user_id, currency, kind, debit_account, credit_account, amount, total_after, available_after, locked_after,
        held_after, reference, created_at, effective_at
    )
    select
        (
            w.id_start
            || to_hex(
                'x8000000000000000'::bit(64)::bigint
                | ((r.number - 1) << 48)
                | floor(random() * 281474976710656)::bigint
            )
        )::uuid,
        r.user_id,
        r.currency,
        case r.account when 'held' then 'void' else 'release' end,
        r.account,
        'available',
        r.amount,
        w.available + w.locked + w.held,
        w.available + r.amount_so_far,
        w.locked - r.amount_so_far + r.held_so_far,
        w.held - r.held_so_far,
        r.charge_id,
        w.at,
        greatest(r.release_at, uuid7_instant(r.charge_id))
    from released as r
    join dated_wallets as w on w.user_id = r.user_id and w.currency = r.currency
    returning 1
),

expired_holds as (
    update holds as h
    set status = 'expired', ended_at = w.at
    from released as r
    join dated_wallets as w on w.user_id = r.user_id and w.currency = r.currency
    where r.account = 'held' and h.id = r.charge_id and h.user_id = r.user_id
    returning h.status = 'expired' as as_told
),

new_balances as (
    update wallets as w
    set
        available = w.available + s.amount,
        locked = w.locked - s.amount + s.held,
        held = w.held - s.held,
        last_at = d.at
    from sums as s
    join dated_wallets as d on d.user_id = s.user_id and d.currency = s.currency
    where w.user_id = s.user_id and w.currency = s.currency
    returning w.locked = d.locked - s.amount + s.held and w.held = d.held - s.held and w.last_at = d.at as as_told
)

select w.user_id, w.currency, coalesce(s.locks, 0) as locks, w.available + coalesce(s.amount, 0) as available
from dated_wallets as w
left join sums as s on s.user_id = w.user_id and s.currency = w.currency
where
    case
        when
            (select count(*) from new_transfers) = (select count(*) from released)
            and (select count(*) from expired_holds where as_told)
            = (select count(*) from released where account = 'held')
            and (select count(*) from new_balances where as_told) = (select count(*) from sums)
            then true
        else abort_statement()
    end;

-- name: wallets_with_matured_locks
-- The wallets of the $1 oldest matured locks, except those ($2, $3) that were found locked.
select distinct user_id, currency
from (
    select user_id, currency
    from locks
    where
        release_at <= (select clock_timestamp())
        and not exists (
            select from unnest($2::text[], $3::text[]) as passed_over (user_id, currency)
            where passed_over.user_id = locks.user_id and passed_over.currency = locks.currency
        )
    order by release_at
    limit $1
) as oldest;
