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

-- name: used_meanwhile
-- Whether one of the keys ($1, $2) is used by now, or one of the bank references (users $3, ends $4, prefix $5 or this
-- stack's).
select
    exists(
        select from unnest($1::text[], $2::text[]) as asked (space, key)
        join idempotency_keys as k on k.digest = key_digest(asked.space, asked.key)
    )
    or exists(
        select from stack as s
        cross join unnest($3::text[], $4::text[]) as asked (user_id, reference_end)
        join withdrawals as w on
            coalesce(w.reference, w.id) = (coalesce($5, s.bank_prefix) || asked.reference_end)::uuid
            and w.user_id = asked.user_id
        where s.only_row
    ) as used;

-- name: write_optimistically
-- Writes a batch in one statement, if its keys are new and its requests can be accepted: it locks the wallets ($1, in
-- key order), reads the clock, changes the wallets and writes the movements ($2). A wallet that does not exist or has
-- too little money is left out, with its movements, and `numbers` are those of the others; with fewer than $4 of them
-- the whole batch is refused. So it is if the earliest `release_at` ($3) is over, or if a row is not written as told (a
-- trigger can swallow it); a used key violates idempotency_keys_pkey. Where movements depend on each other, as legs do
-- on their payer, $4 is the number of all wallets.
-- A payee's row ($2) refers to the payer's by the number of its wallet change and the end of its identifier.
-- The statement decides by the clock after the last lock. Each wallet's rows carry that instant or, if the clock has
-- stepped back, the next instant after the wallet's latest; the identifiers begin with it. Nearly always the instant of
-- every wallet is `now`: then `instants` and `id_starts` are null.
-- $5 is the time after which the reconciler announces a withdrawal again that no actor has started. $6 replaces this
-- stack's prefix of bank references; a reference in use violates withdrawals_reference. $7 to $9 are the traces of
-- withdrawals, by the ends of their references. Each kind of batch is
-- written without the named parts that it has no use for: even a part that does nothing costs its setup.
-- A capture's hold must still be open, and as it was read ($3 covers its expiry, too).
with locked_wallets as materialized (
    select c.*, w.available as available_before, w.locked as locked_before, w.held as held_before, w.last_at
    from unnest($1::optimistic_change[]) with ordinality as c (
        user_id, currency, available, locked, held, transactions, needed, total_peak, number
    )
    join wallets as w on w.user_id = c.user_id and w.currency = c.currency
    where w.available >= c.needed
        -- The greatest total that clients may reach. Returned money can have made a greater one.
        and (c.total_peak <= 0 or w.available + w.locked + w.held + c.total_peak <= 9007199254740991)
    order by c.number
    for no key update of w
),

lock_taken as (
    select
        count(*) as wallets,
        array_agg(number::integer) as numbers,
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
        wallets < cardinality($1) as in_part,
        case when wallets < $4::integer or $3::timestamptz <= now then abort_statement() else true end as accepted
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
        (coalesce(r.id_starts[p.place], d.id_start) || m.id_end)::uuid as id,
        case
-- part: captures
            when m.kind = 'void' then m.reference_end::uuid
-- end of part
            when m.of_end is null then (coalesce(r.id_starts[p.place], d.id_start) || m.id_end)::uuid
            else (coalesce(r.id_starts[m.of_wallet], d.id_start) || m.of_end)::uuid
        end as reference,
        coalesce(r.instants[p.place], d.now) as created_at,
        d.now,
        d.available_before[p.place] + m.available_change as available_after,
        d.locked_before[p.place] + m.locked_change as locked_after,
        d.held_before[p.place] + m.held_change as held_after,
        m.*
    from decision as d
    cross join raised as r
    cross join unnest($2::optimistic_movement[]) as m
    cross join
        lateral (select case when d.in_part then array_position(d.numbers, m.wallet) else m.wallet end as place) as p
    where p.place is not null
),

new_transfers as (
    insert into transfers (
        id, user_id, currency, kind, debit_account, credit_account, amount, total_after, available_after, locked_after,
        held_after, reference, release_at, metadata, created_at, made_by, peer_user_id
    )
    select
        id,
        user_id,
        currency,
        kind,
        case
            when kind = 'charge' then 'funding'
            when kind = 'receive' then 'peer'
-- part: captures
            when kind in ('capture', 'void') then 'held'
-- end of part
            else 'available'
        end,
        case
            when kind in ('reserve', 'hold') then 'held'
            when kind in ('send', 'capture') then 'peer'
            when release_at is null then 'available'
            else 'locked'
        end,
        amount,
        available_after + locked_after + held_after,
        available_after,
        locked_after,
        held_after,
        reference,
        case when kind not in ('hold', 'capture') then release_at end,
        case when kind in ('charge', 'send') then metadata end,
        created_at,
        made_by,
        peer_user_id
    from movements
    returning 1
),

-- part: legs
new_legs as (
    insert into transfer_legs (
        transfer_id, from_user_id, leg, to_user_id, currency, amount, release_at, receive_id
    )
    select reference, peer_user_id, leg, user_id, currency, amount, release_at, id
    from movements
    where kind = 'receive'
    returning 1
),
-- end of part

-- part: locks
new_locks as (
    insert into locks (user_id, currency, release_at, charge_id, amount, account)
    select user_id, currency, release_at, id, amount, case kind when 'hold' then 'held' else 'locked' end
    from movements
    where release_at is not null and kind <> 'capture'
    returning 1
),
-- end of part

-- part: expiring
ended_locks as (
    delete from locks as l
    using movements as m
    where
        m.kind = 'capture'
        and l.user_id = m.user_id
        and l.currency = m.currency
        and l.release_at = m.release_at
        and l.charge_id = m.reference_end::uuid
    returning 1
),
-- end of part

-- part: holds
new_holds as (
    insert into holds (id, user_id, currency, amount, expires_at, metadata, made_by, created_at)
    select id, user_id, currency, amount, release_at, metadata, made_by, created_at
    from movements
    where kind = 'hold'
    returning 1
),
-- end of part

-- part: captures
captured_holds as (
    update holds as h
    set status = 'captured', captured = m.amount, transfer_id = m.id, ended_at = m.created_at
    from movements as m
    where
        m.kind = 'capture'
        and h.id = m.reference_end::uuid
        and h.user_id = m.user_id
        and h.status = 'open'
        and h.expires_at is not distinct from m.release_at
    returning h.status = 'captured' and h.captured = m.amount and h.transfer_id = m.id as as_told
),
-- end of part

-- part: withdrawals
new_withdrawals as (
    insert into withdrawals (
        id, user_id, currency, amount, destination, metadata, reference, made_by, created_at, updated_at,
        next_attempt_at, ring_at, request_id, traceparent
    )
    select
        m.id,
        m.user_id,
        m.currency,
        m.amount,
        m.destination,
        m.metadata,
        ((select coalesce($6, bank_prefix) from stack where only_row) || m.reference_end)::uuid,
        m.made_by,
        m.created_at,
        m.created_at,
        m.now,
        m.now + $5::interval,
        t.request_id,
        t.traceparent
    from movements as m
    left join unnest($7::text[], $8::text[], $9::text[]) as t (reference_end, request_id, traceparent)
        using (reference_end)
    where m.kind = 'reserve'
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
    where key is not null
    order by space, key
    returning 1
)

select d.now, d.id_start, r.instants, r.id_starts, case when d.in_part then d.numbers end as numbers
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
-- part: legs
                union all select from new_legs
-- end of part
-- part: locks
                union all select from new_locks
-- end of part
-- part: expiring
                union all select from ended_locks
-- end of part
-- part: holds
                union all select from new_holds
-- end of part
-- part: captures
                union all select from captured_holds where as_told
-- end of part
-- part: withdrawals
                union all select from new_withdrawals
                union all select from outbox_rows
-- end of part
            ) as written
        -- Each movement has a key or, a payee's, a leg.
        ) = d.wallets + 2 * case when d.in_part then (select count(*) from movements) else cardinality($2) end
-- part: locks
            + (select count(release_at) from movements)
-- end of part
-- part: holds
            + (select count(*) from movements where kind = 'hold')
-- end of part
-- part: captures
            -- Each capture has a hold; the void of its rest has neither a key nor a leg.
            + (select count(*) filter (where kind = 'capture') - count(*) filter (where kind = 'void') from movements)
-- end of part
-- part: withdrawals
            + (select 2 * count(*) from movements where kind = 'reserve')
-- end of part
            then true
        else abort_statement()
    end;

-- name: in_doubt
-- Why a batch was refused, as far as that can be seen without locks: the numbers of the wallet changes ($1) whose wallet
-- has too little or would have too much; zero where a wallet has to be created; and the numbers of the keys ($2, $3)
-- that are used, below zero.
select case when w.user_id is null and c.needed = 0 then 0 else c.number end as number
from unnest($1::optimistic_change[]) with ordinality as c (
    user_id, currency, available, locked, held, transactions, needed, total_peak, number
)
left join wallets as w on w.user_id = c.user_id and w.currency = c.currency
where
    w.user_id is null
    or w.available < c.needed
    or (c.total_peak > 0 and w.available + w.locked + w.held + c.total_peak > 9007199254740991)
union all
select -asked.number
from unnest($2::text[], $3::text[]) with ordinality as asked (space, key, number)
join idempotency_keys as k on k.digest = key_digest(asked.space, asked.key);

-- name: write_plain_charges
-- write_plain_charges is write_optimistically without legs, locks, expiring, holds, captures, withdrawals

-- name: write_transfers
-- write_transfers is write_optimistically without locks, expiring, holds, captures, withdrawals

-- name: write_holds
-- write_holds is write_optimistically without legs, locks, expiring, captures, withdrawals

-- name: write_holds_with_locks
-- write_holds_with_locks is write_optimistically without legs, expiring, captures, withdrawals

-- name: write_withdrawals
-- write_withdrawals is write_optimistically without legs, locks, expiring, holds, captures

-- name: write_commands
-- write_commands is write_optimistically without expiring, captures

-- name: write_captures
-- write_captures is write_optimistically without locks, expiring, holds, withdrawals

-- name: write_captures_with_locks
-- write_captures_with_locks is write_optimistically without holds, withdrawals

-- name: count_open
-- How many locks and holds these wallets ($1, $2) have open at the instant $3. Their locks make it exact: whoever adds one
-- holds its wallet's. Asked only where a setting limits them.
select
    asked.user_id,
    asked.currency,
    (
        select count(*)
        from locks as l
        where
            l.user_id = asked.user_id
            and l.currency = asked.currency
            and l.account = 'locked'
            and l.release_at > $3
    ) as locks,
    (
        select count(*)
        from holds as h
        where
            h.user_id = asked.user_id
            and h.currency = asked.currency
            and h.status = 'open'
            and (h.expires_at is null or h.expires_at > $3)
    ) as holds
from unnest($1::text[], $2::text[]) as asked (user_id, currency);

-- name: receipts
-- The receipts of used keys: the unchanging part of what was made under each, so that a replay returns the same bytes.
-- For a capture, `hold` is the captured hold's identifier; for a reversal, `reverses` names what it has undone. A key
-- without a movement is one that was archived, if it is older than the last archive.
select
    k.client,
    k.key,
    k.fingerprint,
    k.movement_id < (select boundary from archives order by boundary desc limit 1) as may_be_archived,
    t.id,
    t.user_id,
    t.currency,
    t.kind,
    t.debit_account,
    t.made_by,
    t.amount,
    t.release_at,
    t.created_at,
    w.destination,
    coalesce(w.metadata, h.metadata, c.metadata, t.metadata) as metadata,
    l.payees,
    l.amounts,
    l.release_ats,
    h.expires_at,
    c.id as hold_id,
    c.amount as hold_amount,
    c.expires_at as hold_expires_at,
    c.created_at as hold_created_at,
    r.reverses,
    r.reason
from unnest($1::text[], $2::text[]) as asked (client, key)
join idempotency_keys as k on k.digest = key_digest(asked.client, asked.key)
left join transfers as t on t.user_id = k.user_id and t.currency = k.currency and t.id = k.movement_id
left join withdrawals as w on t.kind = 'reserve' and w.id = t.id and w.user_id = t.user_id
left join holds as h on t.kind = 'hold' and h.id = t.id and h.user_id = t.user_id
left join holds as c on t.kind = 'capture' and c.transfer_id = t.id and c.user_id = t.user_id
left join reversals as r on t.kind in ('reversal', 'receive') and r.id = t.id and r.user_id = t.user_id
left join lateral (
    select
        array_agg(to_user_id order by leg) as payees,
        array_agg(amount order by leg) as amounts,
        array_agg(release_at order by leg) as release_ats
    from transfer_legs
    where t.kind = 'send' and transfer_id = t.id and from_user_id = t.user_id
) as l on true;

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
having case when count(*) = (select count(*) from claimed) then true else abort_statement() end;

-- name: create_wallets
insert into wallets (user_id, currency)
select user_id, currency
from unnest($1::text[], $2::text[]) as asked (user_id, currency)
order by user_id, currency
on conflict do nothing;

-- name: matured_locks
-- Matured locks and expired holds, the oldest first, at most $4 per wallet; $3 is the instant of the decision.
select asked.user_id, asked.currency, l.charge_id, l.release_at, l.amount, l.account
from unnest($1::text[], $2::text[]) as asked (user_id, currency)
cross join lateral (
    select charge_id, release_at, amount, account
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
    select * from unnest($1::movement_v3[])
),

new_transfers as (
    insert into transfers (
        id, user_id, currency, kind, debit_account, credit_account, amount, total_after, available_after, locked_after,
        held_after, reference, release_at, metadata, created_at, made_by, peer_user_id, effective_at
    )
    select
        id, user_id, currency, kind, debit_account, credit_account, amount, available_after + locked_after + held_after,
        available_after, locked_after, held_after, coalesce(reference, id), release_at, metadata, created_at, made_by,
        peer_user_id, effective_at
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
insert into locks (user_id, currency, release_at, charge_id, amount, account)
select * from unnest($1::text[], $2::text[], $3::timestamptz[], $4::uuid[], $5::bigint[], $6::text[]);

-- name: record_legs
insert into transfer_legs (transfer_id, from_user_id, leg, to_user_id, currency, amount, release_at, receive_id)
select * from unnest(
    $1::uuid[], $2::text[], $3::integer[], $4::text[], $5::text[], $6::bigint[], $7::timestamptz[], $8::uuid[]
);

-- name: record_holds
insert into holds (id, user_id, currency, amount, expires_at, metadata, created_at, made_by)
select * from unnest(
    $1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[], $6::json[], $7::timestamptz[], $8::text[]
);

-- name: expire_holds
update holds as h
set status = 'expired', ended_at = e.at
from unnest($1::uuid[], $2::text[], $3::timestamptz[]) as e (id, user_id, at)
where h.id = e.id and h.user_id = e.user_id;

-- name: end_locks
delete from locks
using unnest($1::text[], $2::text[], $3::uuid[], $4::timestamptz[])
    as ended (user_id, currency, charge_id, release_at)
where locks.user_id = ended.user_id
    and locks.currency = ended.currency
    and locks.release_at = ended.release_at
    and locks.charge_id = ended.charge_id;

-- name: record_withdrawals
-- The withdrawals are due from $12 on; the reconciler announces them again at $13 unless an actor has started them by
-- then. $14 replaces this stack's prefix of bank references; a reference in use violates withdrawals_reference.
with new_withdrawals as (
    insert into withdrawals (
        id, user_id, currency, amount, destination, metadata, reference, made_by, created_at, updated_at,
        next_attempt_at, ring_at, request_id, traceparent
    )
    select
        id,
        user_id,
        currency,
        amount,
        destination,
        metadata,
        ((select coalesce($14, bank_prefix) from stack where only_row) || reference_end)::uuid,
        made_by,
        at,
        at,
        $12,
        $13,
        request_id,
        traceparent
    from unnest(
        $1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::json[], $6::json[], $7::timestamptz[], $8::text[],
        $9::text[], $10::text[], $11::text[]
    ) as new (
        id, user_id, currency, amount, destination, metadata, at, made_by, reference_end, request_id, traceparent
    )
    returning id, user_id
)

insert into outbox (user_id, withdrawal_id, created_at)
select user_id, id, $12
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
