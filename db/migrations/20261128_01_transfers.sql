-- Money moves between wallets: transfers with legs, holds with capture, void and expiry, reversals
-- depends: 20261127_08_api_keys

-- migrate: apply

-- Everything is added beside what is there: gateways and actors of the version before go on while this is applied.

alter table transfers
add column peer_user_id text collate "C",
add column effective_at timestamptz;

comment on column transfers.peer_user_id is 'Rows against `peer`: the user on the other side; null: several.';

comment on column transfers.effective_at is
'Releases, and holds that have expired: the instant from which it counts, which is earlier than the row.';

alter table transfers drop constraint transfers_accounts;

alter table transfers add constraint transfers_accounts check (
    (kind, debit_account, credit_account) in (
        ('charge', 'funding', 'available'),
        ('charge', 'funding', 'locked'),
        ('release', 'locked', 'available'),
        ('reserve', 'available', 'held'),
        ('payout', 'held', 'bank'),
        ('refund', 'held', 'available'),
        ('return', 'bank', 'available'),
        ('adjustment', 'funding', 'available'),
        ('adjustment', 'available', 'funding'),
        ('reversal', 'available', 'funding'),
        ('reversal', 'locked', 'funding'),
        ('send', 'available', 'peer'),
        ('send', 'locked', 'peer'),
        ('receive', 'peer', 'available'),
        ('receive', 'peer', 'locked'),
        ('hold', 'available', 'held'),
        ('void', 'held', 'available'),
        ('capture', 'held', 'peer')
    )
);

alter table transfers add constraint transfers_effective_at check (effective_at is null or kind in ('release', 'void'));

drop trigger transfers_unchanging on transfers;

create trigger transfers_unchanging
before update on transfers
for each row
when (
    old.available_after is not null
    or new.available_after is null
    or (
        new.id, new.user_id, new.currency, new.kind, new.debit_account, new.credit_account, new.amount,
        new.total_after, new.reference, new.release_at, new.metadata::text, new.created_at, new.made_by,
        new.peer_user_id, new.effective_at
    ) is distinct from (
        old.id, old.user_id, old.currency, old.kind, old.debit_account, old.credit_account, old.amount,
        old.total_after, old.reference, old.release_at, old.metadata::text, old.created_at, old.made_by,
        old.peer_user_id, old.effective_at
    )
)
execute function refuse_change();

-- A charge or a transfer by its identifier alone. Identifiers ascend, so an insert goes to the index's last page.
create index transfers_by_id on transfers (id) where kind in ('charge', 'send', 'capture');

-- A hold's rest goes back once: when it is voided, expires, or is captured in part.
create unique index transfers_void_once on transfers (user_id, reference) where kind = 'void';

-- What counted before it was written, in the order in which it counts.
create index transfers_by_effect on transfers (user_id, currency, effective_at, reference)
where effective_at is not null;

-- What matures: money in `locked`, and holds that expire.
alter table locks
add column account text not null default 'locked' check (account in ('locked', 'held'));

comment on column locks.account is 'Where the money is: `locked` for charges and receives, `held` for holds that expire.';

create table holds (
    id uuid not null,
    user_id text collate "C" not null,
    currency text collate "C" not null,
    amount bigint not null check (amount > 0),
    captured bigint not null default 0 check (captured between 0 and amount),
    status text not null default 'open' check (status in ('open', 'captured', 'voided', 'expired')),
    expires_at timestamptz,
    transfer_id uuid,
    metadata json,
    made_by text,
    created_at timestamptz not null,
    ended_at timestamptz,
    primary key (id, user_id),
    constraint holds_captured check (
        (status = 'captured') = (transfer_id is not null) and (status = 'captured') = (captured > 0)
    ),
    constraint holds_ended check ((status = 'open') = (ended_at is null))
) with (fillfactor = 80);

comment on table holds is 'Money set aside for a later transfer. A hold has the identifier of its row in transfers.';

comment on column holds.transfer_id is 'The transfer that its capture made.';

create index holds_of_wallet on holds (user_id, currency, id);

create unique index holds_transfer on holds (transfer_id, user_id) where transfer_id is not null;

create function check_hold_move() returns trigger language plpgsql as $$
begin
    if old.status <> 'open' then
        raise exception 'hold % is % already', old.id, old.status
            using errcode = 'check_violation', constraint = 'holds_legal_move';
    end if;
    return new;
end
$$;

create trigger holds_legal_move
before update on holds
for each row execute function check_hold_move();

create table transfer_legs (
    transfer_id uuid not null,
    from_user_id text collate "C" not null,
    leg integer not null check (leg > 0),
    to_user_id text collate "C" not null,
    currency text collate "C" not null,
    amount bigint not null check (amount > 0),
    reversed bigint not null default 0,
    release_at timestamptz,
    receive_id uuid not null,
    primary key (transfer_id, from_user_id, leg),
    constraint transfer_legs_reversed check (reversed between 0 and amount)
) with (fillfactor = 90);

comment on table transfer_legs is 'Who gets what of a transfer; receive_id is the row in the payee''s books.';

create table charge_reversals (
    charge_id uuid not null,
    user_id text collate "C" not null,
    amount bigint not null,
    reversed bigint not null,
    primary key (charge_id, user_id),
    constraint charge_reversals_reversed check (reversed > 0 and reversed <= amount)
);

comment on table charge_reversals is 'How much of a charge was undone so far; no row: nothing.';

create table reversals (
    id uuid not null,
    user_id text collate "C" not null,
    currency text collate "C" not null,
    reverses uuid not null,
    amount bigint not null check (amount > 0),
    reason text,
    primary key (id, user_id)
);

comment on table reversals is 'What undid a charge, or a transfer: it has the identifier of its row in transfers.';

create index reversals_of on reversals (reverses);

create table reversal_legs (
    reversal_id uuid not null,
    user_id text collate "C" not null,
    leg integer not null,
    amount bigint not null check (amount > 0),
    send_id uuid not null,
    primary key (reversal_id, user_id, leg)
);

comment on table reversal_legs is
'What a reversal of a transfer took from whom: the leg of that transfer, and the row in its payee''s books.';

create type movement_v3 as (
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
    peer_user_id text,
    effective_at timestamptz,
    space text,
    key text,
    fingerprint bytea
);

comment on type movement_v3 is 'A row of transfers, with the idempotency key it was asked for under, if any.';

create type optimistic_change as (
    user_id text,
    currency text,
    available bigint,
    locked bigint,
    held bigint,
    transactions bigint,
    needed bigint,
    total_peak bigint
);

comment on type optimistic_change is
'What is added to a wallet, if `needed` is available before, and its total may grow by `total_peak` on the way.';

create type optimistic_movement as (
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
    of_wallet integer,
    of_end text,
    leg integer,
    peer_user_id text,
    space text,
    key text,
    fingerprint bytea
);

comment on type optimistic_movement is
'A row of transfers of the `wallet`th change. Its reference is itself, or what `of_wallet` and `of_end` name.';

create function abort_statement() returns boolean language plpgsql as $$
begin
    raise exception 'not all of the batch can be accepted';
end
$$;

comment on function abort_statement is 'Undoes the statement that calls it: nothing of a batch may stay.';

create function uuid7_instant(id uuid) returns timestamptz language sql immutable parallel safe
return
    timestamptz 'epoch'
    + (
        ('x' || left(translate(id::text, '-', ''), 12))::bit(48)::bigint * 1000
        + (('x' || right(left(translate(id::text, '-', ''), 16), 3))::bit(12)::integer * 1000 + 4095) / 4096
    ) * interval '1 microsecond';

comment on function uuid7_instant is 'The instant that an identifier begins with: the inverse of uuid7_start.';

-- migrate: rollback

drop function uuid7_instant;

drop function abort_statement;

drop type optimistic_movement, optimistic_change, movement_v3;

drop table reversal_legs, reversals, charge_reversals, transfer_legs, holds;

drop function check_hold_move;

alter table locks drop column account;

drop index transfers_by_effect, transfers_void_once, transfers_by_id;

alter table transfers drop constraint transfers_effective_at;

drop trigger transfers_unchanging on transfers;

create trigger transfers_unchanging
before update on transfers
for each row
when (
    old.available_after is not null
    or new.available_after is null
    or (
        new.id, new.user_id, new.currency, new.kind, new.debit_account, new.credit_account, new.amount,
        new.total_after, new.reference, new.release_at, new.metadata::text, new.created_at, new.made_by
    ) is distinct from (
        old.id, old.user_id, old.currency, old.kind, old.debit_account, old.credit_account, old.amount,
        old.total_after, old.reference, old.release_at, old.metadata::text, old.created_at, old.made_by
    )
)
execute function refuse_change();

alter table transfers drop constraint transfers_accounts;

alter table transfers add constraint transfers_accounts check (
    (kind, debit_account, credit_account) in (
        ('charge', 'funding', 'available'),
        ('charge', 'funding', 'locked'),
        ('release', 'locked', 'available'),
        ('reserve', 'available', 'held'),
        ('payout', 'held', 'bank'),
        ('refund', 'held', 'available'),
        ('return', 'bank', 'available'),
        ('adjustment', 'funding', 'available'),
        ('adjustment', 'available', 'funding')
    )
);

alter table transfers drop column peer_user_id, drop column effective_at;
