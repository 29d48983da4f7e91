-- Webhooks: who wants to be told of events, how far each was told, and what became of the calls
-- depends: 20261129_20_operator

-- migrate: apply

create table webhook_endpoints (
    id uuid primary key,
    url text not null,
    types text [],
    description text,
    status text not null default 'enabled' check (status in ('enabled', 'disabled')),
    disabled_reason text,
    secret text not null,
    old_secret text,
    old_secret_until timestamptz,
    user_prefix text,
    made_by text,
    delivered_seq bigint not null,
    failures integer not null default 0,
    failing_since timestamptz,
    next_attempt_at timestamptz,
    rung_until timestamptz,
    turn uuid,
    leased_until timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    constraint webhook_endpoints_old_secret check ((old_secret is null) = (old_secret_until is null))
) with (fillfactor = 50);

comment on table webhook_endpoints is 'Who is told of events by HTTP, each in order of the sequence (docs/adr/0029).';
comment on column webhook_endpoints.delivered_seq is
'Events up to this number are dealt with: delivered, parked, or not wanted.';
comment on column webhook_endpoints.user_prefix is
'Of the key that made it: only events whose users all have it are told, and only keys with the same one see it.';
comment on column webhook_endpoints.failures is 'Calls in a row that got no answer, or one that asks to come later.';
comment on column webhook_endpoints.rung_until is 'The actors were told of it, and need not be told again before then.';
comment on column webhook_endpoints.turn is 'Who is delivering now, until `leased_until`.';

create table webhook_deliveries (
    id uuid primary key,
    endpoint_id uuid not null references webhook_endpoints on delete cascade,
    seq bigint not null,
    event_id uuid not null,
    type text not null,
    attempt integer not null check (attempt > 0),
    status text not null check (status in ('delivered', 'refused', 'unreachable')),
    status_code integer,
    error text,
    response text,
    took_ms integer not null,
    at timestamptz not null
);

comment on table webhook_deliveries is 'The newest calls of each endpoint, with the answers.';

create index webhook_deliveries_newest on webhook_deliveries (endpoint_id, id desc);

create table webhook_parked (
    endpoint_id uuid not null references webhook_endpoints on delete cascade,
    seq bigint not null,
    attempts integer not null default 0,
    since timestamptz not null default clock_timestamp(),
    next_attempt_at timestamptz not null default clock_timestamp(),
    primary key (endpoint_id, seq)
);

comment on table webhook_parked is
'Events that are delivered by themselves: refused by an endpoint that is there, or asked for again (0 attempts).';

create index webhook_parked_due on webhook_parked (endpoint_id, next_attempt_at);

create table webhook_turns (
    endpoint_id uuid primary key references webhook_endpoints on delete cascade,
    at timestamptz not null default clock_timestamp()
);

comment on table webhook_turns is 'Outbox: endpoints with something to do, of which the relay tells the actors.';

-- migrate: rollback

drop table webhook_turns, webhook_parked, webhook_deliveries, webhook_endpoints;
