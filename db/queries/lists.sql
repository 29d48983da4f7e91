-- Lists, newest first: identifiers only, those from $from on and before $before. Each statement looks at so many rows at
-- most, however few of them match: the last of these comes too, whether or not it `matches`, so that the next page can
-- begin there. Nothing is read that is not needed: a page that is full ends the walk.

-- name: charges
select at, id, matches, number
from (
    select id as at, id, kind = 'charge' as matches, row_number() over (order by id desc) as number
    from transfers
    where user_id = $1 and currency = $2 and id < $3 and id >= $4
    order by id desc
    limit $6
) as looked_at
where matches or number = $6
order by at desc
limit $5;

-- name: transfers
-- Those that the wallet has paid (unless $7 is `received`), and those that it was paid by (unless $7 is `sent`), each once,
-- also if several legs go to it. What takes a transfer back is no transfer: there the payer has a `receive` row that is
-- its own reference, and the payees have `send` rows that refer to it.
select at, id, is_last as matches, number
from (
    select
        t.id as at,
        t.reference as id,
        case
            when t.kind in ('send', 'capture') then t.reference = t.id and $7::text is distinct from 'received'
            when t.kind = 'receive' then t.reference <> t.id and $7::text is distinct from 'sent'
            else false
        end as matches,
        t.kind,
        t.user_id,
        row_number() over (order by t.id desc) as number
    from transfers as t
    where t.user_id = $1 and t.currency = $2 and t.id < $3 and t.id >= $4
    order by t.id desc
    limit $6
) as looked_at
cross join lateral (
    select
        matches and case
            when kind = 'receive' then (  -- the last of its legs to this payee
                select count(*) = 0
                from transfer_legs as l
                where
                    l.transfer_id = looked_at.id
                    and l.to_user_id = looked_at.user_id
                    and l.receive_id > looked_at.at
            )
            else true
        end as is_last
) as told
where is_last or number = $6
order by at desc
limit $5;

-- name: holds_of_wallet
select at, id, matches, number
from (
    select
        id as at,
        id,
        coalesce(
            $7::text
            = case when status = 'open' and expires_at <= (select clock_timestamp()) then 'expired' else status end,
            true
        ) as matches,
        row_number() over (order by id desc) as number
    from holds
    where user_id = $1 and currency = $2 and id < $3 and id >= $4
    order by id desc
    limit $6
) as looked_at
where matches or number = $6
order by at desc
limit $5;

-- name: holds_of_all
select at, id, matches, number
from (
    select
        id as at,
        id,
        coalesce(
            $5::text
            = case when status = 'open' and expires_at <= (select clock_timestamp()) then 'expired' else status end,
            true
        ) as matches,
        row_number() over (order by id desc) as number
    from holds
    where id < $1 and id >= $2
    order by id desc
    limit $4
) as looked_at
where matches or number = $4
order by at desc
limit $3;

-- name: withdrawals_of_wallet
-- By their reserves, which have their identifiers: an index of the wallet's reserves costs a withdrawal one entry, where
-- one on withdrawals would get another with each change of the status.
select at, id, matches, number
from (
    select
        t.id as at,
        t.id,
        coalesce(w.status = $7::text, true) as matches,
        row_number() over (order by t.id desc) as number
    from transfers as t
    join withdrawals as w on w.id = t.id and w.user_id = t.user_id
    where t.user_id = $1 and t.currency = $2 and t.kind = 'reserve' and t.id < $3 and t.id >= $4
    order by t.id desc
    limit $6
) as looked_at
where matches or number = $6
order by at desc
limit $5;

-- name: withdrawals_of_all
-- Also those that have completed, which are most of them.
select at, id, matches, number
from (
    select
        id as at,
        id,
        coalesce(status = $5::text, true) as matches,
        row_number() over (order by id desc) as number
    from withdrawals
    where id < $1 and id >= $2
    order by id desc
    limit $4
) as looked_at
where matches or number = $4
order by at desc
limit $3;

-- name: withdrawals_not_completed
-- Those of the status $4, which is not `completed`.
select id as at, id, true as matches, 0 as number
from withdrawals
where status = $4 and status <> 'completed' and id < $1 and id >= $2
order by id desc
limit $3;

-- name: by_key
-- The charge, transfer (also one that the capture of a hold has made) or hold that was made under this key.
select t.id
from idempotency_keys as k
join transfers as t on t.user_id = k.user_id and t.currency = k.currency and t.id = k.movement_id
where k.digest = key_digest($1, $2) and t.kind = any($3::text[]);
