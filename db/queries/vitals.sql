-- name: open_withdrawals
-- The money of open withdrawals, and the age of the oldest. The bank may take its time with those that it has accepted.
select
    case when status = 'processing' and accepted_at is not null then 'accepted' else status end as stage,
    currency,
    sum(amount)::float8 as amount,
    extract(epoch from (select clock_timestamp()) - min(created_at))::float8 as oldest_s
from withdrawals
where status in ('pending', 'processing', 'requires_attention')
group by stage, currency;

-- name: events_waiting
-- For how long the oldest batch of events has waited for its numbers.
select
    coalesce(
        extract(epoch from clock_timestamp() - (select at from event_batches order by id limit 1)), 0
    )::float8 as age_s;

-- name: webhooks
select
    count(*) filter (where status = 'enabled') as enabled,
    count(*) filter (where status = 'disabled') as disabled
from webhook_endpoints;

-- name: connections
-- All sessions, whoever's: pg_stat_activity would not show those of others.
select
    (select sum(numbackends)::bigint from pg_stat_database) as used,
    current_setting('max_connections')::bigint
    - current_setting('superuser_reserved_connections')::bigint as allowed;

-- name: size
select pg_database_size(current_database()) as bytes;

-- name: wal
-- Needs the rights of pg_monitor.
select coalesce(sum(size), 0)::bigint as bytes from pg_ls_waldir();

-- name: archive
-- Before the first file was archived, the time counts since the statistics were reset.
select
    case
        when current_setting('archive_mode') = 'off' then 0
        else greatest(0, extract(epoch from clock_timestamp() - coalesce(last_archived_time, stats_reset, now())))
    end::float8 as age_s
from pg_stat_archiver;

-- name: replicas
-- Needs the rights of pg_monitor: without them the lag is NULL. A backup that is being taken is no replica.
select
    count(*) as replicas,
    case
        when count(*) = 0 then 0
        else max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))
    end::float8 as lag_bytes
from pg_stat_replication
where state is distinct from 'backup';
