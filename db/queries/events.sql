-- name: sequence
-- The sequence as it is; `locked` by the caller, so that the next statement sees what the last courier has written.
select
    epoch,
    first_seq,
    last_seq,
    kinds_since,
    current_setting('synchronous_standby_names') <> '' as waits_for_standby
from event_sequence
for update;

-- name: anything
-- Whether any batch waits for a number, from the identifier $1 on. It locks and writes nothing.
select
    epoch,
    last_seq,
    current_setting('synchronous_standby_names') <> '' as waits_for_standby,
    exists (select from event_batches where id >= $1::bigint) as anything
from event_sequence;

-- name: waiting
-- Whether batches wait for a number, from the identifier $1 on, and for how long the oldest of those has waited.
select
    count(*) as batches,
    coalesce(extract(epoch from clock_timestamp() - min(at)), 0)::float8 as age_s
from (select at from event_batches where id >= $1::bigint order by id limit $2) as oldest;

-- name: number
-- Numbers up to $2 batches, from the identifier $1 on, in the order of their identifiers, after the number $3. Events of
-- kinds that are not made ($4, null: all are) are left out. What a release, a void or a capture is about is looked up
-- only for batches that have one. The caller holds the lock of event_sequence.
with waiting as materialized (
    delete from event_batches
    where id in (select id from event_batches where id >= $1::bigint order by id limit $2)
    returning *
),

named as materialized (
    select w.id, w.at, r.types, r.ids, r.user_ids, r.currencies, r.numbers, w.users, cardinality(r.types) as count
    from waiting as w
    cross join lateral (
        select w.types, w.ids, w.user_ids, w.currencies, w.numbers
        where w.is_final and $4::text [] is null
        union all
        select
            array_agg(f.type order by f.place, f.part),
            array_agg(f.id order by f.place, f.part),
            array_agg(f.user_id order by f.place, f.part),
            array_agg(f.currency order by f.place, f.part),
            case when w.numbers is not null then array_agg(f.number order by f.place, f.part) end
        from (
            select
                n.type,
                n.part,
                e.place,
                e.id,
                e.user_id,
                coalesce(nullif(e.currency, ''), m.currency) as currency,
                e.number
            from unnest(w.types, w.ids, w.user_ids, w.currencies, w.numbers) with ordinality
                as e (type, id, user_id, currency, number, place)
            left join withdrawals as m on e.currency = '' and m.id = e.id and m.user_id = e.user_id
            left join transfers as t on
                e.type in ('release', 'void') and t.user_id = e.user_id and t.currency = e.currency and t.id = e.id
            left join transfers as s on
                e.type = 'release' and s.user_id = t.user_id and s.currency = t.currency and s.id = t.reference
            left join holds as h on e.type = 'void' and h.id = t.reference and h.user_id = t.user_id
            cross join lateral unnest(
                case e.type
                    when 'release' then array[case s.kind when 'charge' then 'charge.released' else 'transfer.released' end]
                    -- What a capture has left goes back, too: that is no event of its own.
                    when 'void' then case when t.amount = h.amount then array['hold.voided'] end
                    when 'hold.captured' then array['hold.captured', 'transfer.completed']
                    else array[e.type]
                end
            ) with ordinality as n (type, part)
            where $4::text [] is null or n.type = any($4) or starts_with(n.type, 'withdrawal.')
        ) as f
        where not (w.is_final and $4::text [] is null)
        having count(*) > 0
    ) as r
),

numbered as (
    insert into events (first_seq, epoch, batch_id, count, at, types, ids, user_ids, currencies, numbers, users)
    select
        $3::bigint + 1 + sum(n.count) over (order by n.id) - n.count,
        s.epoch,
        n.id,
        n.count,
        n.at,
        n.types,
        n.ids,
        n.user_ids,
        n.currencies,
        n.numbers,
        n.users
    from named as n
    cross join event_sequence as s
    returning count
),

advanced as (
    update event_sequence
    set last_seq = last_seq + (select coalesce(sum(count), 0) from numbered)
    where last_seq = $3::bigint
    returning last_seq
)

select
    (select count(*) from waiting) as batches,
    (select max(id) from waiting) as last_id,
    (select count(*) from numbered) as rows,
    (select count(*) from named) as told,
    a.last_seq,
    coalesce((select extract(epoch from clock_timestamp() - min(at)) from waiting), 0)::float8 as age_s
from advanced as a;

-- name: make_kinds
-- Which kinds are made from now on; each keeps the instant since which it is.
update event_sequence
set kinds_since = (
    select coalesce(jsonb_object_agg(k.kind, coalesce(kinds_since -> k.kind, to_jsonb(clock_timestamp()))), '{}')
    from unnest($1::text []) as k (kind)
)
returning 1;

-- name: identity
-- Whether this is the database that the sequence was numbered in; null: nothing was written down yet. $1 and $2 are the
-- server's identity, null if our role may not read it. Where commits wait for a standby, another timeline has lost none.
select
    s.epoch,
    s.last_seq,
    s.table_oid is not null as written_down,
    coalesce(
        s.table_oid = s.tableoid::bigint
        and s.database_oid = (select oid::bigint from pg_database where datname = current_database())
        and ($2::bigint is null or s.system_identifier is null or s.system_identifier = $2),
        false
    ) as same_database,
    $1::integer is null
    or s.timeline is null
    or s.timeline = $1
    or current_setting('synchronous_standby_names') <> '' as same_history,
    k.history_lost_at > s.began_at as lost_since
from event_sequence as s
cross join stack as k;

-- name: write_down
update event_sequence
set
    system_identifier = $2::bigint,
    timeline = $1::integer,
    table_oid = tableoid::bigint,
    database_oid = (select oid::bigint from pg_database where datname = current_database())
returning 1;

-- name: begin_epoch
-- Begins another epoch, whose numbers no earlier one can have: they start at the time in seconds, times 100,000.
update event_sequence
set
    epoch = gen_random_uuid(),
    first_seq = greatest(last_seq + 1000000, extract(epoch from clock_timestamp())::bigint * 100000) + 1,
    last_seq = greatest(last_seq + 1000000, extract(epoch from clock_timestamp())::bigint * 100000),
    began_at = clock_timestamp(),
    reason = $1
where epoch = $2
returning epoch;

-- name: forget
-- Removes events that are older than $1, oldest first, up to $2 rows, and none that a webhook still waits for ($3).
delete from events
where first_seq in (
    select first_seq
    from events
    where at < clock_timestamp() - $1::interval and first_seq + count <= $3::bigint + 1
    order by first_seq
    limit $2
);

-- name: span
-- The present epoch, and its oldest and last numbers that can be read.
select
    s.epoch,
    s.first_seq,
    s.last_seq,
    coalesce((select min(e.first_seq) from events as e where e.first_seq >= s.first_seq), s.last_seq + 1) as oldest_seq
from event_sequence as s;

-- name: page
-- Events after the number $1: up to $3 of them, out of the next $2; those of the types $4 (null: all), and of the user
-- $5 (null: all) and of users whose ids begin with $6, as far as that can be told here. `looked_to` is the last number looked at, and
-- `is_next` whether the first one is that after $1, so that none in between was removed, nor another epoch has begun. A
-- row without `seq` says only that.
with looked_at as materialized (
    select
        e.first_seq + u.place - 1 as seq,
        e.epoch,
        e.numbered_at,
        u.type,
        u.id,
        u.user_id,
        u.currency,
        u.number,
        e.users
    from (
        select *
        from events
        where first_seq >= coalesce(
            (select b.first_seq from events as b where b.first_seq <= $1::bigint + 1 order by b.first_seq desc limit 1), 0
        )
        order by first_seq
        limit $2
    ) as e
    cross join unnest(e.types, e.ids, e.user_ids, e.currencies, e.numbers) with ordinality
        as u (type, id, user_id, currency, number, place)
    where e.first_seq + u.place - 1 > $1::bigint
    order by e.first_seq, u.place
    limit $2
),

page as materialized (
    select *
    from looked_at
    where
        ($4::text [] is null or type = any($4))
        and ($5::text is null or user_id = $5 or $5 = any(users))
        and ($6::text is null or starts_with(user_id, $6))
    order by seq
    limit $3
)

select
    l.looked_to,
    l.is_next,
    p.seq,
    p.epoch,
    p.numbered_at,
    p.type,
    p.id,
    p.user_id,
    p.currency,
    t.kind,
    t.amount,
    t.reference,
    t.release_at,
    t.metadata,
    t.created_at,
    t.effective_at,
    t.made_by,
    t.debit_account,
    s.id as source_id,
    s.kind as source_kind,
    s.amount as source_amount,
    s.reference as source_reference,
    s.release_at as source_release_at,
    s.metadata as source_metadata,
    s.created_at as source_created_at,
    s.peer_user_id as payer,
    r.reverses,
    r.reason as reversal_reason,
    g.payees,
    g.amounts,
    g.release_ats,
    h.id as hold_id,
    h.amount as hold_amount,
    h.expires_at as hold_expires_at,
    h.metadata as hold_metadata,
    h.created_at as hold_created_at,
    w.amount as withdrawal_amount,
    w.destination,
    w.metadata as withdrawal_metadata,
    w.reference as withdrawal_reference,
    w.created_at as withdrawal_created_at,
    w.bank_reference,
    w.failure_code,
    w.failure_reason,
    w.request_id,
    w.traceparent,
    m.status,
    m.at as moved_at,
    m.reason as move_reason,
    m.made_by as moved_by
from (
    select coalesce(max(seq), $1::bigint) as looked_to, coalesce(min(seq) = $1::bigint + 1, true) as is_next
    from looked_at
) as l
left join page as p on true
left join transfers as t on
    p.number is null and t.user_id = p.user_id and t.currency = p.currency and t.id = p.id
left join reversals as r on
    p.type in ('charge.reversed', 'transfer.reversed') and r.id = p.id and r.user_id = p.user_id
left join transfers as s on
    p.type in ('charge.released', 'charge.reversed', 'transfer.released', 'transfer.reversed')
    and s.user_id = p.user_id
    and s.currency = p.currency
    and s.id = coalesce(r.reverses, t.reference)
left join lateral (
    select
        array_agg(g.to_user_id order by g.leg) as payees,
        array_agg(coalesce(v.amount, g.amount) order by g.leg) as amounts,
        array_agg(g.release_at order by g.leg) as release_ats
    from transfer_legs as g
    left join reversal_legs as v on
        p.type = 'transfer.reversed' and v.reversal_id = p.id and v.user_id = p.user_id and v.leg = g.leg
    where
        p.type in ('transfer.completed', 'transfer.reversed')
        and g.transfer_id = coalesce(r.reverses, p.id)
        and g.from_user_id = p.user_id
        and (p.type = 'transfer.completed' or v.leg is not null)
) as g on true
left join holds as h on
    starts_with(p.type, 'hold.')
    and h.user_id = p.user_id
    and case p.type
        when 'hold.opened' then h.id = p.id
        when 'hold.captured' then h.transfer_id = p.id
        else h.id = t.reference
    end
left join withdrawals as w on starts_with(p.type, 'withdrawal.') and w.id = p.id and w.user_id = p.user_id
left join withdrawal_history as m on p.number is not null and m.withdrawal_id = p.id and m.user_id = p.user_id and m.seq = p.number
order by p.seq;

-- name: oldest_open
-- The least transaction that is under way, and the one that comes next.
select
    pg_snapshot_xmin(pg_current_snapshot())::text::bigint as oldest,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next;
