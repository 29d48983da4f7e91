-- Which server payouts are made from, what the bank is to be asked about at once, money that comes back
-- depends: 20261127_01_references

-- migrate: apply

alter table stack
add column server_started_at timestamptz,
add column database_oid bigint,
add column table_oid bigint;

comment on column stack.server_started_at is
'The run of the server for which history is known to be whole: after each start it has to be shown anew.';

comment on column stack.database_oid is 'Of the database and, in table_oid, of this table: a restored dump has others.';

-- Whether the bank may be asked to pay: nobody has paused payouts, and this is the very run of the very server whose
-- history is known to be whole. While nothing is written down no payout was ever made, and none can be lost.
create function payouts_allowed() returns boolean language sql stable
return (
    select
        paused_at is null
        and (
            system_identifier is null
            or (
                server_started_at = pg_postmaster_start_time()
                and table_oid = tableoid::bigint
                and database_oid = (select oid::bigint from pg_database where datname = current_database())
            )
        )
    from stack
);

-- Withdrawals about which the bank is to be asked at once: it called back, or its books say what ours don't. One row
-- each at most, however often the bank calls.
create table look_ups (
    withdrawal_id uuid not null,
    user_id text collate "C" not null,
    due_at timestamptz not null,
    asked integer not null default 0 check (asked >= 0),
    primary key (withdrawal_id, user_id)
);

create index look_ups_due on look_ups (due_at);

comment on column look_ups.asked is 'How often the bank gave no answer.';

-- Money that comes back is taken, also by a wallet that is full: what clients may put in stays limited by the writers,
-- to 2^53 - 1; this is far above anything that can come back, and as far below an overflow.
alter table wallets drop constraint wallets_total_limit;

alter table wallets add constraint wallets_total_limit check (available + locked + held <= 1152921504606846976);

-- migrate: rollback

alter table wallets drop constraint wallets_total_limit;

alter table wallets add constraint wallets_total_limit check (available + locked + held <= 9007199254740991);

drop table look_ups;

drop function payouts_allowed;

alter table stack
drop column server_started_at,
drop column database_oid,
drop column table_oid;
