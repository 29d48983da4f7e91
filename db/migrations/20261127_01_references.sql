-- What restores, several clients, auditors and clocks that step back need: references, digests, splits, who, leases
-- depends: 20261122_05_outbox_order

-- migrate: apply

-- Everything is added beside what is there: gateways and actors of the version before go on while this is applied.

-- One row: this stack. Its prefix begins every reference that it gives to the bank, so it travels with each dump.
create table stack (
    only_row boolean primary key default true check (only_row),
    bank_prefix text not null check (bank_prefix ~ '^[0-9a-f]{8}$'),
    system_identifier bigint,
    timeline integer,
    history_lost_at timestamptz,
    paused_at timestamptz,
    paused_by text,
    paused_reason text,
    constraint stack_paused check ((paused_at is null) = (paused_by is null) and (paused_at is null) = (paused_reason is null))
);

comment on column stack.system_identifier is 'Of the database that payouts were last made from; null: none were yet.';

comment on column stack.timeline is 'The same: another one means that a server was promoted or restored since.';

comment on column stack.history_lost_at is 'What is open from before may be known to the bank: it is looked up first.';

comment on column stack.paused_at is 'Since when the bank is not asked to pay; null: it is.';

insert into stack (bank_prefix) values (left(gen_random_uuid()::text, 8));

-- Who leads: a lease that its holder renews. A challenger that sees no renewal for a while, by its own monotonic
-- clock, takes it.
create table leases (
    name text primary key,
    holder text not null,
    renewals bigint not null default 0
);

alter table wallets add column last_at timestamptz not null default '-infinity';

comment on column wallets.last_at is 'Latest instant in its books: no later row carries an earlier one, whatever the clock does.';

alter table transfers
add column available_after bigint,
add column locked_after bigint,
add column held_after bigint,
add column made_by text,
add constraint transfers_split check (available_after + locked_after + held_after = total_after);

comment on column transfers.available_after is 'Of the wallet, once this row took effect; so locked_after and held_after.';

comment on column transfers.made_by is 'Name of the API key or operator; null where nobody was named.';

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

-- Empty, but for what gateways of the version before write while they still run; `fill_splits` works it off.
create index transfers_without_split on transfers (user_id, currency, id) where available_after is null;

-- A row may get the split it lacks. Nothing else about it ever changes.
drop trigger transfers_append_only on transfers;

create trigger transfers_append_only
before delete or truncate on transfers
for each statement execute function refuse_change();

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

-- Gives rows the split that they lack, from the sums over their wallet, and wallets the instant of their latest row. Where
-- the sums do not come to the row's total_after, the row stays as it is, for the audit to name. `wbs migrate` calls it
-- each time, for what gateways of the version before have written since.
create function fill_splits() returns bigint language sql
begin atomic
with lacking as (
    select w.user_id, w.currency
    from (select distinct user_id, currency from transfers where available_after is null) as l
    join wallets as w using (user_id, currency)
    order by w.user_id, w.currency
    for no key update of w
),

splits as (
    select
        t.user_id,
        t.currency,
        t.id,
        t.created_at,
        sum(
            case 'available' when t.credit_account then t.amount when t.debit_account then -t.amount else 0 end
        ) over so_far as available,
        sum(
            case 'locked' when t.credit_account then t.amount when t.debit_account then -t.amount else 0 end
        ) over so_far as locked,
        sum(case 'held' when t.credit_account then t.amount when t.debit_account then -t.amount else 0 end) over so_far
            as held
    from lacking
    join transfers as t using (user_id, currency)
    window so_far as (partition by t.user_id, t.currency order by t.id)
),

filled as (
    update transfers as t
    set available_after = s.available, locked_after = s.locked, held_after = s.held
    from splits as s
    where
        t.user_id = s.user_id
        and t.currency = s.currency
        and t.id = s.id
        and t.available_after is null
        and s.available + s.locked + s.held = t.total_after
    returning 1
),

dated as (
    update wallets as w
    set last_at = s.at
    from (select user_id, currency, max(created_at) as at from splits group by user_id, currency) as s
    where w.user_id = s.user_id and w.currency = s.currency and w.last_at < s.at
)

select count(*) from filled;
end;

select fill_splits();

alter table withdrawals
add column reference uuid,
add column made_by text,
add column first_attempt_at timestamptz,
add column accepted_at timestamptz,
add column looked_up_at timestamptz;

comment on column withdrawals.reference is
'What the bank knows it by: 32 hexadecimal digits. Null, in rows from before: its id, with hyphens.';

comment on column withdrawals.made_by is 'Name of the API key; null where nobody was named.';

comment on column withdrawals.first_attempt_at is
'When the bank was first called. Its idempotency key can be relied upon for some time after that, not for ever.';

comment on column withdrawals.accepted_at is 'When the bank said that it has it and will say later; it is never sent again then.';

comment on column withdrawals.looked_up_at is 'When the bank was last asked about it without being asked to pay.';

create unique index withdrawals_reference on withdrawals ((coalesce(reference, id)), user_id);

update withdrawals as w
set first_attempt_at = h.at
from withdrawal_history as h
where h.withdrawal_id = w.id and h.user_id = w.user_id and h.seq = 2 and h.status = 'processing';

alter table withdrawal_history add column made_by text;

comment on column withdrawal_history.made_by is
'`client`, `actor`, `reconciler`, `bank` or `operator`, then `:` and a name where there is one; null from before.';

-- A digest instead of the texts: an entry of the index is a third as long. It tells keys apart and guards nothing
-- secret, so MD5, which the server computes itself, will do; rows of older gateways get theirs too.
create function key_digest(space text, key text) returns uuid language sql immutable parallel safe
return md5(space || e'\x1f' || key)::uuid;

alter table idempotency_keys
add column digest uuid not null generated always as (md5(client || e'\x1f' || key)::uuid) stored;

alter table idempotency_keys drop constraint idempotency_keys_pkey;

alter table idempotency_keys add constraint idempotency_keys_pkey primary key (digest);

comment on column idempotency_keys.client is 'The space that the key is unique in; the name of the client once.';

-- migrate: rollback

alter table idempotency_keys drop constraint idempotency_keys_pkey;

alter table idempotency_keys drop column digest;

drop function key_digest;

alter table idempotency_keys add constraint idempotency_keys_pkey primary key (client, key);

alter table withdrawal_history drop column made_by;

drop index withdrawals_reference;

alter table withdrawals
drop column reference,
drop column made_by,
drop column first_attempt_at,
drop column accepted_at,
drop column looked_up_at;

drop function fill_splits;

drop trigger transfers_unchanging on transfers;

drop trigger transfers_append_only on transfers;

create trigger transfers_append_only
before update or delete or truncate on transfers
for each statement execute function refuse_change();

drop index transfers_without_split;

alter table transfers drop constraint transfers_accounts;

alter table transfers add constraint transfers_accounts check (
    (kind, debit_account, credit_account) in (
        ('charge', 'funding', 'available'),
        ('charge', 'funding', 'locked'),
        ('release', 'locked', 'available'),
        ('reserve', 'available', 'held'),
        ('payout', 'held', 'bank'),
        ('refund', 'held', 'available'),
        ('return', 'bank', 'available')
    )
);

alter table transfers
drop constraint transfers_split,
drop column available_after,
drop column locked_after,
drop column held_after,
drop column made_by;

alter table wallets drop column last_at;

drop table leases, stack;
