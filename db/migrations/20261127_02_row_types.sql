-- What a batch writes, with the split after each row, who asked, and instants of its own for each wallet
-- depends: 20261127_01_references

-- migrate: apply

-- Beside those of 20261122, which gateways of the version before go on using.

create type movement_v2 as (
    id uuid,
    user_id text,
    currency text,
    kind text,
    debit_account text,
    credit_account text,
    amount bigint,
    available_after bigint,
    locked_after bigint,
    held_after bigint,
    reference uuid,
    release_at timestamptz,
    metadata json,
    created_at timestamptz,
    made_by text,
    space text,
    key text,
    fingerprint bytea
);

comment on type movement_v2 is 'A row of transfers, with the idempotency key it was asked for under, if any.';

create type balance_change_v2 as (
    user_id text,
    currency text,
    available bigint,
    locked bigint,
    held bigint,
    transactions bigint,
    last_at timestamptz
);

comment on type balance_change_v2 is 'What is to be added to a row of wallets, and the latest instant in its books then.';

create type expected_movement_v2 as (
    id_end text,
    wallet integer,
    user_id text,
    currency text,
    kind text,
    amount bigint,
    available_change bigint,
    locked_change bigint,
    held_change bigint,
    release_at timestamptz,
    destination json,
    metadata json,
    reference_end text,
    made_by text,
    space text,
    key text,
    fingerprint bytea
);

comment on type expected_movement_v2 is
'A charge or withdrawal of the `wallet`th change; the three changes are those of its wallet from the batch''s beginning.';

-- migrate: rollback

drop type movement_v2, balance_change_v2, expected_movement_v2;
