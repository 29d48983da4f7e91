-- The queries of `wbs audit` about transfers between wallets, holds and reversals. Each returns all violations, one row
-- each: invariant, kind, subject, expected, found, amount, currency.

-- name: peer
-- What all rows of a transfer put against `peer` must sum to nothing: what one wallet sends, others receive.
select
    7 as invariant,
    'peer' as kind,
    concat('transfer ', reference, ' of ', min(user_id)) as subject,
    'as much received as sent' as expected,
    format(
        '%s sent, %s received',
        coalesce(sum(amount) filter (where credit_account = 'peer'), 0),
        coalesce(sum(amount) filter (where debit_account = 'peer'), 0)
    ) as found,
    sum(case when credit_account = 'peer' then amount else -amount end)::bigint as amount,
    currency
from transfers
where 'peer' in (debit_account, credit_account)
group by reference, currency
having sum(case when credit_account = 'peer' then amount else -amount end) is distinct from 0;

-- name: legs
-- Legs and the rows in their payees' books must match one to one. (A receive with its own reference is a reversal.)
with numbered as (
    select
        *,
        row_number() over (partition by transfer_id, from_user_id, leg) as copy,
        row_number() over (partition by receive_id, to_user_id) as receipt
    from transfer_legs
),

received as (
    select * from transfers where kind = 'receive' and reference is distinct from id
)

select
    7 as invariant,
    case
        when r.id is null then 'receive_missing'
        when l.transfer_id is null then 'leg_missing'
        when l.copy > 1 or l.receipt > 1 then 'leg_doubled'
        else 'leg_differs'
    end as kind,
    concat(
        'leg ', l.leg, ' of transfer ', coalesce(l.transfer_id, r.reference), ' to ', coalesce(l.to_user_id, r.user_id)
    ) as subject,
    case
        when l.transfer_id is null then 'a leg'
        else concat(
            l.amount, ' ', l.currency, ' until ' || l.release_at, ' from ', l.from_user_id, ' by ' || s.made_by,
            ', received once'
        )
    end as expected,
    case
        when r.id is null then 'none received'
        else concat(
            r.amount, ' ', r.currency, ' until ' || r.release_at, ' from ', r.peer_user_id, ' by ' || r.made_by,
            ' as ', r.id
        )
    end as found,
    coalesce(l.amount, r.amount) as amount,
    coalesce(l.currency, r.currency) as currency
from numbered as l
full join received as r on r.id = l.receive_id and r.user_id = l.to_user_id
left join transfers as s
    on s.id = l.transfer_id and s.user_id = l.from_user_id and s.currency = l.currency and s.kind in ('send', 'capture')
where
    l.transfer_id is null
    or r.id is null
    or l.copy > 1
    or l.receipt > 1
    or (l.transfer_id, l.currency, l.amount, l.release_at, l.from_user_id, s.made_by)
    is distinct from (r.reference, r.currency, r.amount, r.release_at, r.peer_user_id, r.made_by);

-- name: sends
-- What a transfer takes from its payer, by `send` or `capture`, is the sum of its legs. (A send that refers to another
-- row belongs to a reversal.)
with sums as (
    select
        transfer_id,
        from_user_id,
        currency,
        count(*) as legs,
        min(leg) as first,
        max(leg) as last,
        sum(amount) as amount,
        case when count(*) = 1 then max(to_user_id) end as peer_user_id
    from transfer_legs
    group by transfer_id, from_user_id, currency
),

sent as (
    select * from transfers where kind = 'capture' or (kind = 'send' and reference = id)
)

select
    7 as invariant,
    case
        when s.id is null then 'transfer_missing'
        when l.transfer_id is null then 'legs_missing'
        else 'transfer_differs'
    end as kind,
    concat('transfer ', coalesce(s.id, l.transfer_id), ' of ', coalesce(s.user_id, l.from_user_id)) as subject,
    case
        when l.transfer_id is null then 'legs'
        else concat(l.amount, ' ', l.currency, ' in legs 1 to ', l.legs, ', to ' || l.peer_user_id)
    end as expected,
    case
        when s.id is null then 'no transfer'
        else concat(
            s.amount, ' ', s.currency, ' in legs ' || l.first || ' to ' || l.last, ', to ' || s.peer_user_id
        )
    end as found,
    coalesce(s.amount, l.amount)::bigint as amount,
    coalesce(s.currency, l.currency) as currency
from sent as s
full join sums as l on l.transfer_id = s.id and l.from_user_id = s.user_id and l.currency = s.currency
where
    (s.amount = l.amount and l.first = 1 and l.last = l.legs) is not true
    or s.peer_user_id is distinct from l.peer_user_id;

-- name: holds
-- Each hold with the row that set the money aside, and with those that ended it.
with placed as (
    select * from transfers where kind = 'hold'
),

numbered as (
    select
        *,
        row_number() over (partition by id, user_id) as copy,
        row_number() over (partition by transfer_id, user_id) as capture
    from holds
),

voids as (
    select
        reference as id,
        user_id,
        currency,
        count(*) as rows,
        sum(amount) as amount,
        max(effective_at) as effective_at,
        max(created_at) as created_at
    from transfers
    where kind = 'void'
    group by reference, user_id, currency
),

sides as (
    select
        coalesce(h.id, p.id) as id,
        coalesce(h.user_id, p.user_id) as user_id,
        case when h.id is null then p.currency else h.currency end as currency,
        case when h.id is null then p.amount else h.amount end as amount,
        h.id is not null as there,
        p.id is not null as placed,
        h.copy,
        h.capture,
        h.status,
        h.captured,
        h.transfer_id,
        h.expires_at,
        h.created_at,
        h.ended_at,
        h.made_by,
        p.amount as amount_placed,
        p.currency as currency_placed,
        p.created_at as placed_at,
        p.made_by as placed_by,
        c.id as capture_id,
        c.amount as captured_amount,
        c.created_at as captured_at,
        v.rows as voids,
        v.amount as voided_amount,
        v.created_at as voided_at,
        v.effective_at,
        -- An identifier begins with its instant.
        greatest(
            h.expires_at,
            timestamptz 'epoch' + (
                ('x' || left(translate(h.id::text, '-', ''), 12))::bit(48)::bigint * 1000
                + (('x' || substr(translate(h.id::text, '-', ''), 14, 3))::bit(12)::integer * 1000 + 4095) / 4096
            ) * interval '1 microsecond'
        ) as expired_at
    from numbered as h
    full join placed as p on p.id = h.id and p.user_id = h.user_id
    left join transfers as c
        on c.id = h.transfer_id and c.user_id = h.user_id and c.currency = h.currency and c.kind = 'capture'
    left join voids as v on v.id = h.id and v.user_id = h.user_id and v.currency = h.currency
),

judged as (
    select
        found.invariant,
        found.kind,
        concat('hold ', s.id, ' of ', s.user_id) as subject,
        found.expected,
        found.found,
        s.amount,
        s.currency,
        found.holds
    from sides as s
    cross join lateral (
        values
        (s.there, 2, 'hold_missing', 'a hold', 'money set aside for none'),
        (s.placed or not s.there, 2, 'hold_unfounded', 'money set aside', 'none'),
        (s.copy = 1 or not s.there, 3, 'hold_doubled', 'one', 'more than one'),
        (s.capture = 1 or s.transfer_id is null, 3, 'capture_doubled', 'a capture of one hold', s.transfer_id::text),
        (
            not (s.there and s.placed)
            or (s.amount, s.currency, s.created_at, s.made_by)
            is not distinct from (s.amount_placed, s.currency_placed, s.placed_at, s.placed_by),
            2, 'hold_differs',
            concat_ws(' ', s.amount_placed, s.currency_placed, 'at', s.placed_at, 'by ' || s.placed_by),
            concat_ws(' ', s.amount, s.currency, 'at', s.created_at, 'by ' || s.made_by)
        ),
        (
            not s.there
            or case s.status
                when 'open' then s.captured = 0 and s.transfer_id is null and s.ended_at is null
                when 'captured' then s.captured between 1 and s.amount and s.transfer_id is not null
                when 'voided' then s.captured = 0 and s.transfer_id is null
                when 'expired' then s.captured = 0 and s.transfer_id is null and s.expires_at is not null
            end,
            3, 'hold_status', 'one state: open, captured, voided or expired',
            concat_ws(' ', coalesce(s.status, 'none'), 'captured', s.captured, s.transfer_id, 'ended', s.ended_at)
        ),
        (
            not s.there
            or case when s.status = 'captured' then s.captured_amount = s.captured else s.capture_id is null end,
            3, 'hold_capture', concat_ws(' ', s.status, 'captured', s.captured),
            coalesce('captured ' || s.captured_amount, 'no capture')
        ),
        (
            not s.there
            or case
                when s.status = 'open' or (s.status = 'captured' and s.captured = s.amount) then s.voids is null
                else s.voids = 1 and s.voided_amount = s.amount - s.captured
            end,
            3, 'hold_rest',
            case
                when s.status = 'open' then 'open: nothing back'
                else format('%s: %s back, once', s.status, s.amount - s.captured)
            end,
            coalesce(format('%s back in %s rows', s.voided_amount, s.voids), 'nothing back')
        ),
        (
            not s.there
            or s.status = 'open'
            or (
                coalesce(s.captured_at, s.voided_at) = s.ended_at
                and coalesce(s.voided_at = s.ended_at, true)
                and s.ended_at > s.created_at
                and case
                    when s.status = 'expired' then s.effective_at = s.expired_at
                    else s.effective_at is null
                end
            ),
            3, 'hold_time',
            format(
                'ended at %s%s', coalesce(s.captured_at, s.voided_at),
                case when s.status = 'expired' then format(', expired at %s', s.expired_at) end
            ),
            concat('ended at ', s.ended_at, ', effective from ' || s.effective_at)
        ),
        (
            not s.there or coalesce(isfinite(s.expires_at), true), 3, 'hold_for_ever', 'an instant, or none',
            s.expires_at::text
        )
    ) as found (holds, invariant, kind, expected, found)
)

select invariant, kind, subject, expected, found, amount, currency from judged where holds is not true
union all
select 3, 'end_of_no_hold', concat(t.kind, ' ', t.id, ' of ', t.user_id), 'a hold', 'none', t.amount, t.currency
from transfers as t
where
    (
        t.kind = 'void'
        and not exists (
            select from holds as h
            where h.id = t.reference and h.user_id = t.user_id and h.currency = t.currency
        )
    )
    or (
        t.kind = 'capture'
        and not exists (
            select from holds as h
            where h.transfer_id = t.id and h.user_id = t.user_id and h.currency = t.currency
        )
    );

-- name: reversals
-- Each reversal with its movement, what it undoes, and, for a transfer, what it takes back of which leg.
with movements as (
    select * from transfers where kind = 'reversal' or (kind = 'receive' and reference = id)
),

numbered as (
    select *, row_number() over (partition by id, user_id) as copy from reversals
),

legs as (
    select
        r.reversal_id,
        r.user_id,
        sum(r.amount) as amount,
        case when count(*) = 1 then max(l.to_user_id) end as peer_user_id
    from reversal_legs as r
    join reversals as v on v.id = r.reversal_id and v.user_id = r.user_id
    join transfer_legs as l on l.transfer_id = v.reverses and l.from_user_id = v.user_id and l.leg = r.leg
    group by r.reversal_id, r.user_id
)

select
    7 as invariant,
    case
        when v.id is null then 'reversal_missing'
        when m.id is null or o.id is null then 'reversal_unfounded'
        when v.copy > 1 then 'reversal_doubled'
        else 'reversal_differs'
    end as kind,
    concat('reversal ', coalesce(v.id, m.id), ' of ', coalesce(v.user_id, m.user_id)) as subject,
    case
        when v.id is null then 'a reversal that says of what'
        when m.id is null then format('%s %s back', v.amount, v.currency)
        when o.id is null then format('a %s before it', case m.kind when 'reversal' then 'charge' else 'transfer' end)
        else concat(v.amount, ' ', v.currency, ' of ', v.reverses, ' from ' || l.peer_user_id)
    end as expected,
    case
        when m.id is null then 'none'
        when v.id is null then 'none'
        else concat(
            m.amount, ' ', m.currency, ' of ', case when m.kind = 'reversal' then m.reference else v.reverses end,
            ', legs of ' || l.amount, ' from ' || m.peer_user_id
        )
    end as found,
    coalesce(m.amount, v.amount) as amount,
    coalesce(m.currency, v.currency) as currency
from movements as m
full join numbered as v on v.id = m.id and v.user_id = m.user_id
left join legs as l on l.reversal_id = v.id and l.user_id = v.user_id
left join transfers as o
    on
        o.id = v.reverses
        and o.user_id = v.user_id
        and o.currency = v.currency
        and o.id < v.id
        and case m.kind
            when 'reversal' then o.kind = 'charge'
            else o.kind = 'capture' or (o.kind = 'send' and o.reference = o.id)
        end
where
    (v.copy = 1 and o.id is not null and m.amount = v.amount and m.currency = v.currency) is not true
    or case m.kind
        when 'reversal' then m.reference = v.reverses and l.reversal_id is null
        else l.amount = v.amount and m.peer_user_id is not distinct from l.peer_user_id
    end is not true;

-- name: reversal_legs
-- What a reversal of a transfer takes back of a leg, and the row in that leg's payee's books, match one to one.
with numbered as (
    select
        r.*,
        v.id is not null as reversing,
        l.to_user_id,
        l.currency,
        m.made_by,
        row_number() over (partition by r.reversal_id, r.user_id, r.leg) as copy,
        row_number() over (partition by r.send_id) as sending
    from reversal_legs as r
    left join reversals as v on v.id = r.reversal_id and v.user_id = r.user_id
    left join transfer_legs as l on l.transfer_id = v.reverses and l.from_user_id = v.user_id and l.leg = r.leg
    left join transfers as m
        on m.id = r.reversal_id and m.user_id = r.user_id and m.currency = l.currency and m.kind = 'receive'
),

sent as (
    select * from transfers where kind = 'send' and reference is distinct from id
)

select
    7 as invariant,
    case
        when s.id is null then 'send_missing'
        when r.reversal_id is null then 'reversal_leg_missing'
        when r.to_user_id is null then 'reversal_leg_unfounded'
        when r.copy > 1 or r.sending > 1 then 'reversal_leg_doubled'
        else 'reversal_leg_differs'
    end as kind,
    concat(
        'leg ', r.leg, ' of reversal ', coalesce(r.reversal_id, s.reference), ' of ', coalesce(r.user_id, s.peer_user_id)
    ) as subject,
    case
        when r.reversal_id is null then 'a reversal of a leg'
        when r.to_user_id is null then 'a leg of what is reversed'
        else concat(r.amount, ' ', r.currency, ' from ', r.to_user_id, ' to ', r.user_id, ' by ' || r.made_by, ', once')
    end as expected,
    case
        when s.id is null then 'none sent'
        else concat(
            s.amount, ' ', s.currency, ' from ', s.user_id, ' to ', s.peer_user_id, ' by ' || s.made_by, ' as ', s.id
        )
    end as found,
    coalesce(r.amount, s.amount) as amount,
    coalesce(r.currency, s.currency) as currency
from numbered as r
full join sent as s on s.id = r.send_id and s.reference = r.reversal_id
where
    (r.copy = 1 and r.sending = 1 and r.reversing and r.amount > 0) is not true
    or (r.amount, r.currency, r.to_user_id, r.user_id, r.made_by)
    is distinct from (s.amount, s.currency, s.user_id, s.peer_user_id, s.made_by);

-- name: counters
-- What charges and legs say was reversed of them so far is what was, and never more than there was.
with of_charges as (
    select reference as id, user_id, sum(amount) as reversed
    from transfers
    where kind = 'reversal'
    group by reference, user_id
),

of_legs as (
    select v.reverses as transfer_id, v.user_id, r.leg, sum(r.amount) as reversed
    from reversal_legs as r
    join reversals as v on v.id = r.reversal_id and v.user_id = r.user_id
    group by v.reverses, v.user_id, r.leg
),

numbered as (
    select *, row_number() over (partition by charge_id, user_id) as copy from charge_reversals
)

select
    7 as invariant,
    case when coalesce(o.reversed, n.reversed) > c.amount then 'reversed_too_much' else 'reversed' end as kind,
    concat('charge ', coalesce(o.id, n.charge_id), ' of ', coalesce(o.user_id, n.user_id)) as subject,
    format('%s of %s reversed, by its reversals', coalesce(o.reversed, 0), c.amount) as expected,
    coalesce(format('%s of %s', n.reversed, n.amount), 'none') as found,
    coalesce(o.reversed, n.reversed)::bigint as amount,
    c.currency
from of_charges as o
full join numbered as n on n.charge_id = o.id and n.user_id = o.user_id
left join transfers as c
    on c.id = coalesce(o.id, n.charge_id) and c.user_id = coalesce(o.user_id, n.user_id) and c.kind = 'charge'
where
    (n.reversed = o.reversed and n.amount = c.amount and n.reversed between 1 and c.amount and n.copy = 1) is not true
union all
select
    7,
    case when coalesce(o.reversed, l.reversed) > l.amount then 'reversed_too_much' else 'reversed' end,
    concat('leg ', l.leg, ' of transfer ', l.transfer_id, ' to ', l.to_user_id),
    format('%s of %s reversed, by its reversals', coalesce(o.reversed, 0), l.amount),
    coalesce(l.reversed::text, 'none'),
    coalesce(o.reversed, l.reversed)::bigint,
    l.currency
from transfer_legs as l
left join of_legs as o on o.transfer_id = l.transfer_id and o.user_id = l.from_user_id and o.leg = l.leg
where (l.reversed = coalesce(o.reversed, 0) and l.reversed between 0 and l.amount) is not true;
