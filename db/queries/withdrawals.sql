-- name: begin
-- Writes down that an attempt begins, before the bank is called: for those that are pending, or processing and
-- due. The rest (ended, cancelled, leased to another attempt, not due yet) is passed over. A `case`, because a
-- plain condition on the status lets the planner walk over withdrawals_open, all that waits, at each call.
with due as materialized (
    select w.id, w.user_id, w.status
    from unnest($1::uuid[], $2::text[]) as asked (id, user_id)
    join withdrawals as w using (id, user_id)
    where case w.status
        when 'pending' then true
        when 'processing' then w.next_attempt_at <= clock_timestamp()
        else false
    end
    order by w.id
    for update of w
),

begun as (
    update withdrawals as w
    set
        status = 'processing',
        attempts = w.attempts + 1,
        history_length = w.history_length + (due.status = 'pending')::int,
        next_attempt_at = clock_timestamp() + $3::interval,
        ring_at = clock_timestamp() + $3::interval,
        updated_at = clock_timestamp()
    from due
    where
        w.id = due.id
        and w.user_id = due.user_id
        and case w.status
            when 'pending' then true
            when 'processing' then w.next_attempt_at <= clock_timestamp()
            else false
        end
    returning
        w.id,
        w.user_id,
        w.currency,
        w.amount,
        w.destination,
        w.attempts,
        w.next_attempt_at,
        w.history_length,
        due.status as status_before
),

new_history as (
    insert into withdrawal_history (user_id, withdrawal_id, seq, status, at, reason)
    select user_id, id, history_length, 'processing', clock_timestamp(), 'the bank is about to be called'
    from begun
    where status_before = 'pending'
)

select id, user_id, currency, amount, destination, attempts, next_attempt_at from begun;

-- name: lock
-- Locks the withdrawals in key order.
select
    w.id,
    w.user_id,
    w.currency,
    w.amount,
    w.status,
    w.attempts,
    w.rounds,
    w.next_attempt_at,
    w.history_length,
    w.failure_code,
    w.failure_reason,
    w.bank_reference
from withdrawals as w
where w.id = any($1::uuid[])
order by w.id
for update;

-- name: complete
-- All of a batch of payments by one statement: the withdrawals ($1, $2, in key order) are completed under the bank's
-- references ($3), then their wallets, in key order, lose what was held. $4: how the transfers' identifiers end.
-- Refused as a whole if one of the withdrawals is not processing.
with completed as (
    update withdrawals as w
    set
        status = 'completed',
        bank_reference = p.bank_reference,
        failure_code = null,
        failure_reason = null,
        history_length = w.history_length + 1,
        updated_at = clock_timestamp()
    from unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) as p (id, user_id, bank_reference, id_end)
    where w.id = p.id and w.user_id = p.user_id and case when w.status = 'processing' then true else false end
    returning w.id, w.user_id, w.currency, w.amount, w.history_length, w.updated_at, p.id_end
),

paid as (
    select user_id, currency, sum(amount)::bigint as amount
    from completed
    group by user_id, currency
    order by user_id, currency
),

wallets_after as (
    update wallets as w
    set held = w.held - paid.amount
    from paid
    where w.user_id = paid.user_id and w.currency = paid.currency
    returning w.user_id, w.currency, w.available + w.locked + w.held as total
),

lock_taken as (
    select count(*) as wallets, clock_timestamp() as now
    from wallets_after
),

decision as (
    select
        now,
        uuid7_start(now) as id_start,
        case
            when (select count(*) from completed) < cardinality($1) or wallets < (select count(*) from paid)
                then refuse_batch()
            else true
        end as accepted
    from lock_taken
),

new_history as (
    insert into withdrawal_history (withdrawal_id, user_id, seq, status, at, reason)
    select id, user_id, history_length, 'completed', updated_at, 'the bank paid'
    from completed
)

insert into transfers (
    id, user_id, currency, kind, debit_account, credit_account, amount, total_after, reference, created_at
)
select
    (d.id_start || c.id_end)::uuid,
    c.user_id,
    c.currency,
    'payout',
    'held',
    'bank',
    c.amount,
    w.total + sum(c.amount) over later_ones - c.amount,
    c.id,
    d.now
from decision as d
cross join completed as c
join wallets_after as w on w.user_id = c.user_id and w.currency = c.currency
where d.accepted
window later_ones as (
    partition by c.user_id, c.currency order by c.id_end rows between current row and unbounded following
);

-- name: step
-- A state that a withdrawal only passes through within a batch; `move` writes the rest.
update withdrawals as w
set status = s.status, bank_reference = case when s.status = 'completed' then s.bank_reference end
from unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) as s (id, user_id, status, bank_reference)
where w.id = s.id and w.user_id = s.user_id;

-- name: move
with new_states as (
    update withdrawals as w
    set
        status = m.status,
        rounds = m.rounds,
        next_attempt_at = m.next_attempt_at,
        ring_at = m.next_attempt_at,
        history_length = m.history_length,
        failure_code = m.failure_code,
        failure_reason = m.failure_reason,
        bank_reference = m.bank_reference,
        updated_at = $18
    from unnest(
        $1::uuid[], $2::text[], $3::text[], $4::int[], $5::timestamptz[], $6::int[], $7::text[], $8::text[],
        $9::text[]
    ) as m (
        id, user_id, status, rounds, next_attempt_at, history_length, failure_code, failure_reason,
        bank_reference
    )
    where w.id = m.id and w.user_id = m.user_id
    returning 1
),

new_history as (
    insert into withdrawal_history (withdrawal_id, user_id, seq, status, at, reason)
    select * from unnest($10::uuid[], $11::text[], $12::int[], $13::text[], $14::timestamptz[], $15::text[])
),

doorbell as (
    insert into outbox (withdrawal_id, user_id, created_at)
    select withdrawal_id, user_id, $18 from unnest($16::uuid[], $17::text[]) as rung (withdrawal_id, user_id)
    on conflict do nothing
)

select count(*) as moved from new_states;

-- name: ring_due
-- Rings for what should have been taken by now, unless a message waits in the outbox anyway. The longer a
-- withdrawal has waited, the more seldom it is rung for: a long queue is not filled with its own echoes.
with due as materialized (
    select id, user_id
    from withdrawals
    where status in ('pending', 'processing') and ring_at <= clock_timestamp()
    order by ring_at
    limit $1
    for update skip locked
),

postponed as (
    update withdrawals as w
    set ring_at = clock_timestamp() + greatest($2::interval, least(clock_timestamp() - w.updated_at, '15 minutes'))
    from due
    where w.id = due.id and w.user_id = due.user_id
)

insert into outbox (withdrawal_id, user_id, created_at)
select id, user_id, clock_timestamp() from due
on conflict do nothing;

-- name: count_open
select status, count(*) as withdrawals
from withdrawals
where status in ('pending', 'processing', 'requires_attention')
group by status;

-- name: requiring_attention
-- A page of them, the oldest first, after the identifier $1.
select id, user_id, currency, amount, failure_code, failure_reason, attempts, created_at, updated_at
from withdrawals
where status = 'requires_attention' and ($1::uuid is null or id > $1)
order by id
limit $2;

-- name: by_ids
select id, user_id, currency, amount, status, attempts, bank_reference
from withdrawals
where id = any($1::uuid[]);

-- name: held_elsewhere
-- Which of these are locked, or their wallets are, by a transaction that has been going on for longer than $2.
select w.id
from withdrawals as w
join wallets as o using (user_id, currency)
join pg_stat_activity as a on a.backend_xid in (w.xmax, o.xmax)
where w.id = any($1::uuid[]) and clock_timestamp() - a.xact_start > $2::interval;
