-- Adjustments: those that are booked are rows of the ledger, those that wait for a second person are proposals.

-- name: propose
-- A key that has made a movement stands for that, and for no proposal.
insert into adjustment_proposals (id, user_id, currency, amount, reason, proposed_by, client, key, fingerprint)
select $1, $2, $3, $4, $5, $6, $7, $8, $9
where not exists (select from idempotency_keys where digest = key_digest($7, $8))
on conflict (client, key) do nothing
returning id;

-- name: key_has_moved
select exists(select from idempotency_keys where digest = key_digest($1, $2)) as has_moved;

-- name: proposal_by_key
select
    p.id,
    p.user_id,
    p.currency,
    p.amount,
    p.reason,
    p.proposed_by,
    p.proposed_at,
    p.client,
    p.key,
    p.fingerprint,
    k.movement_id,
    clock_timestamp() as now
from adjustment_proposals as p
left join idempotency_keys as k on k.digest = key_digest(p.client, p.key) and k.fingerprint = p.fingerprint
where p.client = $1 and p.key = $2;

-- name: proposal
select
    p.id,
    p.user_id,
    p.currency,
    p.amount,
    p.reason,
    p.proposed_by,
    p.proposed_at,
    p.client,
    p.key,
    p.fingerprint,
    k.movement_id,
    clock_timestamp() as now
from adjustment_proposals as p
left join idempotency_keys as k on k.digest = key_digest(p.client, p.key) and k.fingerprint = p.fingerprint
where p.id = $1;

-- name: proposals
-- A page of those that are not booked, newest first, before the identifier $1.
select
    p.id,
    p.user_id,
    p.currency,
    p.amount,
    p.reason,
    p.proposed_by,
    p.proposed_at,
    p.client,
    p.key,
    p.fingerprint,
    k.movement_id,
    clock_timestamp() as now
from adjustment_proposals as p
left join idempotency_keys as k on k.digest = key_digest(p.client, p.key) and k.fingerprint = p.fingerprint
where p.id < $1 and p.proposed_at > $3 and k.movement_id is null
order by p.id desc
limit $2;

-- name: booked
select id, user_id, currency, amount, debit_account, metadata, made_by, created_at
from transfers
where id = $1 and kind = 'adjustment';

-- name: all_booked
-- A page, newest first, before the identifier $1.
select id, user_id, currency, amount, debit_account, metadata, made_by, created_at
from transfers
where kind = 'adjustment' and id < $1
order by id desc
limit $2;
