-- Who may call: API keys with scopes, kept as hashes
-- depends: 20261127_07_key_forms

-- migrate: apply

create table api_keys (
    id uuid primary key default gen_random_uuid(),
    name text not null check (length(name) between 1 and 64),
    prefix text not null unique check (prefix ~ '^wbs_[a-z0-9]{8}$'),
    secret_hash bytea not null unique check (octet_length(secret_hash) = 32),
    scopes text[] not null check (
        cardinality(scopes) > 0
        and scopes <@ array[
            'charge', 'withdraw', 'transfer', 'hold', 'reverse', 'cancel', 'read', 'events', 'operate'
        ]
    ),
    space text not null default 'default' check (length(space) between 1 and 64),
    user_prefix text check (
        user_prefix is null
        or (user_prefix ~ '[-_.:/|@#~]$' and length(user_prefix) <= 64 and space <> 'default')
    ),
    created_at timestamptz not null default now(),
    created_by text not null,
    expires_at timestamptz,
    revoked_at timestamptz,
    revoked_by text,
    last_used_at timestamptz
);

create unique index api_keys_name on api_keys (name) where revoked_at is null;

comment on table api_keys is 'Who may call. The secret is not kept, only its SHA-256 (docs/adr/0022).';
comment on column api_keys.prefix is 'How the secret begins, for people to recognize it by.';
comment on column api_keys.space is 'What idempotency keys are unique in.';
comment on column api_keys.user_prefix is 'The key sees and moves only wallets of users whose ids begin so; null: all.';
comment on column api_keys.last_used_at is 'Written now and then, not with each request.';

create table api_keys_revision (
    only_row boolean primary key default true check (only_row),
    number bigint not null
);

comment on table api_keys_revision is 'Counts changes of api_keys, so that gateways read them only after one.';

insert into api_keys_revision (number) values (0);

create function count_api_keys_revision() returns trigger language plpgsql as $$
begin
    update api_keys_revision set number = number + 1;
    return null;
end
$$;

create trigger api_keys_changed
after insert or delete or truncate or update of name, secret_hash, scopes, space, user_prefix, expires_at, revoked_at
on api_keys
for each statement execute function count_api_keys_revision();

-- migrate: rollback

drop table api_keys;
drop table api_keys_revision;
drop function count_api_keys_revision;
