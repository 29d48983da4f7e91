-- Adjustments by operators: those that wait for a second person, and a list of those that are booked
-- depends: 20261129_20_operator

-- migrate: apply

create table adjustment_proposals (
    id uuid not null,
    user_id text collate "C" not null,
    currency text collate "C" not null,
    amount bigint not null check (amount between -9007199254740991 and 9007199254740991 and amount <> 0),
    reason text not null check (length(reason) between 1 and 255),
    proposed_by text not null check (proposed_by <> ''),
    proposed_at timestamptz not null default clock_timestamp(),
    client text collate "C" not null,
    key text collate "C" not null,
    fingerprint bytea not null,
    primary key (id, user_id),
    constraint adjustment_proposals_key unique (client, key)
);

comment on table adjustment_proposals is 'Adjustments that wait, or waited, for a second person. Once booked, the movement has the key of its proposal.';

create index transfers_adjustments on transfers (id) where kind = 'adjustment';

-- migrate: rollback

drop index transfers_adjustments;

drop table adjustment_proposals;
