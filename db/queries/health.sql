-- name: try
-- A row that is inserted, updated (which runs the trigger function of withdrawals) and deleted.
insert into write_trials (status) values ('pending') returning id;

-- name: try_move
update write_trials set status = 'processing' where id = $1;

-- name: try_remove
delete from write_trials where id = $1;

-- name: late
-- Whether a withdrawal has been open for longer than $1, although the bank does not have it and payouts are not paused.
-- Only the first of each status are checked, in the order in which they are to be taken up.
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
