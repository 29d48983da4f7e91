-- What the gateways tell each other about the usage of their clients
-- depends: 20261127_08_api_keys

-- migrate: apply

-- Unlogged: it is worth nothing after a crash, and nobody should wait for its commits.
create unlogged table rate_reports (
    gateway uuid primary key,
    reported_at timestamptz not null,
    usage text not null
);

comment on table rate_reports is 'One row per gateway, replaced every second (docs/adr/0024).';
comment on column rate_reports.usage is 'JSON: by limit and client, items used since the start, used and asked for per second.';

-- migrate: rollback

drop table rate_reports;
