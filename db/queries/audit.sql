-- The queries of `wbs audit`. Unless it says otherwise, a block returns all violations, one row each:
-- invariant, kind, subject, expected, found, amount, currency.

-- name: sizes
-- Rough sizes, only for the display of progress.
select
    relname as name,
    greatest(n_live_tup, 0) as rows
from pg_stat_user_tables
where relname in ('transfers', 'withdrawals', 'idempotency_keys');

-- name: counts
select
    (select count(*) from wallets) as wallets,
    (select count(*) from transfers) as transfers,
    (select count(*) from withdrawals) as withdrawals,
    (select count(*) from idempotency_keys) as keys,
    (select count(*) from locks) as locks,
    (select count(*) from transfer_legs) as legs,
    (select count(*) from holds) as holds,
    (select count(*) from reversals) as reversals,
    (select coalesce(sum(movements), 0)::bigint from archived_balances) as archived;

-- name: transfers
-- Every row of the ledger must be a legal movement and have its own instant in its identifier. In each wallet, in the
-- order of identifiers, the balances must follow from the row before, and time must never go back. Before the boundary of
-- the last archive there are gaps; the newest row before it is there, so what follows it is as it ever was.
with changes as (
    select
        *,
        case 'available' when credit_account then amount when debit_account then -amount else 0 end as available,
        case 'locked' when credit_account then amount when debit_account then -amount else 0 end as locked,
        case 'held' when credit_account then amount when debit_account then -amount else 0 end as held
    from transfers
),

chained as (
    select
        *,
        lag(created_at) over so_far as time_before,
        lag(total_after, 1, 0::bigint) over so_far + available + locked + held as total_expected,
        lag(available_after, 1, 0::bigint) over so_far + available as available_expected,
        lag(locked_after, 1, 0::bigint) over so_far + locked as locked_expected,
        lag(held_after, 1, 0::bigint) over so_far + held as held_expected
    from changes
    window so_far as (partition by user_id, currency order by id)
),

judged as (
    select
        *,
        amount > 0
        and (kind, debit_account, credit_account) in (
            ('charge', 'funding', 'available'),
            ('charge', 'funding', 'locked'),
            ('release', 'locked', 'available'),
            ('reserve', 'available', 'held'),
            ('payout', 'held', 'bank'),
            ('refund', 'held', 'available'),
            ('return', 'bank', 'available'),
            ('adjustment', 'funding', 'available'),
            ('adjustment', 'available', 'funding'),
            ('reversal', 'available', 'funding'),
            ('reversal', 'locked', 'funding'),
            ('send', 'available', 'peer'),
            ('send', 'locked', 'peer'),
            ('receive', 'peer', 'available'),
            ('receive', 'peer', 'locked'),
            ('hold', 'available', 'held'),
            ('void', 'held', 'available'),
            ('capture', 'held', 'peer')
        )
        and (credit_account = 'locked') = (release_at is not null)
        and coalesce(isfinite(release_at), true) as legal,
        case
            when kind in ('charge', 'reserve', 'hold', 'capture') then reference = id
            when kind in ('reversal', 'void') then reference <> id
            else reference is not null
        end as referring,
        (peer_user_id is null or 'peer' in (debit_account, credit_account))
        and (metadata is null or kind not in ('hold', 'void', 'capture', 'receive', 'reversal', 'release'))
        and (
            effective_at is null
            or (kind in ('release', 'void') and isfinite(effective_at) and effective_at <= created_at)
        ) as fitting,
        (
            id < (select boundary from archives order by boundary desc limit 1)
            or (
                total_after = total_expected
                and (available_after = available_expected) is not false
                and (locked_after = locked_expected) is not false
                and (held_after = held_expected) is not false
            )
        )
        and available_after + locked_after + held_after = total_after as following,
        total_after >= 0
        and coalesce(least(available_after, locked_after, held_after) >= 0, true) as positive,
        created_at <= now() + interval '1 day'
        and isfinite(created_at)
        and coalesce(created_at >= time_before, true)
        and ('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint
        - floor(date_part('epoch', created_at) * 1000) between -1 and 2 as timely
    from chained
)

select
    found.invariant,
    found.kind,
    concat('transfer ', t.id, ' of ', t.user_id) as subject,
    found.expected,
    found.found,
    t.amount,
    t.currency
from judged as t
cross join lateral (
    values
    (
        t.legal, 1, 'illegal_transfer', 'a legal movement',
        concat_ws(' ', t.kind, t.debit_account, '→', t.credit_account, t.amount, 'until ' || t.release_at)
    ),
    (
        t.referring, 1, 'wrong_reference',
        case when t.kind in ('reversal', 'void') then 'another as reference' else 'itself as reference' end,
        coalesce(t.reference::text, 'none')
    ),
    (
        t.fitting, 1, 'out_of_place',
        'a peer only against peer, metadata only where it is kept, an earlier effect only of a release or void',
        concat_ws(
            ', ', t.kind, 'peer ' || t.peer_user_id, 'metadata ' || t.metadata,
            format('effective at %s, made at %s', t.effective_at, t.created_at)
        )
    ),
    (
        t.following, 1, 'balances_after',
        format(
            '%s (available %s, locked %s, held %s) after the row before',
            t.total_expected, t.available_expected, t.locked_expected, t.held_expected
        ),
        format(
            '%s (available %s, locked %s, held %s)', t.total_after, t.available_after, t.locked_after, t.held_after
        )
    ),
    (
        t.positive, 3, 'below_zero', 'balances of at least 0',
        concat_ws(' ', t.total_after, t.available_after, t.locked_after, t.held_after)
    ),
    (
        t.timely, 3, 'out_of_time', format('the instant in its identifier, not before %s', t.time_before),
        t.created_at::text
    )
) as found (holds, invariant, kind, expected, found)
where
    (t.legal and t.referring and t.fitting and t.following and t.positive and t.timely) is not true
    and found.holds is not true;

-- name: adjustments
-- An adjustment without an author and a reason can't be distinguished from a planted one.
select
    1 as invariant,
    'unexplained_adjustment' as kind,
    'transfer ' || id || ' of ' || user_id as subject,
    'by whom, and a reason' as expected,
    concat_ws(' ', coalesce(made_by, 'by nobody'), metadata) as found,
    amount,
    currency
from transfers
where kind = 'adjustment' and (coalesce(made_by, '') = '' or coalesce(metadata ->> 'reason', '') = '')
union all
select
    1, 'same_person', 'transfer ' || id || ' of ' || user_id, 'another person than ' || made_by, made_by, amount, currency
from transfers
where kind = 'adjustment' and metadata ->> 'proposed_by' = made_by;

-- name: wallets
-- Each wallet with the sums that it should equal: over its rows, and over those that were archived.
with here as (
    select
        user_id,
        currency,
        max(created_at) as last_at,
        count(*) filter (where kind in ('charge', 'reserve')) as transactions,
        sum(case 'available' when credit_account then amount when debit_account then -amount else 0 end) as available,
        sum(case 'locked' when credit_account then amount when debit_account then -amount else 0 end) as locked,
        sum(case 'held' when credit_account then amount when debit_account then -amount else 0 end) as held
    from transfers
    group by user_id, currency
),

sums as (
    select
        user_id,
        currency,
        h.last_at,
        coalesce(h.transactions, 0) + coalesce(a.transactions, 0) as transactions,
        coalesce(h.available, 0) + coalesce(a.available, 0) as available,
        coalesce(h.locked, 0) + coalesce(a.locked, 0) as locked,
        coalesce(h.held, 0) + coalesce(a.held, 0) as held
    from here as h
    full join archived_balances as a using (user_id, currency)
),

open_by_wallet as (
    select user_id, currency, sum(amount) as held
    from (
        select user_id, currency, amount
        from withdrawals
        where status in ('pending', 'processing', 'requires_attention')
        union all
        select user_id, currency, amount from holds where status = 'open'
    ) as still_open
    group by user_id, currency
),

locks_by_wallet as (
    select user_id, currency, sum(amount) as locked
    from locks
    where account = 'locked'
    group by user_id, currency
),

sides as (
    select
        coalesce(w.user_id, t.user_id) as user_id,
        coalesce(w.currency, t.currency) as currency,
        w.user_id is not null as there,
        w.available,
        w.locked,
        w.held,
        w.transactions,
        w.last_at,
        row_number() over (partition by w.user_id, w.currency) as copy,
        coalesce(t.available, 0) as available_sum,
        coalesce(t.locked, 0) as locked_sum,
        coalesce(t.held, 0) as held_sum,
        coalesce(t.transactions, 0) as transactions_sum,
        coalesce(t.last_at, '-infinity') as last_at_expected
    from wallets as w
    full join sums as t on t.user_id = w.user_id and t.currency = w.currency
)

select
    found.invariant,
    found.kind,
    concat('wallet ', s.user_id, ' ', s.currency) as subject,
    found.expected,
    found.found,
    found.amount,
    s.currency
from sides as s
left join open_by_wallet as o on o.user_id = s.user_id and o.currency = s.currency
left join locks_by_wallet as l on l.user_id = s.user_id and l.currency = s.currency
cross join lateral (
    values
    (
        s.there, 1, 'no_wallet', 'a wallet', 'transfers without a wallet',
        s.available_sum + s.locked_sum + s.held_sum
    ),
    (not s.there or s.copy = 1, 1, 'wallet_doubled', 'one row', 'more than one', s.available + s.locked + s.held),
    (
        not s.there or s.available = s.available_sum, 1, 'balance', format('available %s by its transfers', s.available_sum),
        s.available::text, s.available - s.available_sum
    ),
    (
        not s.there or s.locked = s.locked_sum, 1, 'balance', format('locked %s by its transfers', s.locked_sum),
        s.locked::text, s.locked - s.locked_sum
    ),
    (
        not s.there or s.held = s.held_sum, 1, 'balance', format('held %s by its transfers', s.held_sum),
        s.held::text, s.held - s.held_sum
    ),
    (
        not s.there or s.transactions = s.transactions_sum, 1, 'transactions', format('%s transactions', s.transactions_sum),
        s.transactions::text, 0
    ),
    (
        not s.there or s.last_at = s.last_at_expected, 3, 'last_at', format('last changed at %s', s.last_at_expected),
        s.last_at::text, 0
    ),
    (
        not s.there or least(s.available, s.locked, s.held) >= 0, 3, 'below_zero', 'balances of at least 0',
        concat_ws(' ', s.available, s.locked, s.held), least(s.available, s.locked, s.held)
    ),
    (
        coalesce(s.held, 0) = coalesce(o.held, 0), 2, 'held',
        format('held %s by its open withdrawals and holds', coalesce(o.held, 0)),
        coalesce(s.held, 0)::text, coalesce(s.held, 0) - coalesce(o.held, 0)
    ),
    (
        coalesce(s.locked, 0) = coalesce(l.locked, 0), 2, 'locked', format('locked %s by its locks', coalesce(l.locked, 0)),
        coalesce(s.locked, 0)::text, coalesce(s.locked, 0) - coalesce(l.locked, 0)
    )
) as found (holds, invariant, kind, expected, found, amount)
where found.holds is not true;

-- name: locks
-- Locked money that is not released, less what reversals took out of it, and open holds that expire, match locks one to
-- one, with the same date and amount.
with taken_back as (
    select reference as id, user_id, currency, amount
    from transfers
    where kind = 'reversal' and debit_account = 'locked'
    union all
    select l.receive_id, s.user_id, s.currency, s.amount
    from transfers as s
    join reversal_legs as r on r.send_id = s.id
    join reversals as v on v.id = r.reversal_id and v.user_id = r.user_id
    join transfer_legs as l on l.transfer_id = v.reverses and l.from_user_id = v.user_id and l.leg = r.leg
    where s.kind = 'send' and s.debit_account = 'locked'
),

sums as (
    select id, user_id, currency, sum(amount)::bigint as amount from taken_back group by id, user_id, currency
),

sources as (
    select
        c.id,
        c.kind,
        c.user_id,
        c.currency,
        c.release_at,
        'locked' as account,
        c.amount - coalesce(t.amount, 0) as amount
    from transfers as c
    left join sums as t on t.id = c.id and t.user_id = c.user_id and t.currency = c.currency
    where
        c.credit_account = 'locked'
        and c.amount is distinct from t.amount
        and not exists (
            select from transfers as r
            where r.kind = 'release' and r.reference = c.id and r.user_id = c.user_id and r.currency = c.currency
        )
    union all
    select id, 'hold', user_id, currency, expires_at, 'held', amount
    from holds
    where status = 'open' and expires_at is not null
),

numbered as (
    select
        *,
        case account when 'held' then 'hold' else 'charge' end as kind,
        row_number() over (partition by user_id, charge_id order by release_at) as copy
    from locks
)

select
    2 as invariant,
    case
        when l.charge_id is null then 'lock_missing'
        when c.id is null then 'lock_unfounded'
        when l.copy > 1 then 'lock_doubled'
        else 'lock_differs'
    end as kind,
    concat(
        'lock of ', coalesce(c.kind, l.kind), ' ', coalesce(c.id, l.charge_id), ' of ', coalesce(c.user_id, l.user_id)
    ) as subject,
    case
        when c.id is null then 'locked money that is not released, or an open hold that expires'
        else format('%s %s %s until %s, once', c.account, c.amount, c.currency, c.release_at)
    end as expected,
    case
        when l.charge_id is null then 'no lock'
        else format('%s %s %s until %s', l.account, l.amount, l.currency, l.release_at)
    end as found,
    coalesce(c.amount, l.amount) as amount,
    coalesce(c.currency, l.currency) as currency
from sources as c
full join numbered as l on l.charge_id = c.id and l.user_id = c.user_id
where
    l.charge_id is null
    or c.id is null
    or l.copy > 1
    or (l.account, l.currency, l.release_at, l.amount) is distinct from (c.account, c.currency, c.release_at, c.amount);

-- name: releases
-- Releases of what was never locked, of another amount than was left in the lock, before its time, with effect from
-- another instant (those written before effects were have none), or for the second time. And reversals that took from
-- `available` what was locked still, or the other way round.
with taken_back as (
    select id, reference as source_id, user_id, currency, debit_account, amount
    from transfers
    where kind = 'reversal'
    union all
    select s.id, l.receive_id, s.user_id, s.currency, s.debit_account, s.amount
    from transfers as s
    join reversal_legs as r on r.send_id = s.id
    join reversals as v on v.id = r.reversal_id and v.user_id = r.user_id
    join transfer_legs as l on l.transfer_id = v.reverses and l.from_user_id = v.user_id and l.leg = r.leg
    where s.kind = 'send'
),

sums as (
    select source_id, user_id, currency, sum(amount)::bigint as amount
    from taken_back
    where debit_account = 'locked'
    group by source_id, user_id, currency
),

locked as (
    select
        c.id,
        c.kind,
        c.user_id,
        c.currency,
        c.release_at,
        c.amount - coalesce(t.amount, 0) as amount,
        -- An identifier begins with its instant.
        greatest(
            c.release_at,
            timestamptz 'epoch' + (
                ('x' || left(translate(c.id::text, '-', ''), 12))::bit(48)::bigint * 1000
                + (('x' || substr(translate(c.id::text, '-', ''), 14, 3))::bit(12)::integer * 1000 + 4095) / 4096
            ) * interval '1 microsecond'
        ) as effective_at
    from transfers as c
    left join sums as t on t.source_id = c.id and t.user_id = c.user_id and t.currency = c.currency
    where c.credit_account = 'locked'
),

releases as (
    select *, row_number() over (partition by user_id, reference order by id) as copy
    from transfers
    where kind = 'release'
)

select
    2 as invariant,
    case
        when c.id is null then 'release_unfounded'
        when r.copy > 1 then 'released_twice'
        when r.created_at < c.release_at then 'released_early'
        else 'release_differs'
    end as kind,
    concat('release ', r.id, ' of ', coalesce(c.kind, 'charge'), ' ', r.reference, ' of ', r.user_id) as subject,
    case
        when c.id is null then 'locked money of this wallet'
        else format('%s, not before %s, with effect from %s, once', c.amount, c.release_at, c.effective_at)
    end as expected,
    concat(r.amount, ' at ', r.created_at, ' with effect from ' || r.effective_at) as found,
    r.amount,
    r.currency
from releases as r
left join locked as c on c.id = r.reference and c.user_id = r.user_id and c.currency = r.currency
where
    (
        r.copy = 1
        and r.amount = c.amount
        and r.created_at >= c.release_at
        and coalesce(r.effective_at = c.effective_at, true)
    ) is not true
union all
select
    2,
    'taken_from',
    concat('reversal ', t.id, ' of ', t.user_id),
    case when t.debit_account = 'locked' then 'from available' else 'from locked' end,
    'from ' || t.debit_account,
    t.amount,
    t.currency
from taken_back as t
left join locked as c on c.id = t.source_id and c.user_id = t.user_id and c.currency = t.currency
left join releases as r on r.reference = c.id and r.user_id = c.user_id and r.currency = c.currency and r.copy = 1
where (t.debit_account = 'locked') is distinct from (c.id is not null and (r.id is null or r.id > t.id));

-- name: outbox
-- Outbox rows of withdrawals that do not exist.
select
    3 as invariant,
    'outbox_row_for_nothing' as kind,
    'outbox row of withdrawal ' || o.withdrawal_id || ' of ' || o.user_id as subject,
    'a withdrawal, accepted before' as expected,
    coalesce(w.created_at::text, 'none') as found,
    coalesce(w.amount, 0) as amount,
    w.currency
from outbox as o
left join withdrawals as w on w.id = o.withdrawal_id and w.user_id = o.user_id
where (o.created_at between w.created_at - interval '1 day' and now() + interval '1 day') is not true;

-- name: look_ups
-- Look-ups of withdrawals that do not exist, or look-ups that are never due (all are due within $1).
select
    3 as invariant,
    case when w.id is null then 'look_up_of_nothing' else 'never_due' end as kind,
    concat('look-up of withdrawal ', l.withdrawal_id, ' of ', l.user_id) as subject,
    case when w.id is null then 'a withdrawal' else concat('due by ', now() + $1::interval) end as expected,
    case when w.id is null then 'none' else l.due_at::text end as found,
    coalesce(w.amount, 0) as amount,
    w.currency
from look_ups as l
left join withdrawals as w on w.id = l.withdrawal_id and w.user_id = l.user_id
where (w.id is not null and l.due_at <= now() + $1::interval) is not true;

-- name: doubled
-- Duplicate rows that the primary keys should have refused, and references that two withdrawals share.
select
    3 as invariant,
    kind,
    subject,
    'one' as expected,
    copies::text as found,
    0 as amount,
    null::text as currency
from (
    select 'withdrawal_doubled' as kind, 'withdrawal ' || id || ' of ' || min(user_id) as subject, count(*) as copies
    from withdrawals
    group by id
    union all
    select 'reference_doubled', 'reference ' || coalesce(reference, id) || ' of ' || min(user_id), count(*)
    from withdrawals
    group by coalesce(reference, id)
    union all
    select 'outbox_row_doubled', 'outbox row of withdrawal ' || withdrawal_id || ' of ' || min(user_id), count(*)
    from outbox
    group by withdrawal_id
    union all
    select 'charge_reversals_doubled', 'charge ' || charge_id || ' of ' || user_id, count(*)
    from charge_reversals
    group by charge_id, user_id
    union all
    select 'key_doubled', 'key ' || left(min(key), 8) || '… of ' || min(client), count(*)
    from idempotency_keys
    group by digest
) as counted
where copies > 1;

-- name: withdrawals
-- All withdrawals, each with its history and the transfers that refer to it; any of the three may be missing.
with histories as (
    select
        withdrawal_id as id,
        user_id,
        array_agg(seq order by seq) as seqs,
        array_agg(status order by seq) as path,
        array_agg(at order by seq) as times,
        array_agg(made_by order by seq) as made_by
    from withdrawal_history
    group by withdrawal_id, user_id
),

movements as (
    select
        reference as id,
        user_id,
        array_agg(kind order by id) as kinds,
        array_agg(amount order by id) as amounts,
        array_agg(currency order by id) as currencies,
        array_agg(created_at order by id) as moved_at,
        bool_and(kind <> 'reserve' or id = reference) as reserved_by_itself
    from transfers
    where kind in ('reserve', 'payout', 'refund', 'return')
    group by reference, user_id
)

select
    id,
    user_id,
    w.id is not null as there,
    w.currency,
    w.amount,
    w.status,
    w.attempts,
    w.rounds,
    w.next_attempt_at,
    w.ring_at,
    w.history_length,
    w.failure_code,
    w.failure_reason,
    w.bank_reference,
    w.created_at,
    w.updated_at,
    w.made_by,
    w.first_attempt_at,
    w.accepted_at,
    w.looked_up_at,
    w.archived_at,
    h.seqs,
    h.path,
    h.times,
    h.made_by as moved_by,
    m.kinds,
    m.amounts,
    m.currencies,
    m.moved_at,
    m.reserved_by_itself
from withdrawals as w
full join histories as h using (id, user_id)
full join movements as m using (id, user_id);

-- name: keys
-- All movements that were asked for, with their keys, either of which may be missing, in the order of movements: two
-- keys of one movement follow each other. With what else the request said: legs of a transfer, the hold of a capture,
-- what is reversed.
with legs as (
    select
        transfer_id,
        from_user_id,
        array_agg(to_user_id order by leg) as payees,
        array_agg(amount order by leg) as amounts,
        array_agg(release_at order by leg) as release_ats
    from transfer_legs
    group by transfer_id, from_user_id
),

reversed_legs as (
    select reversal_id, user_id, array_agg(leg order by leg) as legs, array_agg(amount order by leg) as amounts
    from reversal_legs
    group by reversal_id, user_id
),

movements as (
    select *
    from transfers
    where
        kind in ('charge', 'reserve', 'hold', 'capture', 'reversal', 'adjustment')
        or (kind in ('send', 'receive') and reference = id)
)

select
    k.key is not null or k.movement_id is not null as keyed,
    t.id is not null as moved,
    coalesce(t.id, k.movement_id) as id,
    k.movement_id < (select boundary from archives order by boundary desc limit 1) as may_be_archived,
    k.client,
    k.key,
    k.fingerprint,
    k.user_id as key_user_id,
    k.currency as key_currency,
    k.digest = md5(k.client || e'\x1f' || k.key)::uuid as digest_holds,
    t.user_id,
    t.currency,
    t.kind,
    t.debit_account,
    t.amount,
    t.release_at,
    case t.kind when 'reserve' then w.metadata when 'hold' then h.metadata else t.metadata end as metadata,
    w.id is not null as withdrawal,
    w.destination,
    w.reference,
    w.made_by,
    t.made_by as asked_by,
    h.expires_at,
    c.id as hold_id,
    c.amount as hold_amount,
    l.payees,
    l.amounts,
    l.release_ats,
    v.reverses,
    v.reason,
    r.legs as reversed_legs,
    r.amounts as reversed_amounts
from movements as t
full join idempotency_keys as k on k.movement_id = t.id
left join withdrawals as w on w.id = t.id and w.user_id = t.user_id and t.kind = 'reserve'
left join holds as h on h.id = t.id and h.user_id = t.user_id and t.kind = 'hold'
left join holds as c on c.transfer_id = t.id and c.user_id = t.user_id and t.kind = 'capture'
left join legs as l on l.transfer_id = t.id and l.from_user_id = t.user_id and t.kind in ('send', 'capture')
left join reversals as v on v.id = t.id and v.user_id = t.user_id and t.kind in ('reversal', 'receive')
left join reversed_legs as r on r.reversal_id = t.id and r.user_id = t.user_id and t.kind = 'receive'
order by coalesce(t.id, k.movement_id);

-- name: archived_keys
select coalesce(sum(keys), 0)::bigint as keys from archived_balances;

-- name: create_bank_payouts
create temporary table if not exists bank_payouts (
    payout_id text, reference text, amount bigint, currency text, status text, created_at timestamptz, returned bigint
);

-- name: forget_bank_payouts
truncate bank_payouts;

-- name: add_bank_payouts
insert into bank_payouts
select *
from unnest(
    $1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[], $7::bigint[]
);

-- name: analyze_bank_payouts
analyze bank_payouts;

-- name: bank_payouts
-- All entries of the bank's books with our withdrawals. The bank knows a withdrawal by the 32 digits of its reference,
-- or, if it has none, by its id with hyphens.
select
    b.reference,
    b.payout_id,
    b.amount as bank_amount,
    b.currency as bank_currency,
    b.status as bank_status,
    b.returned as bank_returned,
    b.created_at < clock_timestamp() - interval '1 minute' as old,
    count(*) over (partition by b.reference) as entries,
    count(*) over (partition by b.payout_id) as namesakes,
    w.id,
    w.user_id,
    w.amount,
    w.currency,
    w.status,
    w.bank_reference,
    w.accepted_at is not null and w.next_attempt_at > clock_timestamp() - interval '1 minute' as asked_again,
    r.amount as returned
from bank_payouts as b
left join withdrawals as w on coalesce(replace(w.reference::text, '-', ''), w.id::text) = b.reference
left join transfers as r on r.user_id = w.user_id and r.reference = w.id and r.kind = 'return';

-- name: not_at_the_bank
-- Withdrawals that were completed here before the bank's books were read ($1), and that the books lack.
select w.id, w.user_id, w.amount, w.currency, w.status
from withdrawals as w
where
    w.status in ('completed', 'returned')
    and w.updated_at < $1
    and not exists (
        select from bank_payouts as b
        where b.reference = coalesce(replace(w.reference::text, '-', ''), w.id::text)
    );

-- name: withdrawals_now
select clock_timestamp() as now, count(*) as withdrawals from withdrawals;

-- name: clock
select clock_timestamp() as now;
