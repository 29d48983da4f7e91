-- A table that is always empty: what health writes, to find out whether writes go through
-- depends: 20261127_01_references

-- migrate: apply

create table write_trials (
    id uuid primary key default gen_random_uuid(),
    status text not null
);

comment on table write_trials is 'Rows are made, moved and removed within one transaction (docs/adr/0015).';

-- The same function as for withdrawals: where it fails, they can't move either.
create trigger write_trials_legal_move
before update of status on write_trials
for each row when (old.status is distinct from new.status)
execute function check_withdrawal_move();

-- migrate: rollback

drop table write_trials;
