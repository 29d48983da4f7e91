-- Captures, voids and reversals: what they are about, as it is under the locks of its wallets, and what they write.

-- name: stay
-- What is reversed must not be archived meanwhile (see `guard` in archive.sql).
select pg_advisory_xact_lock_shared(hashtext('wbs archive of origins'));

-- name: find
-- The wallets of these holds ($1), charges ($2) and transfers ($3), which never change.
select user_id, currency from holds where id = any($1::uuid[])
union
select user_id, currency from transfers where id = any($2::uuid[]) and kind = 'charge'
union
select unnest(array[from_user_id, to_user_id]), currency from transfer_legs where transfer_id = any($3::uuid[]);

-- name: holds
select id, user_id, currency, amount, captured, status, expires_at, transfer_id, metadata, created_at
from holds
where id = any($1::uuid[]);

-- name: charges
-- With what was reversed of each, and what its lock still has.
select
    t.id,
    t.user_id,
    t.currency,
    t.amount,
    coalesce(r.reversed, 0) as reversed,
    t.release_at,
    coalesce(l.amount, 0) as locked
from transfers as t
left join charge_reversals as r on r.charge_id = t.id and r.user_id = t.user_id
left join locks as l on
    l.user_id = t.user_id and l.currency = t.currency and l.release_at = t.release_at and l.charge_id = t.id
where t.id = any($1::uuid[]) and t.kind = 'charge';

-- name: legs
-- Of these transfers; with what was reversed of each, and what its lock still has.
select
    t.transfer_id,
    t.from_user_id,
    t.leg,
    t.receive_id as id,
    t.to_user_id as user_id,
    t.currency,
    t.amount,
    t.reversed,
    t.release_at,
    coalesce(l.amount, 0) as locked
from transfer_legs as t
left join locks as l on
    l.user_id = t.to_user_id
    and l.currency = t.currency
    and l.release_at = t.release_at
    and l.charge_id = t.receive_id
where t.transfer_id = any($1::uuid[])
order by t.transfer_id, t.leg;

-- name: end_holds
update holds as h
set status = e.status, captured = e.captured, transfer_id = e.transfer_id, ended_at = e.at
from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::uuid[], $6::timestamptz[])
    as e (id, user_id, status, captured, transfer_id, at)
where h.id = e.id and h.user_id = e.user_id
returning h.status = e.status and h.captured = e.captured as as_told;

-- name: reduce_locks
update locks as l
set amount = r.amount
from unnest($1::text[], $2::text[], $3::timestamptz[], $4::uuid[], $5::bigint[])
    as r (user_id, currency, release_at, charge_id, amount)
where
    l.user_id = r.user_id
    and l.currency = r.currency
    and l.release_at = r.release_at
    and l.charge_id = r.charge_id
returning l.amount = r.amount as as_told;

-- name: record_reversals
insert into reversals (id, user_id, currency, reverses, amount, reason)
select * from unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], $6::text[]);

-- name: reverse_charges
-- The check on the table, and not what was read, keeps the sum within the charge.
with asked as materialized (
    select * from unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[]) as a (charge_id, user_id, amount, reversed)
),

before as materialized (
    select charge_id, b.reversed from charge_reversals as b join asked using (charge_id, user_id)
)

insert into charge_reversals as r (charge_id, user_id, amount, reversed)
select charge_id, user_id, amount, reversed from asked
on conflict (charge_id, user_id) do update set reversed = r.reversed + excluded.reversed
returning
    r.reversed = (select a.reversed from asked as a where a.charge_id = r.charge_id)
    + coalesce((select b.reversed from before as b where b.charge_id = r.charge_id), 0) as as_told;

-- name: reverse_legs
-- The check on the table, and not what was read, keeps the sum within the leg.
with before as materialized (
    select transfer_id, from_user_id, leg, t.reversed, r.amount
    from unnest($1::uuid[], $2::text[], $3::integer[], $4::bigint[]) as r (transfer_id, from_user_id, leg, amount)
    join transfer_legs as t using (transfer_id, from_user_id, leg)
)

update transfer_legs as t
set reversed = t.reversed + b.amount
from before as b
where t.transfer_id = b.transfer_id and t.from_user_id = b.from_user_id and t.leg = b.leg
returning t.reversed = b.reversed + b.amount as as_told;

-- name: record_reversal_legs
insert into reversal_legs (reversal_id, user_id, leg, amount, send_id)
select * from unnest($1::uuid[], $2::text[], $3::integer[], $4::bigint[], $5::uuid[]);
