-- What a batch writes in one statement: its parameters, and how it says that it can't
-- depends: 20261122_03_attention_index

-- migrate: apply

create type expected_change as (
    user_id text,
    currency text,
    available bigint,
    locked bigint,
    held bigint,
    transactions bigint,
    needed bigint
);

comment on type expected_change is 'A balance_change that holds only if `needed` is available before.';

create type expected_movement as (
    id_end text,
    wallet integer,
    user_id text,
    currency text,
    kind text,
    amount bigint,
    total_change bigint,
    release_at timestamptz,
    destination json,
    metadata json,
    client text,
    key text,
    fingerprint bytea
);

comment on type expected_movement is
'A charge or withdrawal of the `wallet`th change; `total_change` is that of its wallet from the batch''s beginning.';

create function refuse_batch() returns boolean language plpgsql as $$
begin
    raise exception 'not all of the batch can be accepted';
end
$$;

comment on function refuse_batch is 'Undoes the statement that calls it: nothing of a batch may stay.';

create function uuid7_start(at timestamptz) returns text language sql stable
return
    lpad(to_hex((extract(epoch from at) * 1000000)::bigint / 1000), 12, '0')
    || '7'
    || lpad(to_hex((extract(epoch from at) * 1000000)::bigint % 1000 * 4096 / 1000), 3, '0');

comment on function uuid7_start is 'The first 16 hexadecimal digits of an identifier; see wallet/ids.py.';

-- migrate: rollback

drop function uuid7_start;

drop function refuse_batch;

drop type expected_movement, expected_change;
