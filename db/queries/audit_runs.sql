-- name: claim
-- Takes the audit that is due at $1, unless another process has, or audits are recorded since later. One that was begun
-- more than $3 ago and is not complete (its process died, the bank was away) is taken again.
insert into audit_runs as known (due_at, started_at, made_by)
select $1, clock_timestamp(), $2
where $1 > (select min(due_at) from audit_runs)
on conflict (due_at) do update
set started_at = excluded.started_at, ended_at = null, detail = null, made_by = excluded.made_by
where known.violations is null and known.started_at < clock_timestamp() - $3::interval
returning due_at;

-- name: finish
update audit_runs
set ended_at = clock_timestamp(), violations = $2, detail = $3
where due_at = $1;

-- name: record
insert into audit_runs (due_at, started_at, ended_at, violations, detail, made_by)
values ($1, $1, clock_timestamp(), $2, $3, $4);

-- name: record_backup
insert into backups (taken_at, place, made_by)
values ($1, $2, $3);

-- name: last
-- The last complete audit, or, before the first one, since when audits are recorded.
select
    coalesce(last.ended_at, since.due_at) as ended_at,
    coalesce(last.violations, 0) as violations,
    coalesce(extract(epoch from last.ended_at - last.started_at), 0)::float8 as seconds
from (select min(due_at) as due_at from audit_runs) as since
left join lateral (
    select started_at, ended_at, violations
    from audit_runs
    where violations is not null
    order by ended_at desc
    limit 1
) as last on true;

-- name: last_backup
-- The last backup that was recorded, or, before the first one, since when they are.
select coalesce((select max(taken_at) from backups), (select min(due_at) from audit_runs)) as taken_at;
