-- Splits at any instant of the past, and statements.
--
-- A position lies between two entries. Entries are in the order in which they count: by instant, and within an instant
-- by identifier. The release of a lock and the expiry of a hold count from an instant that is earlier than their row
-- (`effective_at`), and also if that row is not written yet; within an instant they come right after the charge, receive
-- or hold that they end. So a position is given in three ways: the identifier $3 that it is before in the order of rows,
-- and the instant $4 and identifier $5 that it is before in the order of effects.

-- name: wallets_of
select currency from wallets where user_id = $1 order by currency;

-- name: wait_for_writers
-- Waits for whoever is writing to the wallet. Whoever writes later, writes at an instant that is not before `now`.
select greatest(clock_timestamp(), last_at + interval '1 microsecond') as now
from wallets
where user_id = $1 and currency = $2
for share;

-- name: archived_before
-- From which instant on this wallet's books are whole; no row: from their beginning.
select a.before
from archived_balances as b
cross join lateral (select before from archives order by boundary desc limit 1) as a
where b.user_id = $1 and b.currency = $2;

-- name: now
select clock_timestamp() as now;

-- name: split
-- The split at a position: after the last row before it, and what counts before it but was written later or not yet.
-- Releases are written in the order in which they count, so going back from the position, the first one that is not
-- late ends the search. It is made in steps of some rows.
with recursive late (effective_at, reference, locked, held, more) as (
    select $4::timestamptz, $5::uuid, 0::numeric, 0::numeric, true
    union all
    select n.effective_at, n.reference, n.locked, n.held, n.more
    from late as l
    cross join lateral (
        select
            min(s.effective_at) as effective_at,
            (array_agg(s.reference order by s.effective_at, s.reference))[1] as reference,
            coalesce(sum(s.amount) filter (where s.id >= $3 and s.debit_account = 'locked'), 0) as locked,
            coalesce(sum(s.amount) filter (where s.id >= $3 and s.debit_account = 'held'), 0) as held,
            coalesce(bool_and(s.id >= $3), false) as more
        from (
            select t.effective_at, t.reference, t.id, t.amount, t.debit_account
            from transfers as t
            where
                t.user_id = $1
                and t.currency = $2
                and t.effective_at is not null
                and (t.effective_at, t.reference) < (l.effective_at, l.reference)
            order by t.effective_at desc, t.reference desc
            limit 50
        ) as s
    ) as n
    where l.more
),

unwritten as (
    select
        coalesce(sum(amount) filter (where account = 'locked'), 0) as locked,
        coalesce(sum(amount) filter (where account = 'held'), 0) as held
    from locks
    where
        user_id = $1
        and currency = $2
        and release_at <= $4
        and (greatest(release_at, uuid7_instant(charge_id)), charge_id) < ($4, $5)
),

effects as (
    select
        (select sum(locked) from late) + u.locked as locked,
        (select sum(held) from late) + u.held as held
    from unwritten as u
)

select
    (t.available_after + e.locked + e.held)::bigint as available,
    (t.locked_after - e.locked)::bigint as locked,
    (t.held_after - e.held)::bigint as held
from effects as e
cross join lateral (
    select available_after, locked_after, held_after
    from transfers
    where user_id = $1 and currency = $2 and id < $3
    order by id desc
    limit 1
) as t;

-- name: rows
-- Entries whose row counts from when it was written: those from the identifier $3 on and before $4. At most $6 rows are
-- looked at: the last of these comes too, whether or not it `matches`.
select id, kind, debit_account, credit_account, amount, reference, peer_user_id, made_by, created_at, matches, number
from (
    select
        id,
        kind,
        debit_account,
        credit_account,
        amount,
        reference,
        peer_user_id,
        made_by,
        created_at,
        effective_at is null as matches,
        row_number() over (order by id) as number
    from transfers
    where user_id = $1 and currency = $2 and id >= $3 and id < $4
    order by id
    limit $6
) as looked_at
where matches or number = $6
order by id
limit $5;

-- name: effects
-- Entries that count before they were written, or are not written yet: those from ($3, $4) on and before $5.
select account, amount, reference, effective_at
from (
    (
        select debit_account as account, amount, reference, effective_at
        from transfers
        where
            user_id = $1
            and currency = $2
            and effective_at is not null
            and (effective_at, reference) >= ($3, $4)
            and effective_at < $5
        order by effective_at, reference
        limit $6
    )
    union all
    (
        select account, amount, charge_id, greatest(release_at, uuid7_instant(charge_id)) as effective_at
        from locks
        where
            user_id = $1
            and currency = $2
            and release_at < $5
            and (greatest(release_at, uuid7_instant(charge_id)), charge_id) >= ($3, $4)
            and greatest(release_at, uuid7_instant(charge_id)) < $5
        order by 4, 3
        limit $6
    )
) as either
order by effective_at, reference
limit $6;
