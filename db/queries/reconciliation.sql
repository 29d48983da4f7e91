-- name: cursor
select after from bank_cursor;

-- name: advance
update bank_cursor set after = $1;

-- name: try_lead
-- One reconciler at a time; the lock is the session's and ends with it.
select pg_try_advisory_lock(7823731) as leads;
