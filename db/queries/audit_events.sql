-- The queries of `wbs audit` about events. Each returns all violations, one row each: invariant, kind, subject, expected,
-- found, amount, currency.

-- name: numbers
-- The numbers of an epoch must follow each other, from row to row, and end where the sequence says.
with numbered as (
    select
        e.epoch,
        e.first_seq,
        e.count,
        lag(e.first_seq + e.count) over (partition by e.epoch order by e.first_seq) as follows
    from events as e
)

select
    8 as invariant,
    'event_gap' as kind,
    concat('events from ', n.first_seq, ' on') as subject,
    concat('number ', n.follows) as expected,
    concat('number ', n.first_seq) as found,
    null::bigint as amount,
    null::text as currency
from numbered as n
where n.follows <> n.first_seq
union all
select
    8,
    'event_gap',
    'the end of the sequence',
    concat('number ', s.last_seq),
    concat('number ', coalesce(l.last_seq, s.first_seq - 1)),
    null,
    null
from event_sequence as s
cross join lateral (select max(e.first_seq + e.count - 1) as last_seq from events as e where e.epoch = s.epoch) as l
where
    s.last_seq <> coalesce(l.last_seq, s.first_seq - 1)
    -- All may have been removed because of their age.
    and (l.last_seq is not null or exists (select from events));

-- name: counterparts
-- Each movement and each move must be told once, and nothing else. What came before a kind of events was made, or before
-- the oldest that is kept, need not be.
with moved as materialized (
    select
        t.id,
        t.user_id,
        t.currency,
        0 as number,
        t.created_at,
        unnest(
            case t.kind
                when 'charge' then array['charge.completed']
                when 'reserve' then array['withdrawal.pending']
                when 'send' then case when t.id = t.reference then array['transfer.completed'] end
                when 'receive' then case when t.id = t.reference then array['transfer.reversed'] end
                when 'hold' then array['hold.opened']
                when 'capture' then array['hold.captured', 'transfer.completed']
                when 'reversal' then array['charge.reversed']
                when 'adjustment' then array['adjustment.completed']
                when 'release' then array[case s.kind when 'receive' then 'transfer.released' else 'charge.released' end]
                when 'void' then
                    case
                        when t.effective_at is not null then array['hold.expired']
                        when t.amount = s.amount then array['hold.voided']
                    end
            end
        ) as type
    from transfers as t
    left join transfers as s on
        t.kind in ('release', 'void') and s.user_id = t.user_id and s.currency = t.currency and s.id = t.reference
    where t.kind not in ('payout', 'refund', 'return')
    union all
    select withdrawal_id, user_id, null, seq, at, 'withdrawal.' || status
    from withdrawal_history
    where status <> 'pending'
),

told as materialized (
    select u.id, u.user_id, coalesce(u.number, 0) as number, u.type, count(*) as copies, min(e.first_seq + u.place - 1) as seq
    from events as e
    cross join unnest(e.types, e.ids, e.user_ids, e.numbers) with ordinality as u (type, id, user_id, number, place)
    group by 1, 2, 3, 4
),

untold as materialized (
    select u.id, u.user_id, coalesce(u.number, 0) as number, count(*) as copies
    from event_batches as b
    cross join unnest(b.ids, b.user_ids, b.numbers) as u (id, user_id, number)
    group by 1, 2, 3
),

compared as (
    select
        coalesce(m.id, t.id) as id,
        coalesce(m.user_id, t.user_id) as user_id,
        coalesce(m.number, t.number) as number,
        coalesce(m.type, t.type) as type,
        m.id is not null as is_there,
        m.created_at,
        m.currency,
        coalesce(t.copies, 0) as copies,
        t.seq
    from moved as m
    full join told as t on t.id = m.id and t.user_id = m.user_id and t.number = m.number and t.type = m.type
)

select
    8 as invariant,
    case
        when not c.is_there then 'event_of_nothing'
        when c.copies + coalesce(u.copies, 0) = 0 then 'event_missing'
        else 'event_doubled'
    end as kind,
    concat(c.type, ' ', c.id, ' of ', c.user_id) as subject,
    case when c.is_there then 'one event' else 'what it tells' end as expected,
    case
        when not c.is_there then concat('nothing, told as number ', c.seq)
        else concat(c.copies + coalesce(u.copies, 0), ' events')
    end as found,
    null::bigint as amount,
    c.currency
from compared as c
left join untold as u on u.id = c.id and u.user_id = c.user_id and u.number = c.number
cross join event_sequence as s
cross join lateral (
    select (s.kinds_since ->> split_part(c.type, '.', 1))::timestamptz as since, (select min(at) from events) as kept_since
) as f
where
    not c.is_there
    or c.copies + coalesce(u.copies, 0) > 1
    or (
        c.copies + coalesce(u.copies, 0) = 0
        and c.created_at >= f.since
        and (
            c.created_at >= f.kept_since
            or (select min(first_seq) from events) is not distinct from s.first_seq
            or s.last_seq < s.first_seq
        )
    );

-- name: untold
-- What waits for its number must be there.
select
    8 as invariant,
    'event_of_nothing' as kind,
    concat(u.type, ' ', u.id, ' of ', u.user_id) as subject,
    'what it tells' as expected,
    'nothing, waiting for its number' as found,
    null::bigint as amount,
    null::text as currency
from event_batches as b
cross join unnest(b.types, b.ids, b.user_ids, b.currencies, b.numbers) as u (type, id, user_id, currency, number)
left join transfers as t on u.number is null and t.user_id = u.user_id and t.currency = u.currency and t.id = u.id
left join withdrawal_history as h on h.withdrawal_id = u.id and h.user_id = u.user_id and h.seq = u.number
where t.id is null and h.withdrawal_id is null;
