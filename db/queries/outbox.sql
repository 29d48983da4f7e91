-- name: announce
insert into outbox (withdrawal_id, user_id, created_at) values ($1, $2, clock_timestamp())
on conflict do nothing;

-- name: claim
-- Claims messages, those of the oldest withdrawals first, for this relay alone until its transaction ends, except those
-- ($2) that it has set aside.
select user_id, withdrawal_id
from outbox
where withdrawal_id <> all($2::uuid[])
order by withdrawal_id, user_id
limit $1
for update skip locked;

-- name: published
delete from outbox
using unnest($1::uuid[], $2::text[]) as done (withdrawal_id, user_id)
where outbox.withdrawal_id = done.withdrawal_id and outbox.user_id = done.user_id;

-- name: depth
select
    count(*) as depth,
    coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8 as age_s
from outbox;
