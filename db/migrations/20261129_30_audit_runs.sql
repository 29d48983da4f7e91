-- What is done to the books from time to time: audits and backups
-- depends: 20261129_20_operator

-- migrate: apply

create table audit_runs (
    due_at timestamptz primary key,
    started_at timestamptz not null,
    ended_at timestamptz,
    violations bigint check (violations >= 0),
    detail text,
    made_by text not null,
    constraint audit_runs_complete check (violations is null or ended_at is not null)
);

comment on table audit_runs is 'One row per audit that is recorded. The first one says since when.';
comment on column audit_runs.due_at is 'The scheduled instant: of several reconcilers one inserts the row, and audits.';
comment on column audit_runs.violations is 'NULL until the audit is complete, and if it could not be done.';
comment on column audit_runs.detail is 'Why it could not be done, or the violations by kind.';

insert into audit_runs (due_at, started_at, ended_at, detail, made_by)
values (now(), now(), now(), 'audits are recorded from now on', 'migration');

create table backups (
    taken_at timestamptz primary key,
    place text not null,
    made_by text not null
);

comment on table backups is 'One row per backup that is recorded.';
comment on column backups.taken_at is 'The instant to which it restores: when it began.';

-- migrate: rollback

drop table backups, audit_runs;
