-- name: begin
-- Records, before the bank is called, that an attempt begins, for withdrawals that are pending, or processing and due.
-- The others (ended, cancelled, leased to another attempt, not due yet) are passed over. The status is compared in a
-- `case`: with a plain condition the planner would scan withdrawals_open, all waiting withdrawals, at each call.
-- The clock after the last lock decides which are due; a withdrawal's rows never carry an earlier instant than before.
-- While payouts are paused, no attempt begins. At least one row is returned, which says whether they are paused. The
-- statement refuses itself if a row is not written as told (a trigger can swallow it).
with stack_now as materialized (
    select
        coalesce(payouts_allowed(), false) as allowed,
        coalesce(history_lost_at > clock_timestamp() - interval '30 days', false) as history_lost
    from stack
),

locked as materialized (
    select w.id, w.user_id, w.status, w.next_attempt_at, w.updated_at
    from unnest($1::uuid[], $2::text[]) as asked (id, user_id)
    join withdrawals as w using (id, user_id)
    where
        (select allowed from stack_now)
        and case w.status when 'pending' then true when 'processing' then true else false end
    order by w.id
    for update of w
),

lock_taken as (
    select count(*) as withdrawals, clock_timestamp() as now from locked
),

due as materialized (
    select l.id, l.user_id, l.status, t.now + $3::interval as lease_until, greatest(t.now, l.updated_at) as at
    from lock_taken as t
    cross join locked as l
    where l.status = 'pending' or l.next_attempt_at <= t.now
),

begun as (
    update withdrawals as w
    set
        status = 'processing',
        attempts = w.attempts + 1,
        history_length = w.history_length + (due.status = 'pending')::int,
        first_attempt_at = coalesce(w.first_attempt_at, due.at),
        next_attempt_at = due.lease_until,
        ring_at = due.lease_until,
        updated_at = due.at
    from due
    where w.id = due.id and w.user_id = due.user_id
    returning
        w.id,
        w.user_id,
        w.currency,
        w.amount,
        w.destination,
        w.attempts,
        w.next_attempt_at,
        w.reference,
        w.first_attempt_at,
        w.accepted_at,
        w.failure_code,
        w.history_length,
        w.updated_at,
        w.request_id,
        w.traceparent,
        due.status as status_before,
        w.status = 'processing' and w.next_attempt_at = due.lease_until as as_told
),

new_history as (
    insert into withdrawal_history (user_id, withdrawal_id, seq, status, at, reason, made_by)
    select user_id, id, history_length, 'processing', updated_at, 'the bank is about to be called', 'actor'
    from begun
    where status_before = 'pending'
    returning 1
)

select
    s.allowed,
    b.id,
    b.user_id,
    b.currency,
    b.amount,
    b.destination,
    b.attempts as number,
    b.next_attempt_at as lease_until,
    b.reference,
    extract(epoch from clock_timestamp() - b.first_attempt_at)::float8 as key_age_s,
    b.attempts > 1 or s.history_lost as ask_first,
    b.accepted_at is not null as accepted,
    coalesce(b.failure_code = 'bank_conflict', false) as conflict,
    b.request_id,
    b.traceparent
from stack_now as s
left join begun as b on true
where
    case
        when
            (select count(*) from begun where as_told) = (select count(*) from due)
            and (select count(*) from new_history) = (select count(*) from due where status = 'pending')
            then true
        else abort_statement()
    end;

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
    w.bank_reference,
    w.updated_at,
    w.accepted_at,
    coalesce(
        s.history_lost_at > clock_timestamp() - interval '30 days'
        and coalesce(w.looked_up_at < s.history_lost_at, true),
        false
    ) as may_be_known
from withdrawals as w
cross join stack as s
where w.id = any($1::uuid[])
order by w.id
for update of w;

-- name: complete
-- Writes a whole batch of payments in one statement: it locks the withdrawals ($1, $2) in key order, then their wallets
-- in key order, then reads the clock; it completes the withdrawals with the bank's references ($3) and takes the held
-- money from the wallets. $4 holds the ends of the transfers' identifiers, $5 the authors of the transitions, $6 how
-- long the rounds of bank calls took. It
-- refuses the whole batch if one of the withdrawals is not processing, or if a row is not written as told.
-- The instants of a wallet, and those of a withdrawal, never go back.
with locked as materialized (
    select w.id, w.user_id, w.currency, w.amount, w.history_length, w.updated_at, p.bank_reference, p.id_end,
        p.made_by, p.took_ms
    from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[])
        as p (id, user_id, bank_reference, id_end, made_by, took_ms)
    join withdrawals as w using (id, user_id)
    where case when w.status = 'processing' then true else false end
    order by w.id
    for update of w
),

paid as materialized (
    select user_id, currency, sum(amount)::bigint as amount, max(updated_at) as updated_at
    from locked
    group by user_id, currency
),

locked_wallets as materialized (
    select w.user_id, w.currency, w.available, w.locked, w.held, w.last_at, p.amount, p.updated_at
    from paid as p
    join wallets as w using (user_id, currency)
    order by w.user_id, w.currency
    for no key update of w
),

lock_taken as (
    select count(*) as wallets, clock_timestamp() as now from locked_wallets
),

decision as materialized (
    select
        now,
        case
            when (select count(*) from locked) < cardinality($1) or wallets < (select count(*) from paid)
                then abort_statement()
            else true
        end as accepted
    from lock_taken
),

dated_wallets as materialized (
    select w.*, greatest(d.now, w.last_at + interval '1 microsecond', w.updated_at) as at
    from decision as d
    cross join locked_wallets as w
    where d.accepted
),

payments as materialized (
    select
        (uuid7_start(w.at) || l.id_end)::uuid as transfer_id,
        l.id,
        l.user_id,
        l.currency,
        l.amount,
        l.bank_reference,
        l.made_by,
        l.took_ms,
        l.history_length + 1 as history_length,
        w.at,
        w.available,
        w.locked,
        w.held - sum(l.amount) over so_far as held
    from dated_wallets as w
    join locked as l on l.user_id = w.user_id and l.currency = w.currency
    window so_far as (partition by l.user_id, l.currency order by l.id_end rows unbounded preceding)
),

completed as (
    update withdrawals as w
    set
        status = 'completed',
        bank_reference = p.bank_reference,
        failure_code = null,
        failure_reason = null,
        history_length = p.history_length,
        updated_at = p.at
    from payments as p
    where w.id = p.id and w.user_id = p.user_id
    returning w.status = 'completed' and w.history_length = p.history_length as as_told
),

new_balances as (
    update wallets as w
    set held = w.held - d.amount, last_at = d.at
    from dated_wallets as d
    where w.user_id = d.user_id and w.currency = d.currency
    returning w.held = d.held - d.amount and w.last_at = d.at as as_told
),

new_history as (
    insert into withdrawal_history (withdrawal_id, user_id, seq, status, at, reason, made_by, took_ms)
    select id, user_id, history_length, 'completed', at, 'the bank paid', made_by, took_ms
    from payments
    returning 1
),

new_transfers as (
    insert into transfers (
        id, user_id, currency, kind, debit_account, credit_account, amount, total_after, available_after, locked_after,
        held_after, reference, created_at
    )
    select
        transfer_id,
        user_id,
        currency,
        'payout',
        'held',
        'bank',
        amount,
        available + locked + held,
        available,
        locked,
        held,
        id,
        at
    from payments
    returning 1
)

select count(*) as payments
from new_transfers
having
    case
        when
            count(*) = cardinality($1)
            and (select count(*) from completed where as_told) = cardinality($1)
            and (select count(*) from new_history) = cardinality($1)
            and (select count(*) from new_balances where as_told) = (select count(*) from dated_wallets)
            then true
        else abort_statement()
    end;

-- name: step
-- A state that a withdrawal only passes through within a batch; `move` writes the other changes.
update withdrawals as w
set
    status = s.status,
    attempts = case when s.status = 'processing' then greatest(w.attempts, 1) else w.attempts end,
    bank_reference = case when s.status = 'completed' then s.bank_reference end
from unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) as s (id, user_id, status, bank_reference)
where w.id = s.id and w.user_id = s.user_id;

-- name: move
with new_states as (
    update withdrawals as w
    set
        status = m.status,
        attempts = case when m.status = 'processing' then greatest(w.attempts, 1) else w.attempts end,
        rounds = m.rounds,
        next_attempt_at = m.next_attempt_at,
        ring_at = m.next_attempt_at,
        history_length = m.history_length,
        failure_code = m.failure_code,
        failure_reason = m.failure_reason,
        bank_reference = m.bank_reference,
        accepted_at = m.accepted_at,
        updated_at = m.updated_at
    from unnest(
        $1::uuid[], $2::text[], $3::text[], $4::int[], $5::timestamptz[], $6::int[], $7::text[], $8::text[],
        $9::text[], $10::timestamptz[], $11::timestamptz[]
    ) as m (
        id, user_id, status, rounds, next_attempt_at, history_length, failure_code, failure_reason,
        bank_reference, updated_at, accepted_at
    )
    where w.id = m.id and w.user_id = m.user_id
    returning
        (w.status, w.rounds, w.history_length, w.updated_at)
        = (m.status, m.rounds, m.history_length, m.updated_at) as as_told
),

new_history as (
    insert into withdrawal_history (withdrawal_id, user_id, seq, status, at, reason, made_by)
    select *
    from unnest(
        $12::uuid[], $13::text[], $14::int[], $15::text[], $16::timestamptz[], $17::text[], $18::text[]
    )
    returning 1
),

outbox_rows as (
    insert into outbox (withdrawal_id, user_id, created_at)
    select withdrawal_id, user_id, $21 from unnest($19::uuid[], $20::text[]) as announced (withdrawal_id, user_id)
    on conflict do nothing
)

select
    (select count(*) from new_states where as_told) as moved,
    (select count(*) from new_history) as history;

-- name: take_proposals
-- Removes these proposals (withdrawals $1, instants $2), unless the withdrawal has changed since; the caller has it locked.
delete from settlement_proposals as p
using unnest($1::uuid[], $2::timestamptz[]) as approved (withdrawal_id, proposed_at), withdrawals as w
where
    p.withdrawal_id = approved.withdrawal_id
    and p.proposed_at = approved.proposed_at
    and w.id = p.withdrawal_id
    and w.user_id = p.user_id
    and w.status = 'requires_attention'
    and w.updated_at <= p.proposed_at
returning p.withdrawal_id;

-- name: record_attempts
-- What the bank said in rounds of calls, once each; the first 500 of a withdrawal. They end when the transaction begins, so
-- before what follows from them.
insert into withdrawal_attempts (withdrawal_id, user_id, number, ended_at, took_ms, outcome, said)
select a.withdrawal_id, a.user_id, a.number, now(), a.took_ms, a.outcome, a.said
from unnest($1::uuid[], $2::text[], $3::int[], $4::int[], $5::text[], $6::text[])
    as a (withdrawal_id, user_id, number, took_ms, outcome, said)
where a.number <= 500
order by a.withdrawal_id, a.number
on conflict (withdrawal_id, user_id, number) do nothing;

-- name: redrive_due
-- Announces overdue withdrawals again, unless a message is already waiting in the outbox. The longer a withdrawal has
-- waited, the less often it is announced, so that a long queue is not filled with duplicates.
-- Locked withdrawals are passed over. The statement looks first for an outbox row that a relay is about to delete,
-- because inserting a duplicate of it would wait for that relay.
with instant as materialized (
    select clock_timestamp() as now
),

due as materialized (
    select id, user_id
    from withdrawals
    where status in ('pending', 'processing') and ring_at <= (select now from instant)
    order by ring_at
    limit $1
    for update skip locked
),

postponed as (
    update withdrawals as w
    set ring_at = i.now + greatest($2::interval, least(i.now - w.updated_at, '15 minutes'))
    from due
    cross join instant as i
    where w.id = due.id and w.user_id = due.user_id
)

insert into outbox (withdrawal_id, user_id, created_at)
select due.id, due.user_id, i.now
from due
cross join instant as i
where not exists (select from outbox as o where o.withdrawal_id = due.id and o.user_id = due.user_id)
on conflict do nothing;

-- name: postpone_due
-- The first half of `redrive_due`, for use if its second half had to wait for another session: it returns the
-- withdrawals to announce one by one. However long one has waited, it is due again after one interval: its message may
-- be the one that can't be written now.
with instant as materialized (
    select clock_timestamp() as now
),

due as materialized (
    select id, user_id
    from withdrawals
    where status in ('pending', 'processing') and ring_at <= (select now from instant)
    order by ring_at
    limit $1
    for update skip locked
)

update withdrawals as w
set ring_at = i.now + $2::interval
from due
cross join instant as i
where w.id = due.id and w.user_id = due.user_id
returning w.id, w.user_id;

-- name: count_open
select status, count(*) as withdrawals
from withdrawals
where status in ('pending', 'processing', 'requires_attention')
group by status;

-- name: requiring_attention
-- A page, the oldest first, after the identifier $1.
select id, user_id, currency, amount, destination, failure_code, failure_reason, attempts, created_at, updated_at
from withdrawals
where status = 'requires_attention' and ($1::uuid is null or id > $1)
order by id
limit $2;

-- name: held_elsewhere
-- The withdrawals that another session holds: they can't be locked without waiting.
with free_withdrawals as materialized (
    select id
    from withdrawals
    where id = any($1::uuid[])
    order by id
    for update skip locked
)

select w.id
from withdrawals as w
where w.id = any($1::uuid[]) and not exists (select from free_withdrawals as f where f.id = w.id);

-- name: held_elsewhere_with_wallets
-- The withdrawals that another session holds, or whose wallets it holds.
with asked as materialized (
    select id, user_id, currency from withdrawals where id = any($1::uuid[])
),

free_withdrawals as materialized (
    select id
    from withdrawals
    where id = any($1::uuid[])
    order by id
    for update skip locked
),

free_wallets as materialized (
    select w.user_id, w.currency
    from (select distinct user_id, currency from asked) as a
    join wallets as w on w.user_id = a.user_id and w.currency = a.currency
    order by w.user_id, w.currency
    for no key update of w skip locked
)

select a.id
from asked as a
where
    not exists (select from free_withdrawals as f where f.id = a.id)
    or not exists (select from free_wallets as f where f.user_id = a.user_id and f.currency = a.currency);
