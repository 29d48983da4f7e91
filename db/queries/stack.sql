-- name: look
-- What actors and the reconciler look at each second.
select
    coalesce(payouts_allowed(), false) as allowed,
    paused_at,
    paused_by,
    paused_reason,
    history_lost_at,
    bank_prefix,
    system_identifier is not null as written_down,
    coalesce(server_started_at = pg_postmaster_start_time(), false) as same_run,
    coalesce(timeline = $1, false) as same_timeline,
    coalesce(system_identifier = $2, false)
    and coalesce(table_oid = tableoid::bigint, false)
    and coalesce(database_oid = (select oid::bigint from pg_database where datname = current_database()), false)
        as same_database
from stack;

-- name: server
-- Which server this is: its system identifier and timeline.
select
    (select system_identifier from pg_control_system()) as system_identifier,
    ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer as timeline;

-- name: write_down
-- This is the server that payouts are made from; $3: and its history is known to be whole.
update stack set
    timeline = $1,
    system_identifier = $2,
    server_started_at = case when $3 then pg_postmaster_start_time() end,
    table_oid = tableoid::bigint,
    database_oid = (select oid::bigint from pg_database where datname = current_database())
returning 1;

-- name: pause
-- By an operator: whatever paused them before.
update stack set paused_at = coalesce(paused_at, clock_timestamp()), paused_by = $1, paused_reason = $2
returning 1;

-- name: pause_by_itself
-- An operator's pause, and an earlier reason of another kind than $3, stay what they are. $4: history may be lost. It
-- counts from the first time that was seen in this pause: what was looked up since need not be looked up again.
update stack set
    paused_at = coalesce(paused_at, clock_timestamp()),
    paused_by = coalesce(paused_by, $1),
    paused_reason = case when paused_by is null or (paused_by = $1 and paused_reason like $3) then $2 else paused_reason end,
    history_lost_at = case
        when $4 and not coalesce(history_lost_at >= paused_at, false) then clock_timestamp()
        else history_lost_at
    end
returning 1;

-- name: resume
update stack set paused_at = null, paused_by = null, paused_reason = null
where paused_at is not null
returning 1;

-- name: resume_by_itself
-- Nothing was lost after all.
update stack set paused_at = null, paused_by = null, paused_reason = null, history_lost_at = null
where paused_by = $1 and paused_reason like $2
returning 1;
