-- name: exchange
-- Tell the other gateways what the clients of this one ($1) do ($2), and learn what theirs did.
with clock as materialized (select clock_timestamp() as now),
told as (
    insert into rate_reports (gateway, reported_at, usage)
    select $1::uuid, now, $2::text from clock
    on conflict (gateway) do update set reported_at = excluded.reported_at, usage = excluded.usage
),
gone as (
    select gateway
    from rate_reports
    where gateway <> $1 and reported_at < (select now from clock) - interval '1 minute'
    for update skip locked
),
forgotten as (delete from rate_reports where gateway in (select gateway from gone))
select gateway, extract(epoch from now - reported_at)::float8 as age_s, usage
from rate_reports, clock
where gateway <> $1 and reported_at > now - interval '3 seconds';

-- name: withdraw
-- This gateway ends.
delete from rate_reports where gateway = $1;
