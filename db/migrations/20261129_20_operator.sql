-- What operators see and do: rounds of bank calls, who did what, where the books differ, activity by the minute
-- depends: 20261128_51_lists

-- migrate: apply

-- Everything is added beside what is there: processes of the version before go on while this is applied.

-- Rounds of bank calls, except those that the history ends with (`took_ms` there): most withdrawals have none here.
create table withdrawal_attempts (
    user_id text collate "C" not null,
    withdrawal_id uuid not null,
    number integer not null check (number between 1 and 500),
    ended_at timestamptz not null,
    took_ms integer not null check (took_ms >= 0),
    outcome text not null check (length(outcome) between 1 and 40),
    said text check (length(said) <= 300),
    primary key (withdrawal_id, user_id, number)
);

comment on table withdrawal_attempts is 'What the bank said in each round that did not simply pay; the first 500 of a withdrawal.';

alter table withdrawal_history add column took_ms integer check (took_ms >= 0);

comment on column withdrawal_history.took_ms is 'How long the round of bank calls took that led here, in milliseconds; null: no round did, or it is not known.';

create table operator_actions (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    made_by text not null,
    action text not null,
    withdrawal_id uuid,
    reason text,
    withdrawals integer not null default 1 check (withdrawals >= 0)
);

comment on table operator_actions is 'Who did what by the console or `/operator`; withdrawals says to how many.';

create index operator_actions_of on operator_actions (withdrawal_id, id) where withdrawal_id is not null;

-- A settlement by hand that waits for a second person; one for a withdrawal at most.
create table settlement_proposals (
    user_id text collate "C" not null,
    withdrawal_id uuid not null,
    outcome text not null check (outcome in ('paid', 'declined')),
    bank_reference text check (length(bank_reference) between 1 and 255),
    reason text not null check (length(reason) between 1 and 255),
    proposed_by text not null,
    proposed_at timestamptz not null default clock_timestamp(),
    primary key (withdrawal_id, user_id),
    constraint settlement_proposals_paid check ((outcome = 'paid') = (bank_reference is not null))
);

-- Differences between the bank's books and ours that no call settles; a person must find out which side is wrong.
create table discrepancies (
    kind text not null,
    reference text not null check (length(reference) <= 255),
    bank text not null,
    ours text,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    primary key (kind, reference)
);

create index discrepancies_by_age on discrepancies (last_seen_at);

-- What each process did, by the minute: kept for two hours, for the console's charts.
create table activity (
    minute timestamptz not null,
    instance text not null,
    what text not null,
    number bigint not null check (number >= 0),
    seconds double precision not null default 0 check (seconds >= 0),
    primary key (minute, instance, what)
) with (fillfactor = 50);

-- migrate: rollback

drop table activity, discrepancies, settlement_proposals, operator_actions, withdrawal_attempts;

alter table withdrawal_history drop column took_ms;
