-- name: lock
-- One adoption at a time: if two have one reference, the second sees the first, whichever wallet it names.
select pg_advisory_xact_lock(7823732);

-- name: known
select id, user_id, status from withdrawals where coalesce(reference, id) = $1;

-- name: write
-- $9 holds the rows of its history, in order, all at one instant.
with new_withdrawal as (
    insert into withdrawals (
        id, user_id, currency, amount, status, reference, bank_reference, made_by, history_length, created_at,
        updated_at, next_attempt_at, ring_at
    )
    values ($1, $2, $3, $4, 'completed', $5, $6, $7, cardinality($9::text[]), $8, $8, $8, $8)
    returning id
)

insert into withdrawal_history (withdrawal_id, user_id, seq, status, at, reason, made_by)
select w.id, $2, number, status, $8, reason, $7
from new_withdrawal as w
cross join unnest($9::text[], $10::text[]) with ordinality as step (status, reason, number);
