-- `wbs archive`: what is old and closed leaves the books, a few hundred movements per transaction.
--
-- What belongs together goes together, or stays: an origin (a charge, a transfer, a hold, a withdrawal, an adjustment)
-- with all rows that refer to it. It stays if one of these is younger than the boundary, or still open, or is the newest
-- of its wallet before the boundary: on that one the rest of the wallet's books stands.

-- name: take_turn
-- One archive at a time.
select pg_try_advisory_lock(hashtext('wbs archive'));

-- name: find_unfinished
select id, before, boundary, folder from archives where ended_at is null;

-- name: last
select before from archives order by boundary desc limit 1;

-- name: find_ended
select folder from archives where before = $1 and ended_at is not null;

-- name: proved
-- Whether an audit that found nothing began after $1, and none since that found something.
select coalesce(bool_and(violations = 0), false) as proved
from audit_runs
where started_at > $1 and violations is not null;

-- name: clock
select clock_timestamp() as now;

-- name: begin
insert into archives (before, boundary, folder, made_by) values ($1, $2, $3, $4) returning id;

-- name: present
-- The transactions that are at work now have lesser numbers.
select pg_snapshot_xmax(pg_current_snapshot())::text as transaction;

-- name: ended
-- Whether all transactions before the number $1 have ended.
select pg_snapshot_xmin(pg_current_snapshot()) >= $1::text::xid8 as ended;

-- name: waiting_events
-- How many statements' events have no number yet, though they are of before $1, and the oldest number that a webhook
-- still waits for among those of before $1, also by itself.
select
    (select count(*) from event_batches where at < $1) as unnumbered,
    (
        select min(w.seq)
        from webhook_endpoints as e
        cross join lateral (
            select
                least(
                    e.delivered_seq + 1,
                    (select min(p.seq) from webhook_parked as p where p.endpoint_id = e.id)
                ) as seq
        ) as w
        where
            e.status = 'enabled'
            and w.seq <= (select max(first_seq + count - 1) from events where at < $1)
    ) as waiting_for;

-- name: create_origins
create temporary table archive_origins (
    id uuid not null, user_id text collate "C" not null, currency text collate "C" not null, kind text not null,
    release_at timestamptz
) on commit delete rows;

-- name: create_rows
create temporary table archive_rows (
    origin uuid not null, user_id text collate "C" not null, currency text collate "C" not null, id uuid not null
) on commit delete rows;

-- name: create_staying
create temporary table archive_staying (id uuid primary key);

-- name: note_newest
-- The newest movement of each wallet before $1.
insert into archive_staying
select n.id
from wallets as w
cross join lateral (
    select t.id
    from transfers as t
    where t.user_id = w.user_id and t.currency = w.currency and t.id < $1
    order by t.id desc
    limit 1
) as n;

-- name: note_told
-- What events name that stay. An event is noted at the end of its statement, so one of just after $1 can be about a
-- movement of just before. A trial ($3) leaves out those that would have gone.
insert into archive_staying
select u.id
from events as e
cross join unnest(e.ids) as u (id)
where e.at < $1::timestamptz + interval '1 minute' and u.id < $2 and not ($3 and e.at < $1)
union
select u.id
from event_batches as b
cross join unnest(b.ids) as u (id)
where u.id < $2
on conflict do nothing;

-- name: guard
-- Whoever reverses something old holds this lock, shared: what it refers to must not leave meanwhile.
select pg_advisory_xact_lock(hashtext('wbs archive of origins'));

-- name: find_movements
-- The next $3 charges, transfers and captures from $1 on and before $2; returns the last one looked at.
with candidates as materialized (
    select id, user_id, currency, kind, reference, release_at
    from transfers
    where kind in ('charge', 'send', 'capture') and id > $1 and id < $2
    order by id
    limit $3
),

noted as (
    insert into archive_origins (id, user_id, currency, kind, release_at)
    select id, user_id, currency, kind, release_at from candidates where kind <> 'send' or reference = id
)

select id from candidates order by id desc limit 1;

-- name: find_holds
-- The same for holds that ended without a capture.
with candidates as materialized (
    select id, user_id, currency, status from holds where id > $1 and id < $2 order by id limit $3
),

noted as (
    insert into archive_origins (id, user_id, currency, kind)
    select id, user_id, currency, 'hold' from candidates where status in ('voided', 'expired')
)

select id from candidates order by id desc limit 1;

-- name: find_withdrawals
-- The same for withdrawals that ended before $4. Those that came back stay, and so do those that an operator adopted:
-- the bank's books are compared with these.
with candidates as materialized (
    select id, user_id, currency, status, updated_at, archived_at, made_by
    from withdrawals
    where id > $1 and id < $2
    order by id
    limit $3
),

noted as (
    insert into archive_origins (id, user_id, currency, kind)
    select id, user_id, currency, 'reserve'
    from candidates
    where
        status in ('completed', 'failed', 'cancelled')
        and updated_at < $4
        and archived_at is null
        and coalesce(made_by, '') not like 'operator:%'
)

select id from candidates order by id desc limit 1;

-- name: find_adjustments
with candidates as materialized (
    select id, user_id, currency, metadata
    from transfers
    where kind = 'adjustment' and id > $1 and id < $2
    order by id
    limit $3
),

noted as (
    insert into archive_origins (id, user_id, currency, kind)
    select id, user_id, currency, 'adjustment' from candidates where metadata -> 'adopted' is null
)

select id from candidates order by id desc limit 1;

-- name: gather
-- All rows of transfers that belong to the origins. One that is locked still lacks the row of its release, which is written
-- later: the greatest identifier stands for that, and keeps it here. (A look at locks in a statement of its own would see
-- neither, if a release was committed in between.)
insert into archive_rows (origin, user_id, currency, id)
select id, user_id, currency, id
from archive_origins
union all
-- The ends of locks and withdrawals.
select o.id, r.user_id, r.currency, r.id
from archive_origins as o
join transfers as r on r.user_id = o.user_id and r.reference = o.id and r.kind in ('payout', 'refund', 'release')
where o.kind = 'reserve' or (o.kind = 'charge' and o.release_at is not null)
union all
select o.id, l.user_id, l.currency, 'ffffffff-ffff-ffff-ffff-ffffffffffff'
from archive_origins as o
join locks as l
    on l.user_id = o.user_id and l.currency = o.currency and l.release_at = o.release_at and l.charge_id = o.id
union all
-- The ends of holds.
select o.id, v.user_id, v.currency, v.id
from archive_origins as o
join transfers as v on v.user_id = o.user_id and v.reference = o.id and v.kind = 'void'
where o.kind = 'hold'
union all
-- The hold of a capture, and what was left of it.
select o.id, h.user_id, h.currency, h.id
from archive_origins as o
join holds as h on h.transfer_id = o.id and h.user_id = o.user_id
where o.kind = 'capture'
union all
select o.id, v.user_id, v.currency, v.id
from archive_origins as o
join holds as h on h.transfer_id = o.id and h.user_id = o.user_id
join transfers as v on v.user_id = h.user_id and v.reference = h.id and v.kind = 'void'
where o.kind = 'capture'
union all
-- What payees received, and the ends of their locks.
select o.id, l.to_user_id, l.currency, l.receive_id
from archive_origins as o
join transfer_legs as l on l.transfer_id = o.id and l.from_user_id = o.user_id
where o.kind in ('send', 'capture')
union all
select o.id, r.user_id, r.currency, r.id
from archive_origins as o
join transfer_legs as l on l.transfer_id = o.id and l.from_user_id = o.user_id and l.release_at is not null
join transfers as r
    on r.user_id = l.to_user_id and r.reference = l.receive_id and r.kind in ('payout', 'refund', 'release')
where o.kind in ('send', 'capture')
union all
select o.id, k.user_id, k.currency, 'ffffffff-ffff-ffff-ffff-ffffffffffff'
from archive_origins as o
join transfer_legs as l on l.transfer_id = o.id and l.from_user_id = o.user_id
join locks as k
    on k.user_id = l.to_user_id
    and k.currency = l.currency
    and k.release_at = l.release_at
    and k.charge_id = l.receive_id
where o.kind in ('send', 'capture')
union all
-- What was reversed, and from whom that was taken.
select o.id, v.user_id, v.currency, v.id
from archive_origins as o
join reversals as v on v.reverses = o.id and v.user_id = o.user_id
union all
select o.id, l.to_user_id, l.currency, r.send_id
from archive_origins as o
join reversals as v on v.reverses = o.id and v.user_id = o.user_id
join reversal_legs as r on r.reversal_id = v.id and r.user_id = v.user_id
join transfer_legs as l on l.transfer_id = o.id and l.from_user_id = o.user_id and l.leg = r.leg;

-- name: keep
-- Leaves out the origins that must stay: with a row that is younger than the boundary ($1), noted as one that stays, or
-- not as it should be. Returns how many.
with staying as materialized (
    select distinct r.origin
    from archive_rows as r
    left join transfers as t on t.user_id = r.user_id and t.currency = r.currency and t.id = r.id
    left join archive_staying as a on a.id = r.id
    where
        r.id >= $1
        or t.available_after is null
        or a.id is not null
),

left_out as (
    delete from archive_origins as o using staying as s where s.origin = o.id returning 1
),

rows_left_out as (
    delete from archive_rows as r using staying as s where s.origin = r.origin
)

select count(*) from left_out;

-- name: counts
select kind, count(*) as number from archive_origins group by kind;

-- name: rows
select count(*) from archive_rows;

-- name: copy_transfers
select t.*
from archive_rows as r
join transfers as t on t.user_id = r.user_id and t.currency = r.currency and t.id = r.id;

-- name: copy_transfer_legs
select l.*
from archive_origins as o
join transfer_legs as l on l.transfer_id = o.id and l.from_user_id = o.user_id;

-- name: copy_holds
select h.* from archive_rows as r join holds as h on h.id = r.id and h.user_id = r.user_id;

-- name: copy_reversals
select v.* from archive_origins as o join reversals as v on v.reverses = o.id and v.user_id = o.user_id;

-- name: copy_reversal_legs
select l.*
from archive_origins as o
join reversals as v on v.reverses = o.id and v.user_id = o.user_id
join reversal_legs as l on l.reversal_id = v.id and l.user_id = v.user_id;

-- name: copy_charge_reversals
select c.* from archive_origins as o join charge_reversals as c on c.charge_id = o.id and c.user_id = o.user_id;

-- name: copy_withdrawals
select w.* from archive_origins as o join withdrawals as w on w.id = o.id and w.user_id = o.user_id where o.kind = 'reserve';

-- name: copy_withdrawal_history
select h.*
from archive_origins as o
join withdrawal_history as h on h.withdrawal_id = o.id and h.user_id = o.user_id
where o.kind = 'reserve';

-- name: copy_withdrawal_attempts
select a.*
from archive_origins as o
join withdrawal_attempts as a on a.withdrawal_id = o.id and a.user_id = o.user_id
where o.kind = 'reserve';

-- name: remove_reversal_legs
delete from reversal_legs as l
using archive_origins as o, reversals as v
where v.reverses = o.id and v.user_id = o.user_id and l.reversal_id = v.id and l.user_id = v.user_id;

-- name: remove_reversals
delete from reversals as v using archive_origins as o where v.reverses = o.id and v.user_id = o.user_id;

-- name: remove_charge_reversals
delete from charge_reversals as c using archive_origins as o where c.charge_id = o.id and c.user_id = o.user_id;

-- name: remove_transfer_legs
delete from transfer_legs as l using archive_origins as o where l.transfer_id = o.id and l.from_user_id = o.user_id;

-- name: remove_holds
delete from holds as h using archive_rows as r where h.id = r.id and h.user_id = r.user_id;

-- name: remove_withdrawal_attempts
delete from withdrawal_attempts as a
using archive_origins as o
where o.kind = 'reserve' and a.withdrawal_id = o.id and a.user_id = o.user_id;

-- name: remove_withdrawal_history
-- All but the last entry, with which the withdrawal ended.
delete from withdrawal_history as h
using archive_origins as o, withdrawals as w
where
    o.kind = 'reserve'
    and w.id = o.id
    and w.user_id = o.user_id
    and h.withdrawal_id = o.id
    and h.user_id = o.user_id
    and h.seq < w.history_length;

-- name: mark_withdrawals
-- The withdrawal itself stays: the bank may still ask about it, or return it.
update withdrawals as w
set archived_at = clock_timestamp()
from archive_origins as o
where o.kind = 'reserve' and w.id = o.id and w.user_id = o.user_id;

-- name: remove_transfers
delete from transfers as t
using archive_rows as r
where t.user_id = r.user_id and t.currency = r.currency and t.id = r.id;

-- name: copy_events
select *
from events
where first_seq in (select first_seq from events where at < $1 order by first_seq limit $2);

-- name: count_events
select count(*) from events where at < $1;

-- name: remove_events
delete from events
where first_seq in (select first_seq from events where at < $1 order by first_seq limit $2);

-- name: files
select name, rows, bytes, sha256 from archive_files where archive_id = $1 order by name;

-- name: note_file
insert into archive_files as f (archive_id, name, rows, bytes) values ($1, $2, $3, $4)
on conflict (archive_id, name) do update set rows = f.rows + excluded.rows, bytes = excluded.bytes;

-- name: seal_file
update archive_files set sha256 = $3 where archive_id = $1 and name = $2;

-- name: finish
update archives set ended_at = clock_timestamp() where id = $1;

-- name: allow_deletes
grant delete on transfers to current_user;

-- name: refuse_deletes
revoke delete on transfers from current_user;
