-- name: balances
-- The balances of all these users ($1) in all these currencies ($2). That costs less than a join with pairs, because
-- there is nearly always one currency. Matured money counts as available from its very instant, whether or not the
-- ledger has its release. The clock is read once: with the moving clock in the comparison, every future lock would be
-- read as well.
select
    w.user_id,
    w.currency,
    w.available,
    w.locked,
    w.held,
    case when w.locked > 0 then (
        select coalesce(sum(l.amount), 0)::bigint
        from locks as l
        where
            l.user_id = w.user_id
            and l.currency = w.currency
            and l.account = 'locked'
            and l.release_at <= (select clock_timestamp())
    ) else 0 end as matured,
    case when w.held > 0 then (
        select coalesce(sum(l.amount), 0)::bigint
        from locks as l
        where
            l.user_id = w.user_id
            and l.currency = w.currency
            and l.account = 'held'
            and l.release_at <= (select clock_timestamp())
    ) else 0 end as expired
from wallets as w
where w.user_id = any($1::text[]) and w.currency = any($2::text[]);

-- name: transactions
-- Pages of wallets ($1, $2), each newest first: from the identifier $4 on and before $3, $5 of them after skipping $6.
-- They have only charges and reserves: the other transfers are steps of these, or have lists of their own. Each row
-- contains its page's number and the wallet's total, null if there is no such wallet; a page without rows has one that
-- is null otherwise. A page looks at $7 rows at most; the last of these comes too, whether or not it `matches`, so that
-- the next page can begin there. The caller puts the rows in order, by `number`.
select
    asked.page,
    wallets.transactions as total,
    found.*
from unnest($1::text[], $2::text[], $3::uuid[], $4::uuid[], $5::integer[]) with ordinality
    as asked (user_id, currency, before, first, most, page)
left join wallets on wallets.user_id = asked.user_id and wallets.currency = asked.currency
left join lateral (
    select
        t.id,
        t.kind,
        t.amount,
        t.release_at,
        t.created_at,
        w.status,
        w.destination,
        case when w.id is null then t.metadata else w.metadata end as metadata,
        t.matches and coalesce($9::text = coalesce(w.status, 'completed'), true) as matches,
        t.number
    from (
        select
            id,
            user_id,
            kind,
            amount,
            release_at,
            created_at,
            metadata,
            kind in ('charge', 'reserve') and coalesce(kind = $8::text, true) as matches,
            row_number() over (order by id desc) as number
        from transfers
        where user_id = asked.user_id and currency = asked.currency and id < asked.before and id >= asked.first
        order by id desc
        limit $7
    ) as t
    -- Nothing is looked up for a charge.
    left join withdrawals as w on w.id = case when t.kind = 'reserve' then t.id end and w.user_id = t.user_id
    where t.matches and coalesce($9::text = coalesce(w.status, 'completed'), true) or t.number = $7
    order by t.id desc
    limit asked.most offset $6
) as found on true;

-- name: end_of_numbered
-- The last row of a wallet ($1, $2) that numbered pages look at ($3), if it has so many.
select id from transfers where user_id = $1 and currency = $2 order by id desc offset $3::integer - 1 limit 1;

-- name: withdrawals
-- The history begins with an entry that follows from the withdrawal itself: pending, its creation time, its author. No
-- row is written for that entry, which saves an eighth of the cost of accepting a withdrawal. Such rows of earlier
-- versions are left out, except one with another author: an operator who adopted the withdrawal from the bank's books.
-- The author of a withdrawal made before references existed is unknown.
select
    w.id,
    w.user_id,
    w.currency,
    w.amount,
    w.status,
    w.attempts,
    w.next_attempt_at,
    w.destination,
    w.metadata,
    w.failure_code,
    w.failure_reason,
    w.bank_reference,
    w.reference,
    w.created_at,
    w.updated_at,
    h.statuses,
    h.times,
    h.reasons,
    h.made_by
from withdrawals as w
cross join lateral (
    select
        array['pending'] || array_agg(status order by seq) filter (where seq > 1) as statuses,
        array[w.created_at] || array_agg(at order by seq) filter (where seq > 1) as times,
        coalesce(max(reason) filter (where seq = 1 and made_by is not null), 'funds reserved')
        || array_agg(reason order by seq) filter (where seq > 1) as reasons,
        coalesce(
            max(made_by) filter (where seq = 1),
            case when w.reference is not null then 'client' || coalesce(':' || w.made_by, '') end
        )
        || array_agg(made_by order by seq) filter (where seq > 1) as made_by
    from withdrawal_history
    where withdrawal_id = w.id and user_id = w.user_id
) as h
where w.id = any($1::uuid[]);

-- name: withdrawal_id_by_key
select k.movement_id as id
from idempotency_keys as k
join withdrawals as w on w.id = k.movement_id and w.user_id = k.user_id
where k.digest = key_digest($1, $2);

-- name: known_before
-- Whether this wallet is there, and whether this key was used.
select
    exists(select from wallets where user_id = $1 and currency = $2) as wallet,
    exists(select from idempotency_keys where digest = key_digest($3, $4)) as key;

-- name: ended
-- Which of these have ended.
select id from withdrawals where id = any($1::uuid[]) and status not in ('pending', 'processing');

-- name: queue_length
select count(*) as withdrawals from withdrawals where status in ('pending', 'processing');

-- name: heartbeats
select kind, instance, extract(epoch from clock_timestamp() - at)::float8 as age_s, detail
from heartbeats
where at > clock_timestamp() - interval '10 minutes';

-- name: beat
insert into heartbeats (kind, instance, at, detail) values ($1, $2, clock_timestamp(), $3)
on conflict (kind, instance) do update set at = excluded.at, detail = excluded.detail;

-- name: forget_heartbeats
delete from heartbeats where at < clock_timestamp() - interval '10 minutes';

-- name: charges
select t.id, t.user_id, t.currency, t.amount, t.release_at, t.metadata, t.created_at, coalesce(r.reversed, 0) as reversed
from transfers as t
left join charge_reversals as r on r.charge_id = t.id and r.user_id = t.user_id
where t.id = any($1::uuid[]) and t.kind = 'charge';

-- name: transfers
-- Transfers that were asked for, or that the capture of a hold has made. (What takes a transfer back is no transfer.)
select
    t.id,
    t.user_id,
    t.currency,
    t.amount,
    t.metadata,
    t.created_at,
    l.payees,
    l.amounts,
    l.release_ats,
    l.reversed
from transfers as t
cross join lateral (
    select
        array_agg(to_user_id order by leg) as payees,
        array_agg(amount order by leg) as amounts,
        array_agg(release_at order by leg) as release_ats,
        array_agg(reversed order by leg) as reversed
    from transfer_legs
    where transfer_id = t.id and from_user_id = t.user_id
) as l
where t.id = any($1::uuid[]) and t.kind in ('send', 'capture') and t.reference = t.id;

-- name: holds
-- A hold has expired from its very instant, whether or not that is written.
select
    id,
    user_id,
    currency,
    amount,
    expires_at,
    metadata,
    created_at,
    case when status = 'open' and expires_at <= (select clock_timestamp()) then 'expired' else status end as status,
    captured,
    transfer_id
from holds
where id = any($1::uuid[]);
