-- What operators ask. Each statement reads a bounded number of rows, by an index.

-- name: open_sums
-- Open withdrawals by status and currency: the oldest $1 of each status, so that a long backlog costs no more.
select
    s.status,
    o.currency,
    count(*) as withdrawals,
    sum(o.amount)::bigint as amount,
    min(o.created_at) as oldest_at
from (values ('pending'), ('processing'), ('requires_attention')) as s (status)
cross join lateral (
    select w.currency, w.amount, w.created_at
    from withdrawals as w
    where w.status = s.status and w.status <> 'completed'
    order by w.id
    limit $1
) as o
group by s.status, o.currency
order by s.status, o.currency;

-- name: oldest_open
-- The oldest withdrawal that waits for us, and the oldest that the bank has accepted and has not ended: of the oldest $1
-- of each status.
select distinct on (o.with_the_bank) o.with_the_bank, o.id, o.created_at
from (values ('pending'), ('processing')) as s (status)
cross join lateral (
    select w.id, w.created_at, w.accepted_at is not null as with_the_bank
    from withdrawals as w
    where w.status = s.status and w.status <> 'completed'
    order by w.id
    limit $1
) as o
order by o.with_the_bank, o.id;

-- name: attention_sums
-- Why the oldest $1 of those that require attention do, and how much money they hold.
select
    a.failure_code,
    a.currency,
    count(*) as withdrawals,
    sum(a.amount)::bigint as amount,
    min(a.updated_at) as since_first,
    max(a.updated_at) as since_last
from (
    select failure_code, currency, amount, updated_at
    from withdrawals
    where status = 'requires_attention'
    order by id
    limit $1
) as a
group by a.failure_code, a.currency
order by count(*) desc, a.failure_code, a.currency;

-- name: outbox
-- The first $1 messages: they are in the order of the withdrawals' age.
select
    count(*) as messages,
    coalesce(extract(epoch from clock_timestamp() - min(o.created_at)), 0)::float8 as age_s
from (select created_at from outbox order by withdrawal_id limit $1) as o;

-- name: activity
-- By the minute since $1 minutes ago, of all processes together.
select minute, what, sum(number)::bigint as number, sum(seconds)::float8 as seconds
from activity
where minute > (select clock_timestamp()) - $1::integer * interval '1 minute'
group by minute, what
order by minute, what;

-- name: note_activity
insert into activity (minute, instance, what, number, seconds)
select date_trunc('minute', clock_timestamp()), $1, done.what, done.number, done.seconds
from unnest($2::text[], $3::bigint[], $4::float8[]) as done (what, number, seconds)
on conflict (minute, instance, what) do update
set number = activity.number + excluded.number, seconds = activity.seconds + excluded.seconds;

-- name: forget_activity
delete from activity where minute < (select clock_timestamp()) - interval '2 hours';

-- name: walk_of_statuses
-- Newest first, those of the statuses $4 (not `completed`), each status on its own: $3 rows of each at most. A row that
-- does not match comes too if it is the last of its walk, so that the next page can begin there.
select at, id, matches, number
from unnest($4::text[]) as s (status)
cross join lateral (
    select
        w.id as at,
        w.id,
        coalesce(w.currency = $5::text, true)
        and coalesce(w.amount = $6::bigint, true)
        and coalesce(w.failure_code = $7::text, $7::text is null) as matches,
        row_number() over (order by w.id desc) as number
    from withdrawals as w
    where w.status = s.status and w.status <> 'completed' and w.id < $1 and w.id >= $2
    order by w.id desc
    limit $3
) as looked_at
where matches or number = $3
order by at desc;

-- name: walk_of_statuses_oldest_first
select at, id, matches, number
from unnest($4::text[]) as s (status)
cross join lateral (
    select
        w.id as at,
        w.id,
        coalesce(w.currency = $5::text, true)
        and coalesce(w.amount = $6::bigint, true)
        and coalesce(w.failure_code = $7::text, $7::text is null) as matches,
        row_number() over (order by w.id) as number
    from withdrawals as w
    where w.status = s.status and w.status <> 'completed' and w.id < $1 and w.id > $2
    order by w.id
    limit $3
) as looked_at
where matches or number = $3
order by at;

-- name: walk_of_all
select at, id, matches, number
from (
    select
        w.id as at,
        w.id,
        coalesce(w.status = any($4::text[]), true)
        and coalesce(w.currency = $5::text, true)
        and coalesce(w.amount = $6::bigint, true)
        and coalesce(w.failure_code = $7::text, $7::text is null) as matches,
        row_number() over (order by w.id desc) as number
    from withdrawals as w
    where w.id < $1 and w.id >= $2
    order by w.id desc
    limit $3
) as looked_at
where matches or number = $3
order by at desc;

-- name: walk_of_user
-- Of all wallets of the user $8, by their reserves (see lists.sql).
select at, id, matches, number
from wallets as v
cross join lateral (
    select
        t.id as at,
        t.id,
        coalesce(w.status = any($4::text[]), true)
        and coalesce(w.currency = $5::text, true)
        and coalesce(w.amount = $6::bigint, true)
        and coalesce(w.failure_code = $7::text, $7::text is null) as matches,
        row_number() over (order by t.id desc) as number
    from transfers as t
    join withdrawals as w on w.id = t.id and w.user_id = t.user_id
    where
        t.user_id = v.user_id
        and t.currency = v.currency
        and t.kind = 'reserve'
        and t.id < $1
        and t.id >= $2
    order by t.id desc
    limit $3
) as looked_at
where v.user_id = $8 and (matches or number = $3)
order by at desc;

-- name: by_identifier
-- The withdrawal with this identifier, and those that the bank knows by it.
select id, 'id' as found_by from withdrawals where id = $1
union all
select id, 'reference' from withdrawals where coalesce(reference, id) = $1 and id <> $1;

-- name: by_idempotency_key
-- Those that were made under this key, in any space that there are API keys for.
select w.id, 'idempotency_key' as found_by
from (select 'default' as space union select space from api_keys) as s
join idempotency_keys as k on k.digest = key_digest(s.space, $1)
join withdrawals as w on w.id = k.movement_id and w.user_id = k.user_id
limit 20;

-- name: by_bank_reference
-- Those that the bank calls so, of the newest $2.
select n.id, 'bank_reference' as found_by
from (
    select id, bank_reference from withdrawals where id < 'ffffffff-ffff-ffff-ffff-ffffffffffff' order by id desc limit $2
) as n
where n.bank_reference = $1
limit 20;

-- name: is_user
select exists(select from wallets where user_id = $1) as is_user;

-- name: attempts
-- Rounds of bank calls with a record of their own, then the one that the history ends with, if there is one.
select number, ended_at, took_ms, outcome, said
from withdrawal_attempts
where withdrawal_id = $1
order by number;

-- name: request_of
-- The request that a withdrawal was made by; null where it is not known.
select request_id, traceparent from withdrawals where id = $1;

-- name: lengths
-- The entries of the history that a round of bank calls led to, and how long that took.
select seq, took_ms from withdrawal_history where withdrawal_id = $1 and took_ms is not null order by seq;

-- name: actions_of
select at, made_by, action, reason from operator_actions where withdrawal_id = $1 order by id limit 200;

-- name: last_actions
select id, at, made_by, action, withdrawal_id, reason, withdrawals from operator_actions order by id desc limit $1;

-- name: proposals
select withdrawal_id, outcome, bank_reference, reason, proposed_by, proposed_at
from settlement_proposals
where withdrawal_id = any($1::uuid[]);

-- name: books
select c.after as read_up_to, s.bank_prefix, (select count(*) from look_ups) as look_ups
from bank_cursor as c
cross join stack as s;

-- name: discrepancies
select kind, reference, bank, ours, first_seen_at, last_seen_at
from discrepancies
order by last_seen_at desc
limit $1;

-- name: locks
-- The locks of a wallet whose money is locked still, the soonest first.
select charge_id, release_at, amount
from locks
where
    user_id = $1
    and currency = $2
    and account = 'locked'
    and release_at > (select clock_timestamp())
order by release_at
limit $3;

-- name: note_action
insert into operator_actions (made_by, action, withdrawal_id, reason, withdrawals) values ($1, $2, $3, $4, $5)
returning id;

-- name: redrive
-- Have the bank asked about an open withdrawal at once, and have the actors told of it again.
with found as (
    select id, user_id
    from withdrawals
    where id = $1 and status in ('pending', 'processing', 'requires_attention')
),

asked as (
    insert into look_ups (withdrawal_id, user_id, due_at)
    select id, user_id, clock_timestamp() from found
    on conflict (withdrawal_id, user_id) do update set due_at = excluded.due_at, asked = 0
    returning 1
),

told as (
    insert into outbox (withdrawal_id, user_id, created_at)
    select id, user_id, clock_timestamp() from found
    on conflict do nothing
)

select count(*) as redriven from asked;

-- name: propose
-- Propose how a withdrawal is to be settled; a proposal that is there stays.
insert into settlement_proposals (withdrawal_id, user_id, outcome, bank_reference, reason, proposed_by)
select id, user_id, $2, $3, $4, $5
from withdrawals
where id = $1 and status = 'requires_attention'
on conflict do nothing
returning proposed_at;

-- name: drop_proposal
delete from settlement_proposals where withdrawal_id = $1 returning proposed_by;
