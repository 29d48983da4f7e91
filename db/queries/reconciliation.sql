-- name: cursor
select after from bank_cursor;

-- name: advance
update bank_cursor set after = $1;

-- name: by_references
select
    id,
    user_id,
    currency,
    amount,
    status,
    attempts,
    bank_reference,
    reference,
    destination,
    accepted_at,
    coalesce(failure_code = 'bank_conflict', false) as conflict,
    destination is not null or coalesce(made_by not like 'operator:%', true) as destination_known,
    request_id,
    traceparent
from withdrawals
where coalesce(reference, id) = any($1::uuid[]);

-- name: requiring_attention
-- A page, the oldest first, after the identifier $1.
select
    id,
    user_id,
    currency,
    amount,
    status,
    attempts,
    bank_reference,
    reference,
    destination,
    accepted_at,
    coalesce(failure_code = 'bank_conflict', false) as conflict,
    destination is not null or coalesce(made_by not like 'operator:%', true) as destination_known,
    request_id,
    traceparent
from withdrawals
where status = 'requires_attention' and ($1::uuid is null or id > $1)
order by id
limit $2;

-- name: looked_up
-- Withdrawals that another session holds are passed over: they are looked up once more, if that matters.
with free as materialized (
    select id, user_id, clock_timestamp() as now
    from withdrawals
    where id = any($1::uuid[])
    order by id
    for update skip locked
)

update withdrawals as w
set looked_up_at = f.now
from free as f
where w.id = f.id and w.user_id = f.user_id;

-- name: note_discrepancies
insert into discrepancies (kind, reference, bank, ours, first_seen_at, last_seen_at)
select distinct on (s.kind, s.reference)
    s.kind, left(s.reference, 255), left(s.bank, 1000), left(s.ours, 1000), clock_timestamp(), clock_timestamp()
from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as s (kind, reference, bank, ours)
order by s.kind, s.reference
on conflict (kind, reference) do update
set bank = excluded.bank, ours = excluded.ours, last_seen_at = excluded.last_seen_at;

-- name: forget_discrepancies
delete from discrepancies where last_seen_at < (select clock_timestamp()) - interval '30 days';

-- name: look_up_soon
insert into look_ups (withdrawal_id, user_id, due_at)
select id, user_id, clock_timestamp()
from unnest($1::uuid[], $2::text[]) as asked (id, user_id)
order by id
on conflict (withdrawal_id, user_id) do nothing;

-- name: look_ups_due
select
    w.id,
    w.user_id,
    w.currency,
    w.amount,
    w.status,
    w.attempts,
    w.bank_reference,
    w.reference,
    w.destination,
    w.accepted_at,
    coalesce(w.failure_code = 'bank_conflict', false) as conflict,
    w.destination is not null or coalesce(w.made_by not like 'operator:%', true) as destination_known,
    w.request_id,
    w.traceparent,
    l.due_at
from (
    select withdrawal_id, user_id, due_at
    from look_ups
    where due_at <= clock_timestamp()
    order by due_at
    limit $1
) as l
join withdrawals as w on w.id = l.withdrawal_id and w.user_id = l.user_id;

-- name: look_ups_done
-- Look-ups that another session holds are passed over, and so are done again.
with free as materialized (
    select l.withdrawal_id, l.user_id
    from unnest($1::uuid[], $2::text[], $3::timestamptz[]) as done (withdrawal_id, user_id, due_at)
    join look_ups as l using (withdrawal_id, user_id, due_at)
    order by l.withdrawal_id
    for update of l skip locked
)

delete from look_ups as l
using free as f
where l.withdrawal_id = f.withdrawal_id and l.user_id = f.user_id;

-- name: look_ups_missed
-- Due again after 5 s, 10 s, 20 s, 40 s, then every minute: the bank may have been away for all look-ups, and a user
-- who waits for returned money should not wait for long once the bank is back.
with free as materialized (
    select l.withdrawal_id, l.user_id, clock_timestamp() as now
    from unnest($1::uuid[], $2::text[], $3::timestamptz[]) as missed (withdrawal_id, user_id, due_at)
    join look_ups as l using (withdrawal_id, user_id, due_at)
    order by l.withdrawal_id
    for update of l skip locked
)

update look_ups as l
set
    due_at = f.now + least(interval '5 seconds' * 2 ^ least(l.asked, 10), interval '1 minute'),
    asked = l.asked + 1
from free as f
where l.withdrawal_id = f.withdrawal_id and l.user_id = f.user_id;

-- name: told
-- The bank called back about the withdrawal with the reference $1: it is looked up at once, even if a look-up is under
-- way. Returns the number of withdrawals.
with told as (
    insert into look_ups (withdrawal_id, user_id, due_at)
    select id, user_id, clock_timestamp()
    from withdrawals
    where coalesce(reference, id) = $1
    on conflict (withdrawal_id, user_id) do update set due_at = excluded.due_at, asked = 0
    returning 1
)

select count(*) as told from told;

-- name: bank_prefix
select bank_prefix from stack;

-- name: look_up_open
-- Some open withdrawals that were not looked up since history was lost; while payouts are paused, also due withdrawals
-- under way: each once, and those that the bank has accepted whenever they are due.
insert into look_ups (withdrawal_id, user_id, due_at)
select w.id, w.user_id, clock_timestamp()
from stack as s
join withdrawals as w on
    w.status in ('pending', 'processing')
    and (
        coalesce(w.looked_up_at < s.history_lost_at, s.history_lost_at is not null)
        or (
            w.status = 'processing'
            and w.next_attempt_at <= clock_timestamp()
            and s.paused_at is not null
            and (w.accepted_at is not null or coalesce(w.looked_up_at < s.paused_at, true))
        )
    )
where
    (s.paused_at is not null or s.history_lost_at > clock_timestamp() - interval '30 days')
    and not exists (select from look_ups as l where l.withdrawal_id = w.id and l.user_id = w.user_id)
order by w.id
limit $1
on conflict (withdrawal_id, user_id) do nothing;
