-- The outbox needs no index by age: identifiers of withdrawals are in the order of time
-- depends: 20261122_04_expected_batches

-- migrate: apply

drop index outbox_by_age;

-- migrate: rollback

create index outbox_by_age on outbox (created_at);
