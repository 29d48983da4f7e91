-- name: try
-- A row that comes, moves (by the trigger function that withdrawals move by) and goes.
insert into write_trials (status) values ('pending') returning id;

-- name: try_move
update write_trials set status = 'processing' where id = $1;

-- name: try_remove
delete from write_trials where id = $1;

-- name: late
-- Whether there is a withdrawal that nobody has ended for so long ($1), though neither the bank has it nor payouts are
-- paused. Only the first of each status are looked at, in the order in which they are to be taken up.
select
    s.paused_reason,
    s.paused_at is null
    and exists (
        select 1
        from (values ('pending'), ('processing')) as open (status)
        cross join lateral (
            select w.created_at, w.accepted_at
            from withdrawals as w
            where w.status = open.status and w.status in ('pending', 'processing', 'requires_attention')
            order by w.ring_at
            limit 1000
        ) as first
        where first.accepted_at is null and first.created_at < (select clock_timestamp()) - $1::interval
    ) as is_late
from stack as s;
