-- name: create
-- Makes an endpoint that is told what comes from now on, unless there are $8 of them.
insert into webhook_endpoints (id, url, types, description, secret, user_prefix, made_by, delivered_seq)
select $1, $2, $3::text [], $4, $5, $6, $7, s.last_seq
from event_sequence as s
where (select count(*) from webhook_endpoints) < $8
on conflict (id) do update set id = excluded.id
returning
    id, url, types, description, status, disabled_reason, delivered_seq, failing_since, next_attempt_at, old_secret_until,
    created_at, 0::bigint as parked;

-- name: listed
-- All endpoints, or one ($2), those of a user prefix ($1) or (null) of all, oldest first.
select
    e.id, e.url, e.types, e.description, e.status, e.disabled_reason, e.delivered_seq, e.failing_since,
    e.next_attempt_at, e.old_secret_until, e.created_at,
    (select count(*) from webhook_parked as p where p.endpoint_id = e.id) as parked
from webhook_endpoints as e
where ($1::text is null or e.user_prefix = $1) and ($2::uuid is null or e.id = $2)
order by e.created_at, e.id;

-- name: change
-- Changes what is given. Enabled again, it is tried at once, and everything that came meanwhile is told.
update webhook_endpoints as e
set
    url = coalesce($3, e.url),
    types = case when $4 then $5::text [] else e.types end,
    description = case when $6 then $7::text else e.description end,
    status = coalesce($8, e.status),
    disabled_reason = case $8 when 'enabled' then null when 'disabled' then 'by request' else e.disabled_reason end,
    failures = case when $8 = 'enabled' or $3 is not null then 0 else e.failures end,
    failing_since = case when $8 = 'enabled' or $3 is not null then null else e.failing_since end,
    next_attempt_at = case when $8 = 'enabled' or $3 is not null then null else e.next_attempt_at end
where ($1::text is null or e.user_prefix = $1) and e.id = $2
returning e.id;

-- name: delete
delete from webhook_endpoints where ($1::text is null or user_prefix = $1) and id = $2
returning id;

-- name: rotate
-- Gives another secret ($3); the one before is valid for $4 more.
update webhook_endpoints
set old_secret = secret, old_secret_until = clock_timestamp() + $4::interval, secret = $3
where ($1::text is null or user_prefix = $1) and id = $2 and secret <> $3
returning id;

-- name: secrets
-- What calls to an endpoint are signed by.
select
    url, secret, case when old_secret_until > clock_timestamp() then old_secret end as old_secret
from webhook_endpoints
where ($1::text is null or user_prefix = $1) and id = $2;

-- name: deliveries
-- The calls of an endpoint before $2, newest first, those of a status or (null) all.
select id, seq, event_id, type, attempt, status, status_code, error, response, took_ms, at
from webhook_deliveries
where endpoint_id = $1 and id < $2 and ($3::text is null or status = $3)
order by endpoint_id, id desc
limit $4;

-- name: again
-- Has events of a range delivered by themselves, now.
insert into webhook_parked (endpoint_id, seq)
select $1, seq
from generate_series($2::bigint, $3::bigint) as seq
on conflict (endpoint_id, seq) do update set next_attempt_at = clock_timestamp(), attempts = 0, since = clock_timestamp();

-- name: rewind
-- Has everything after a number delivered again, in order.
update webhook_endpoints
set delivered_seq = $2, next_attempt_at = null
where id = $1
returning id;

-- name: ring
-- Says which endpoints have something to do, for the relay to tell the actors.
with due as (
    select e.id
    from webhook_endpoints as e
    cross join event_sequence as s
    where
        e.status = 'enabled'
        and (e.next_attempt_at is null or e.next_attempt_at <= clock_timestamp())
        and (e.rung_until is null or e.rung_until <= clock_timestamp())
        and (e.leased_until is null or e.leased_until <= clock_timestamp())
        and (
            e.delivered_seq < s.last_seq
            or exists (
                select from webhook_parked as p
                where p.endpoint_id = e.id and p.next_attempt_at <= (select clock_timestamp())
            )
        )
    for no key update of e skip locked
),

rung as (
    update webhook_endpoints as e
    set rung_until = clock_timestamp() + $1::interval
    from due
    where e.id = due.id
    returning e.id
)

insert into webhook_turns (endpoint_id)
select id from rung
on conflict do nothing;

-- name: needed
-- The number up to which no enabled endpoint needs an event any more.
select min(least(
    e.delivered_seq,
    (select min(p.seq) - 1 from webhook_parked as p where p.endpoint_id = e.id)
)) as delivered_seq
from webhook_endpoints as e
where e.status = 'enabled';

-- name: take
-- Takes a turn, if nobody else has one. It ends by itself when it was not heard of for $3.
update webhook_endpoints
set turn = $2, leased_until = clock_timestamp() + $3::interval, rung_until = null
where
    id = $1
    and status = 'enabled'
    and (leased_until is null or leased_until <= clock_timestamp())
    and (next_attempt_at is null or next_attempt_at <= clock_timestamp())
returning
    url, types, user_prefix, delivered_seq, failures,
    secret, case when old_secret_until > clock_timestamp() then old_secret end as old_secret;

-- name: due
-- Events that wait by themselves and are due, in order of the sequence. `is_last`: they have waited for $2.
select seq, attempts, since < clock_timestamp() - $2::interval as is_last
from webhook_parked
where endpoint_id = $1 and next_attempt_at <= (select clock_timestamp())
order by seq
limit $3;

-- name: parked
select count(*) as parked from webhook_parked where endpoint_id = $1 and attempts > 0;

-- name: progress
-- Writes down what a turn ($2) has done since it last did, from $3 to $4. $5: whether the endpoint failed, worked, or (null)
-- did neither. If it failed, there is a pause:
-- $6 at first, then twice as long each time, up to $25; after failing for $8, or for a reason ($7), it is disabled.
-- Nothing if the turn is another's by now, or the position was moved.
with moved as (
    update webhook_endpoints
    set
        delivered_seq = $4,
        leased_until = clock_timestamp() + $9::interval,
        failures = case when $5::boolean then failures + 1 when not $5 then 0 else failures end,
        failing_since = case
            when $5 then coalesce(failing_since, clock_timestamp()) when $5 is null then failing_since
        end,
        next_attempt_at = case
            when $5 then clock_timestamp() + least($25::interval, $6::interval * 2 ^ least(failures, 30))
            when $5 is null then next_attempt_at
        end,
        status = case
            when $7::text is not null or ($5 and failing_since < clock_timestamp() - $8::interval)
                then 'disabled' else status
        end,
        disabled_reason = case
            when $7::text is not null then $7
            when $5 and failing_since < clock_timestamp() - $8::interval
                then 'no answer since ' || failing_since else disabled_reason
        end
    where id = $1 and turn = $2 and delivered_seq = $3
    returning id, status, disabled_reason
),

noted as (
    insert into webhook_deliveries (
        id, endpoint_id, seq, event_id, type, attempt, status, status_code, error, response, took_ms, at
    )
    select d.id, e.id, d.seq, d.event_id, d.type, d.attempt, d.status, d.status_code, d.error, d.response, d.took_ms, d.at
    from unnest(
        $10::uuid [], $11::bigint [], $12::uuid [], $13::text [], $14::integer [], $15::text [], $16::integer [],
        $17::text [], $18::text [], $19::integer [], $20::timestamptz []
    ) as d (id, seq, event_id, type, attempt, status, status_code, error, response, took_ms, at)
    cross join (select id from webhook_endpoints where id = $1) as e
    on conflict do nothing
),

put_off as (
    insert into webhook_parked (endpoint_id, seq, attempts, next_attempt_at)
    select m.id, p.seq, p.attempts, clock_timestamp() + p.pause
    from unnest($21::bigint [], $22::integer [], $23::interval []) as p (seq, attempts, pause)
    cross join moved as m
    on conflict (endpoint_id, seq) do update
    set attempts = excluded.attempts, next_attempt_at = excluded.next_attempt_at
),

done as (
    delete from webhook_parked
    where endpoint_id = $1 and seq = any($24::bigint []) and exists (select from moved)
)

select status, disabled_reason from moved;

-- name: give_back
-- Ends a turn.
update webhook_endpoints
set turn = null, leased_until = null, rung_until = null
where id = $1 and turn = $2;

-- name: forget
-- Removes all but the newest $2 calls.
delete from webhook_deliveries
where
    endpoint_id = $1
    and id < (select id from webhook_deliveries where endpoint_id = $1 order by endpoint_id, id desc offset $2 - 1 limit 1);

-- name: are_waiting
select exists (select from webhook_turns) as are_waiting;

-- name: claim
-- Endpoints that the actors are to be told of, for this relay alone until its transaction ends.
select endpoint_id from webhook_turns order by at limit $1 for update skip locked;

-- name: told
delete from webhook_turns where endpoint_id = any($1::uuid []);
