-- Rows as parameters: what the statement that writes a batch takes
-- depends: 20261122_01_ledger

-- migrate: apply

-- One array of rows costs asyncpg and PostgreSQL half of what one array a column does.

create type movement as (
    id uuid,
    user_id text,
    currency text,
    kind text,
    debit_account text,
    credit_account text,
    amount bigint,
    total_after bigint,
    reference uuid,
    release_at timestamptz,
    metadata json,
    client text,
    key text,
    fingerprint bytea
);

comment on type movement is 'A row of transfers, with the idempotency key it was asked for under, if any.';

create type balance_change as (
    user_id text,
    currency text,
    available bigint,
    locked bigint,
    held bigint,
    transactions bigint
);

comment on type balance_change is 'What is to be added to a row of wallets.';

-- migrate: rollback

drop type movement, balance_change;
