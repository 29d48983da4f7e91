-- name: lock_table
lock table %s in access exclusive mode;

-- name: sleep
select pg_sleep(%s);

-- name: read_only
alter system set default_transaction_read_only = on;

-- name: writable
alter system reset default_transaction_read_only;

-- name: reload
select pg_reload_conf();

-- name: cancel_all
-- Cancels the present statements of the service's sessions; each session goes on with its next statement.
select count(*)
from pg_stat_activity
where
    datname = current_database()
    and pid <> pg_backend_pid()
    and application_name <> $1
    and pg_cancel_backend(pid);

-- name: terminate_all
select count(*)
from pg_stat_activity
where
    datname = current_database()
    and pid <> pg_backend_pid()
    and application_name <> $1
    and pg_terminate_backend(pid);

-- name: make_clock
create schema if not exists chaos_clock;
grant usage on schema chaos_clock to public;

-- name: set_clock
-- Every session that finds this function before PostgreSQL's own reads a clock that is behind.
create or replace function chaos_clock.clock_timestamp() returns timestamptz language sql volatile as
$$ select pg_catalog.clock_timestamp() - %s * interval '1 second' $$;

-- name: use_clock
alter database %s set search_path = chaos_clock, pg_catalog, public;

-- name: forget_clock
alter database %s reset search_path;

-- name: drop_clock
drop schema if exists chaos_clock cascade;

-- name: has_synchronous_standby
select exists (select from pg_stat_replication where sync_state = 'sync');

-- name: name
select current_database();
