-- The request that a withdrawal was made by, and its place in a distributed trace
-- depends: 20261129_01_events

-- migrate: apply

alter table withdrawals
add column request_id text check (length(request_id) <= 128),
add column traceparent text check (length(traceparent) = 55);

comment on column withdrawals.traceparent is 'W3C Trace Context: the span of the request.';

-- migrate: rollback

alter table withdrawals drop column request_id, drop column traceparent;
