-- The sequence of events: every movement, and every move of a withdrawal or hold, in one order without gaps
-- depends: 20261128_51_lists

-- migrate: apply

-- What a statement has written, one row per statement: the courier numbers it later, outside of the money's transaction.
-- The identifier is drawn by a trigger at the end of the statement, after its last lock: of two batches that
-- change one wallet or one withdrawal, the later one has the greater identifier, and whoever sees it sees the other too.
create table event_batches (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    types text [] not null,
    ids uuid [] not null,
    user_ids text [] not null,
    currencies text [] not null,
    numbers integer [],
    users text [],
    is_final boolean not null
) with (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0
);

comment on table event_batches is 'Events that have no number yet. One row for all that a statement has written.';

comment on column event_batches.numbers is 'Moves of withdrawals: their place in the history.';

comment on column event_batches.users is 'Everybody whose wallet a transfer in it has changed; null: there is none.';

comment on column event_batches.is_final is
'Whether `types` are final. Otherwise the courier has to look something up: what a release or a void is about.';

-- Whoever writes transfers notes events, from the first moment on: gateways go on while this is applied.
do $$
declare
    writer text;
begin
    for writer in
        select distinct a.grantee::regrole::text
        from pg_class as c
        cross join lateral aclexplode(c.relacl) as a
        where c.oid = 'transfers'::regclass and a.privilege_type = 'INSERT' and a.grantee <> 0
    loop
        execute format('grant insert on event_batches to %s', writer);
    end loop;
end
$$;

create table event_sequence (
    only_row boolean primary key default true check (only_row),
    epoch uuid not null default gen_random_uuid(),
    first_seq bigint not null default 1 check (first_seq > 0),
    last_seq bigint not null default 0,
    began_at timestamptz not null default clock_timestamp(),
    reason text not null default 'the first',
    kinds_since jsonb not null default '{}',
    system_identifier bigint,
    timeline integer,
    database_oid bigint,
    table_oid bigint,
    constraint event_sequence_order check (last_seq >= first_seq - 1)
) with (fillfactor = 20);

comment on table event_sequence is
'How far events are numbered, in the present epoch. A database that may have lost history begins another one.';

comment on column event_sequence.kinds_since is
'The kinds of events that are made (WBS_EVENTS), with the instant from which on each is complete.';

insert into event_sequence default values;

create table events (
    first_seq bigint primary key,
    epoch uuid not null,
    batch_id bigint not null,
    count integer not null check (count > 0),
    at timestamptz not null,
    numbered_at timestamptz not null default clock_timestamp(),
    types text [] not null,
    ids uuid [] not null,
    user_ids text [] not null,
    currencies text [] not null,
    numbers integer [],
    users text [],
    constraint events_batch_once unique (epoch, batch_id),
    constraint events_count check (
        count = cardinality(types)
        and count = cardinality(ids)
        and count = cardinality(user_ids)
        and count = cardinality(currencies)
        and count = coalesce(cardinality(numbers), count)
    )
);

comment on table events is 'Numbered events, one row per batch: `count` of them, from `first_seq` on.';

create function refuse_change_of_events() returns trigger language plpgsql as $$
begin
    raise exception 'events are append-only: % refused', tg_op using errcode = 'restrict_violation';
end
$$;

create trigger events_append_only
before update or truncate on events
for each statement execute function refuse_change_of_events();

-- Which of the rows are events, and of which type. A row `receive` that refers to another is a payee's side, and one
-- `send` that refers to another takes a payee's share back: the other side of these is the event.
create function note_transfers() returns trigger language plpgsql as $$
declare
    written bigint;
    expected boolean;
begin
    with rows_of_events as (
        select
            case kind
                when 'charge' then 'charge.completed'
                when 'reserve' then 'withdrawal.pending'
                when 'send' then case when id = reference then 'transfer.completed' end
                when 'receive' then case when id = reference then 'transfer.reversed' end
                when 'hold' then 'hold.opened'
                when 'capture' then 'hold.captured'
                when 'reversal' then 'charge.reversed'
                when 'void' then case when effective_at is null then 'void' else 'hold.expired' end
                when 'release' then 'release'
                when 'adjustment' then 'adjustment.completed'
            end as type,
            id,
            user_id,
            currency,
            kind
        from new_rows
        order by id
    )

    insert into event_batches (types, ids, user_ids, currencies, users, is_final)
    select
        array_agg(type) filter (where type is not null),
        array_agg(id) filter (where type is not null),
        array_agg(user_id) filter (where type is not null),
        array_agg(currency) filter (where type is not null),
        array_agg(distinct user_id) filter (where kind in ('send', 'receive', 'capture')),
        not bool_or(kind in ('release', 'void', 'capture'))
    from rows_of_events
    having count(type) > 0;

    get diagnostics written = row_count;
    -- A trigger on event_batches can swallow the row: then nothing of the batch may stay.
    if written = 0 then
        select bool_or(kind not in ('payout', 'refund', 'return') and (kind not in ('send', 'receive') or id = reference))
        into expected
        from new_rows;
        if expected then
            raise exception 'the events of a batch were not noted';
        end if;
    end if;
    return null;
end
$$;

create trigger transfers_noted
after insert on transfers
referencing new table as new_rows
for each statement execute function note_transfers();

-- A withdrawal's first state is its `reserve` row.
create function note_moves() returns trigger language plpgsql as $$
declare
    written bigint;
    expected boolean;
begin
    insert into event_batches (types, ids, user_ids, currencies, numbers, is_final)
    select
        array_agg('withdrawal.' || status),
        array_agg(withdrawal_id),
        array_agg(user_id),
        array_agg(''::text),
        array_agg(seq),
        false
    from new_rows
    where status <> 'pending'
    having count(*) > 0;

    get diagnostics written = row_count;
    if written = 0 then
        select bool_or(status <> 'pending') into expected from new_rows;
        if expected then
            raise exception 'the events of a batch were not noted';
        end if;
    end if;
    return null;
end
$$;

create trigger withdrawal_history_noted
after insert on withdrawal_history
referencing new table as new_rows
for each statement execute function note_moves();

-- migrate: rollback

drop trigger withdrawal_history_noted on withdrawal_history;

drop function note_moves;

drop trigger transfers_noted on transfers;

drop function note_transfers;

drop table events, event_sequence, event_batches;

drop function refuse_change_of_events;
