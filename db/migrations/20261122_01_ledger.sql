-- The books: wallets, transfers, locks, withdrawals with history, idempotency keys, outbox
-- depends:

-- migrate: apply

-- Every key holds user_id (idempotency keys apart: they are distributed by key), so that each table can be
-- distributed by user_id later (docs/ARCHITECTURE.md). Keys compare bytewise (collate "C"): that is how every process sorts
-- what it locks, and the cheapest order an index can have.

create table wallets (
    user_id text collate "C" not null check (length(user_id) between 1 and 128),
    currency text collate "C" not null check (currency ~ '^[A-Z]{3}$'),
    available bigint not null default 0 check (available >= 0),
    locked bigint not null default 0 check (locked >= 0),
    held bigint not null default 0 check (held >= 0),
    transactions bigint not null default 0 check (transactions >= 0),
    primary key (user_id, currency),
    constraint wallets_total_limit check (available + locked + held <= 9007199254740991)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

comment on table wallets is 'Running sums of the transfers, one row a wallet; amounts in minor units.';

comment on column wallets.transactions is 'Charges and withdrawals so far: the total of the list, kept and not counted.';

-- Only the primary key: it serves the list of a wallet, newest first, and inserts pay for one index.
create table transfers (
    id uuid not null,
    user_id text collate "C" not null,
    currency text collate "C" not null,
    kind text not null,
    debit_account text not null,
    credit_account text not null,
    amount bigint not null check (amount > 0),
    total_after bigint not null check (total_after >= 0),
    reference uuid not null,
    release_at timestamptz,
    metadata json,
    created_at timestamptz not null,
    primary key (user_id, currency, id),
    constraint transfers_accounts check (
        (kind, debit_account, credit_account) in (
            ('charge', 'funding', 'available'),
            ('charge', 'funding', 'locked'),
            ('release', 'locked', 'available'),
            ('reserve', 'available', 'held'),
            ('payout', 'held', 'bank'),
            ('refund', 'held', 'available'),
            ('return', 'bank', 'available')
        )
    ),
    constraint transfers_release_at check ((credit_account = 'locked') = (release_at is not null))
);

comment on table transfers is 'The books, append-only: each row debits one account and credits another.';

-- A withdrawal's held money goes out once, paid or given back; a charge is released once. (A reserve has the
-- identifier of its withdrawal, so the primary key sees to it.)
create unique index transfers_end_once on transfers (user_id, reference) where kind in ('payout', 'refund', 'release');

create unique index transfers_return_once on transfers (user_id, reference) where kind = 'return';

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'transfers is append-only: % refused', tg_op using errcode = 'restrict_violation';
end
$$;

create trigger transfers_append_only
before update or delete or truncate on transfers
for each statement execute function refuse_change();

-- Charges whose money is still in locked; a row goes when its release is written.
create table locks (
    user_id text collate "C" not null,
    currency text collate "C" not null,
    release_at timestamptz not null,
    charge_id uuid not null,
    amount bigint not null check (amount > 0),
    primary key (user_id, currency, release_at, charge_id)
);

create index locks_by_release_at on locks (release_at);

create table withdrawals (
    id uuid not null,
    user_id text collate "C" not null,
    currency text collate "C" not null,
    amount bigint not null check (amount > 0),
    status text not null default 'pending' check (
        status in ('pending', 'processing', 'completed', 'failed', 'cancelled', 'requires_attention', 'returned')
    ),
    destination json,
    metadata json,
    attempts integer not null default 0 check (attempts >= 0),
    rounds integer not null default 0 check (rounds >= 0),
    next_attempt_at timestamptz not null,
    ring_at timestamptz not null,
    history_length integer not null default 1 check (history_length > 0),
    failure_code text,
    failure_reason text,
    bank_reference text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (id, user_id),
    constraint withdrawals_completed check (
        (status in ('completed', 'returned')) = (bank_reference is not null)
    )
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

comment on column withdrawals.attempts is 'Rounds of bank calls begun, ever; each has its number.';

comment on column withdrawals.rounds is 'Rungs of the retry ladder used up since the last replay.';

comment on column withdrawals.next_attempt_at is 'No round may begin before; while one runs, the end of its lease.';

comment on column withdrawals.ring_at is 'When the reconciler rings the doorbell (writes an outbox row) again.';

create index withdrawals_open on withdrawals (status, ring_at)
where status in ('pending', 'processing', 'requires_attention');

create function check_withdrawal_move() returns trigger language plpgsql as $$
begin
    if (old.status, new.status) not in (
        ('pending', 'cancelled'),
        ('pending', 'processing'),
        ('processing', 'completed'),
        ('processing', 'failed'),
        ('processing', 'requires_attention'),
        ('requires_attention', 'processing'),
        ('requires_attention', 'completed'),
        ('requires_attention', 'failed'),
        ('completed', 'returned')
    ) then
        raise exception 'withdrawal % can not go from % to %', old.id, old.status, new.status
            using errcode = 'check_violation', constraint = 'withdrawals_legal_move';
    end if;
    return new;
end
$$;

create trigger withdrawals_legal_move
before update of status on withdrawals
for each row when (old.status is distinct from new.status)
execute function check_withdrawal_move();

create table withdrawal_history (
    user_id text collate "C" not null,
    withdrawal_id uuid not null,
    seq integer not null check (seq > 0),
    status text not null,
    at timestamptz not null,
    reason text not null,
    primary key (withdrawal_id, user_id, seq)
);

create table idempotency_keys (
    client text collate "C" not null,
    key text collate "C" not null check (length(key) between 1 and 255),
    fingerprint bytea not null,
    user_id text collate "C" not null,
    currency text collate "C" not null,
    movement_id uuid not null,
    primary key (client, key)
);

comment on table idempotency_keys is 'movement_id: the charge''s transfer, or the withdrawal (and its reserve).';

-- The doorbell: withdrawals that an actor should be told of. The truth stays in withdrawals.
create table outbox (
    user_id text collate "C" not null,
    withdrawal_id uuid not null,
    created_at timestamptz not null,
    primary key (withdrawal_id, user_id)
);

create index outbox_by_age on outbox (created_at);

-- What each background process last said of itself and of what it talks to; /health reads it.
create table heartbeats (
    kind text not null,
    instance text not null,
    at timestamptz not null,
    detail json not null,
    primary key (kind, instance)
);

-- How far the reconciler has read the bank's books.
create table bank_cursor (
    only_row boolean primary key default true check (only_row),
    after text
);

insert into bank_cursor default values;

-- migrate: rollback

drop table bank_cursor, heartbeats, outbox, idempotency_keys, withdrawal_history, withdrawals, locks, transfers, wallets;

drop function check_withdrawal_move;

drop function refuse_change;
