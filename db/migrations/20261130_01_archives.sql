-- Archives: what is old and closed leaves the books for files, and the books still add up
-- depends: 20261129_40_webhooks

-- migrate: apply

-- Everything is added beside what is there: processes of the version before go on while this is applied.

create table archives (
    id bigint generated always as identity primary key,
    before timestamptz not null,
    boundary uuid not null,
    folder text not null,
    made_by text not null,
    started_at timestamptz not null default clock_timestamp(),
    ended_at timestamptz
);

comment on table archives is 'Runs of `wbs archive`. One that has not ended is gone on with by the next.';

comment on column archives.boundary is 'Movements with lesser identifiers may be in the files of this or an earlier archive.';

create unique index archives_boundary on archives (boundary);

create unique index archives_one_at_a_time on archives ((true)) where ended_at is null;

create table archive_files (
    archive_id bigint not null references archives,
    name text not null,
    rows bigint not null check (rows >= 0),
    bytes bigint not null check (bytes >= 0),
    sha256 text,
    primary key (archive_id, name)
);

comment on column archive_files.bytes is 'What counts of the file: a longer end is of a transaction that was not committed.';

create table archived_balances (
    user_id text collate "C" not null,
    currency text collate "C" not null,
    available numeric not null,
    locked numeric not null,
    held numeric not null,
    transactions bigint not null,
    movements bigint not null,
    keys bigint not null,
    primary key (user_id, currency)
) with (fillfactor = 50);

comment on table archived_balances is
'Per wallet the sums of its movements that were archived: with those that are still there they make its balances.';

comment on column archived_balances.keys is 'How many of them were asked for under an idempotency key. The keys stay.';

alter table withdrawals add column archived_at timestamptz;

comment on column withdrawals.archived_at is 'Its movements and its history but for the last entry are in an archive.';

drop trigger transfers_append_only on transfers;

create trigger transfers_append_only
before truncate on transfers
for each statement execute function refuse_change();

-- A movement leaves the books only while an archive is being made, and only if it is older than that. It is added up.
create function let_archived_go() returns trigger language plpgsql as $$
begin
    if exists (
        select from old_rows
        where id >= coalesce((select boundary from archives where ended_at is null), '00000000-0000-0000-0000-000000000000')
    ) then
        raise exception 'transfers is append-only: % refused', tg_op using errcode = 'restrict_violation';
    end if;

    insert into archived_balances as a (user_id, currency, available, locked, held, transactions, movements, keys)
    select
        user_id,
        currency,
        sum(case 'available' when credit_account then amount when debit_account then -amount else 0 end),
        sum(case 'locked' when credit_account then amount when debit_account then -amount else 0 end),
        sum(case 'held' when credit_account then amount when debit_account then -amount else 0 end),
        count(*) filter (where kind in ('charge', 'reserve')),
        count(*),
        count(*) filter (
            where kind in ('charge', 'reserve', 'hold', 'capture', 'reversal', 'adjustment')
            or (kind in ('send', 'receive') and reference = id)
        )
    from old_rows
    group by user_id, currency
    order by user_id, currency
    on conflict (user_id, currency) do update
    set
        available = a.available + excluded.available,
        locked = a.locked + excluded.locked,
        held = a.held + excluded.held,
        transactions = a.transactions + excluded.transactions,
        movements = a.movements + excluded.movements,
        keys = a.keys + excluded.keys;
    return null;
end
$$;

create trigger transfers_let_go
after delete on transfers
referencing old table as old_rows
for each statement execute function let_archived_go();

-- migrate: rollback

drop trigger transfers_let_go on transfers;

drop function let_archived_go;

drop trigger transfers_append_only on transfers;

create trigger transfers_append_only
before delete or truncate on transfers
for each statement execute function refuse_change();

alter table withdrawals drop column archived_at;

drop table archived_balances, archive_files, archives;
