-- name: look
-- The state that the actors and the reconciler read at short intervals.
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
-- The server's identity: its system identifier and timeline.
select
    (select system_identifier from pg_control_system()) as system_identifier,
    ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer as timeline;

-- name: write_down
-- Record this server as the one that payouts are made from. $3 means that its history is known to be whole.
update stack set
    timeline = $1,
    system_identifier = $2,
    server_started_at = case when $3 then pg_postmaster_start_time() end,
    table_oid = tableoid::bigint,
    database_oid = (select oid::bigint from pg_database where datname = current_database())
returning 1;

-- name: pause
-- A pause by an operator replaces any earlier author and reason.
update stack set paused_at = coalesce(paused_at, clock_timestamp()), paused_by = $1, paused_reason = $2
returning 1;

-- name: pause_by_itself
-- An operator's pause, and an earlier reason that does not match $3, stay as they are. $4 means that history may be
-- lost, and $5 that this has just happened, as by a restore. Otherwise the loss counts from its first discovery in this
-- pause: withdrawals looked up since need no second look-up. A reason that matches $3 is a doubt that may end by itself;
-- if history was lost not long before, it ends in $6, and `resume_by_itself` does not forget that.
update stack set
    paused_at = coalesce(paused_at, clock_timestamp()),
    paused_by = coalesce(paused_by, $1),
    paused_reason = case
        when paused_by is null or (paused_by = $1 and paused_reason like $3) then
            $2 || case
                when paused_reason like '%' || $6 then $6
                when paused_by is null and $2 like $3 and history_lost_at > clock_timestamp() - interval '30 days' then $6
                else ''
            end
        else paused_reason
    end,
    history_lost_at = case
        when $4 and ($5 or not coalesce(history_lost_at >= paused_at, false)) then clock_timestamp()
        else history_lost_at
    end
returning 1;

-- name: resume
update stack set paused_at = null, paused_by = null, paused_reason = null
where paused_at is not null
returning 1;

-- name: resume_by_itself
-- Resumes payouts after it has turned out that nothing was lost this time; $3 says what was lost before.
update stack
set
    paused_at = null,
    paused_by = null,
    paused_reason = null,
    history_lost_at = case when paused_reason like '%' || $3 then history_lost_at end
where paused_by = $1 and paused_reason like $2
returning 1;
