-- name: lock_wallets
-- Locks the wallets ($1, $2) in key order and reads the clock after the last lock: `now` is for decisions, `at` is for
-- the wallet's rows and is later than all its earlier ones. The first row also returns those of the keys ($3, $4) that
-- are used already, and those of the bank references (users $5, ends $6, prefix $7 or this stack's) that withdrawals
-- have; with each wallet's row, their number would grow with the square of the batch. At least one row is returned, so
-- that the clock is always there.
with locked_wallets as materialized (
    select w.user_id, w.currency, w.available, w.locked, w.held, w.last_at
    from unnest($1::text[], $2::text[]) as asked (user_id, currency)
    join wallets as w using (user_id, currency)
    order by w.user_id, w.currency
    for no key update of w
),

lock_taken as (
    select clock_timestamp() as now from (select count(*) from locked_wallets) as all_of_them
)

select
    w.user_id,
    w.currency,
    w.available,
    w.locked,
    w.held,
    t.now,
    greatest(t.now, w.last_at + interval '1 microsecond') as at,
    case when row_number() over () = 1 then (
        select array_agg(k.client || e'\x1f' || k.key)
        from unnest($3::text[], $4::text[]) as asked (space, key)
        join idempotency_keys as k on k.digest = key_digest(asked.space, asked.key)
    ) end as used,
    case when row_number() over () = 1 then (
        select array_agg(asked.reference_end)
        from stack as s
        cross join unnest($5::text[], $6::text[]) as asked (user_id, reference_end)
        join withdrawals as w on
            coalesce(w.reference, w.id) = (coalesce($7, s.bank_prefix) || asked.reference_end)::uuid
            and w.user_id = asked.user_id
        where s.only_row
    ) end as known_references
from lock_taken as t
left join locked_wallets as w on true;

-- name: write_optimistically
-- Writes a whole batch in one statement, if its keys are new and every request can be accepted: it locks the wallets
-- ($1, in key order), reads the clock, changes the wallets and writes the movements ($2). It refuses the whole batch if
-- a wallet does not exist or has too little money, if the earliest `release_at` ($3) is over, or if a row is not written
-- as told (a trigger can swallow it); a used key violates idempotency_keys_pkey.
-- The statement decides by the clock after the last lock. Each wallet's rows carry that instant or, if the clock has
-- stepped back, the next instant after the wallet's latest; the identifiers begin with it. Nearly always the instant of
-- every wallet is `now`: then `instants` and `id_starts` are null.
-- $4 is the time after which the reconciler announces a withdrawal again that no actor has started. $5 replaces this
-- stack's prefix of bank references; a reference in use violates withdrawals_reference. A batch of plain charges is
-- written without the named part: even a part that does nothing costs its setup.
with locked_wallets as materialized (
    select c.*, w.available as available_before, w.locked as locked_before, w.held as held_before, w.last_at
    from unnest($1::expected_change[]) with ordinality as c (
        user_id, currency, available, locked, held, transactions, needed, number
    )
    join wallets as w on w.user_id = c.user_id and w.currency = c.currency
    where w.available >= c.needed
        -- The greatest total that clients may reach. Returned money can have made a greater one.
        and (
            c.available + c.locked + c.held <= 0
            or w.available + w.locked + w.held + c.available + c.locked + c.held <= 9007199254740991
        )
    order by c.number
    for no key update of w
),

lock_taken as (
    select
        count(*) as wallets,
        array_agg(available_before) as available_before,
        array_agg(locked_before) as locked_before,
        array_agg(held_before) as held_before,
        max(last_at) as last_at,
        clock_timestamp() as now
    from locked_wallets
),

decision as materialized (
    select
        t.*,
        uuid7_start(now) as id_start,
        case when wallets < cardinality($1) or $3::timestamptz <= now then refuse_batch() else true end as accepted
    from lock_taken as t
),

dated_wallets as materialized (
    select w.*, greatest(d.now, w.last_at + interval '1 microsecond') as at
    from decision as d
    cross join locked_wallets as w
    where d.accepted
),

new_balances as (
    update wallets as w
    set
        available = w.available + c.available,
        locked = w.locked + c.locked,
        held = w.held + c.held,
        transactions = w.transactions + c.transactions,
        last_at = c.at
    from dated_wallets as c
    where w.user_id = c.user_id and w.currency = c.currency
    returning
        w.available = c.available_before + c.available
        and w.locked = c.locked_before + c.locked
        and w.held = c.held_before + c.held
        and w.last_at = c.at as as_told
),

raised as (
    select array_agg(at) as instants, array_agg(uuid7_start(at)) as id_starts
    from dated_wallets
    where (select last_at >= now from decision)
),

movements as materialized (
    select
        (coalesce(r.id_starts[m.wallet], d.id_start) || m.id_end)::uuid as id,
        coalesce(r.instants[m.wallet], d.now) as created_at,
        d.now,
        d.available_before[m.wallet] + m.available_change as available_after,
        d.locked_before[m.wallet] + m.locked_change as locked_after,
        d.held_before[m.wallet] + m.held_change as held_after,
        m.*
    from decision as d
    cross join raised as r
    cross join unnest($2::expected_movement_v2[]) as m
),

new_transfers as (
    insert into transfers (
        id, user_id, currency, kind, debit_account, credit_account, amount, total_after, available_after, locked_after,
        held_after, reference, release_at, metadata, created_at, made_by
    )
    select
        id,
        user_id,
        currency,
        kind,
        case when kind = 'charge' then 'funding' else 'available' end,
        case when kind = 'reserve' then 'held' when release_at is null then 'available' else 'locked' end,
        amount,
        available_after + locked_after + held_after,
        available_after,
        locked_after,
        held_after,
        id,
        release_at,
        case when kind = 'charge' then metadata end,
        created_at,
        made_by
    from movements
    returning 1
),

-- part: locks_and_withdrawals
new_locks as (
    insert into locks (user_id, currency, release_at, charge_id, amount)
    select user_id, currency, release_at, id, amount
    from movements
    where release_at is not null
    returning 1
),

new_withdrawals as (
    insert into withdrawals (
        id, user_id, currency, amount, destination, metadata, reference, made_by, created_at, updated_at,
        next_attempt_at, ring_at
    )
    select
        id,
        user_id,
        currency,
        amount,
        destination,
        metadata,
        ((select coalesce($5, bank_prefix) from stack where only_row) || reference_end)::uuid,
        made_by,
        created_at,
        created_at,
        now,
        now + $4::interval
    from movements
    where kind = 'reserve'
    returning 1
),

outbox_rows as (
    insert into outbox (user_id, withdrawal_id, created_at)
    select user_id, id, now
    from movements
    where kind = 'reserve'
    returning 1
),
-- end of part

new_keys as (
    insert into idempotency_keys (client, key, fingerprint, user_id, currency, movement_id)
    select space, key, fingerprint, user_id, currency, id
    from movements
    order by space, key
    returning 1
)

select d.now, d.id_start, r.instants, r.id_starts
from decision as d
cross join raised as r
where
    d.accepted
    and case
        when (
            select count(*)
            from (
                select from new_balances where as_told
                union all select from new_transfers
                union all select from new_keys
-- part: locks_and_withdrawals
                union all select from new_locks
                union all select from new_withdrawals
                union all select from outbox_rows
-- end of part
            ) as written
        ) = cardinality($1) + 2 * cardinality($2)
-- part: locks_and_withdrawals
            + (select count(release_at) + 2 * count(*) filter (where kind = 'reserve') from movements)
-- end of part
            then true
        else refuse_batch()
    end;

-- name: write_plain_charges
-- write_plain_charges is write_optimistically without locks_and_withdrawals

-- name: receipts
-- The receipts of used keys: the unchanging part of a charge or withdrawal, so that a replay returns the same bytes.
select
    k.client,
    k.key,
    k.fingerprint,
    t.id,
    t.user_id,
    t.currency,
    t.kind,
    t.amount,
    t.release_at,
    t.created_at,
    w.destination,
    case when w.id is null then t.metadata else w.metadata end as metadata
from unnest($1::text[], $2::text[]) as asked (client, key)
join idempotency_keys as k on k.digest = key_digest(asked.client, asked.key)
join transfers as t on t.user_id = k.user_id and t.currency = k.currency and t.id = k.movement_id
left join withdrawals as w on w.id = t.id and w.user_id = t.user_id;

-- name: claim_adopted
-- Withdrawals that were adopted from the bank's books have no key. The request ($3, $4, $5) with such a withdrawal's
-- reference (user $1, end $2, prefix $8 or this stack's) is its own: the withdrawal gets that key, and the destination
-- and metadata that the bank does not know.
with adopted as materialized (
    select w.id, w.user_id, w.currency, a.space, a.key, a.fingerprint, a.destination, a.metadata
    from stack as s
    cross join unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::json[], $7::json[]
    ) as a (user_id, reference_end, space, key, fingerprint, destination, metadata)
    join withdrawals as w on
        coalesce(w.reference, w.id) = (coalesce($8, s.bank_prefix) || a.reference_end)::uuid and w.user_id = a.user_id
    where s.only_row
    order by w.id
    for update of w
),

claimed as (
    insert into idempotency_keys (client, key, fingerprint, user_id, currency, movement_id)
    select space, key, fingerprint, user_id, currency, id
    from adopted
    order by space, key
    on conflict do nothing
    returning movement_id, user_id
),

filled_in as (
    update withdrawals as w
    set destination = a.destination, metadata = a.metadata
    from claimed as c
    join adopted as a on a.id = c.movement_id and a.user_id = c.user_id
    where w.id = c.movement_id and w.user_id = c.user_id
    returning
        (w.destination is null) = (a.destination is null) and (w.metadata is null) = (a.metadata is null) as as_told
)

select count(*)
from filled_in
where as_told
having case when count(*) = (select count(*) from claimed) then true else refuse_batch() end;

-- name: create_wallets
insert into wallets (user_id, currency)
select user_id, currency
from unnest($1::text[], $2::text[]) as asked (user_id, currency)
order by user_id, currency
on conflict do nothing;

-- name: matured_locks
-- Matured locks, the oldest first, at most $4 per wallet; $3 is the instant of the decision.
select asked.user_id, asked.currency, l.charge_id, l.release_at, l.amount
from unnest($1::text[], $2::text[]) as asked (user_id, currency)
cross join lateral (
    select charge_id, release_at, amount
    from locks
    where locks.user_id = asked.user_id and locks.currency = asked.currency and release_at <= $3
    order by release_at, charge_id
    limit $4
) as l;

-- name: record
-- Writes the rows that every batch has: transfers, keys and balances (as differences, so that the checks on the table
-- guard the result). A movement without a reference refers to itself; one without a space has no key. A key that is in
-- use by now violates idempotency_keys_pkey. Returns the numbers of rows written as told.
with movements as materialized (
    select * from unnest($1::movement_v2[])
),

new_transfers as (
    insert into transfers (
        id, user_id, currency, kind, debit_account, credit_account, amount, total_after, available_after, locked_after,
        held_after, reference, release_at, metadata, created_at, made_by
    )
    select
        id, user_id, currency, kind, debit_account, credit_account, amount, available_after + locked_after + held_after,
        available_after, locked_after, held_after, coalesce(reference, id), release_at, metadata, created_at, made_by
    from movements
    returning 1
),

-- part: keys
new_keys as (
    insert into idempotency_keys (client, key, fingerprint, user_id, currency, movement_id)
    select space, key, fingerprint, user_id, currency, id
    from movements
    where space is not null
    order by space, key
    returning 1
),

-- end of part
new_balances as (
    update wallets as w
    set
        available = w.available + d.available,
        locked = w.locked + d.locked,
        held = w.held + d.held,
        transactions = w.transactions + d.transactions,
        last_at = d.last_at
    from unnest($2::balance_change_v2[]) as d
    where w.user_id = d.user_id and w.currency = d.currency
    returning w.last_at = d.last_at as as_told
)

select
    (select count(*) from new_transfers) as transfers,
-- part: keys
    (select count(*) from new_keys) as keys,
-- end of part
    (select count(*) from new_balances where as_told) as wallets;

-- name: record_without_keys
-- record_without_keys is record without keys

-- name: record_locks
insert into locks (user_id, currency, release_at, charge_id, amount)
select * from unnest($1::text[], $2::text[], $3::timestamptz[], $4::uuid[], $5::bigint[]);

-- name: end_locks
delete from locks
using unnest($1::text[], $2::text[], $3::uuid[], $4::timestamptz[])
    as ended (user_id, currency, charge_id, release_at)
where locks.user_id = ended.user_id
    and locks.currency = ended.currency
    and locks.release_at = ended.release_at
    and locks.charge_id = ended.charge_id;

-- name: record_withdrawals
-- The withdrawals are due from $10 on; the reconciler announces them again at $11 unless an actor has started them by
-- then. $12 replaces this stack's prefix of bank references; a reference in use violates withdrawals_reference.
with new_withdrawals as (
    insert into withdrawals (
        id, user_id, currency, amount, destination, metadata, reference, made_by, created_at, updated_at,
        next_attempt_at, ring_at
    )
    select
        id,
        user_id,
        currency,
        amount,
        destination,
        metadata,
        ((select coalesce($12, bank_prefix) from stack where only_row) || reference_end)::uuid,
        made_by,
        at,
        at,
        $10,
        $11
    from unnest(
        $1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::json[], $6::json[], $7::timestamptz[], $8::text[],
        $9::text[]
    ) as new (id, user_id, currency, amount, destination, metadata, at, made_by, reference_end)
    returning id, user_id
)

insert into outbox (user_id, withdrawal_id, created_at)
select user_id, id, $10
from new_withdrawals;

-- name: held_elsewhere
-- Which of the wallets ($1, $2) exist, and which of them can be locked without waiting (`free`). Another session holds
-- the others, perhaps under a savepoint or by a prepared transaction.
with free_wallets as materialized (
    select w.user_id, w.currency
    from unnest($1::text[], $2::text[]) as asked (user_id, currency)
    join wallets as w using (user_id, currency)
    order by w.user_id, w.currency
    for no key update of w skip locked
)

select user_id, currency, true as free
from free_wallets
union all
select w.user_id, w.currency, false
from unnest($1::text[], $2::text[]) as asked (user_id, currency)
join wallets as w using (user_id, currency);
