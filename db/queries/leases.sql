-- name: look
select holder, renewals from leases where name = $1;

-- name: renew
update leases set renewals = renewals + 1 where name = $1 and holder = $2 returning renewals;

-- name: take_free
-- The first lease ever, or the first after its holder gave it up.
insert into leases (name, holder) values ($1, $2) on conflict (name) do nothing returning renewals;

-- name: take_over
-- Compare and set: take it from a holder that has not renewed it since it was seen ($3, $4).
update leases set holder = $2, renewals = renewals + 1
where name = $1 and holder = $3 and renewals = $4
returning renewals;

-- name: give_up
delete from leases where name = $1 and holder = $2;
