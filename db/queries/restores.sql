-- name: holds_books
select to_regclass('public.transfers') is not null or to_regclass('public.wallets') is not null as holds_books;

-- name: end_sessions
-- Sessions in these databases end; a database with sessions can't be renamed.
select pg_terminate_backend(pid) from pg_stat_activity where datname = any($1) and pid <> pg_backend_pid();
