-- name: revision
-- The number of changes of the keys, and whether there ever was a key: once there was one, logins are on.
select number, exists (select from api_keys) as any_key from api_keys_revision;

-- name: live
-- Keys that are not revoked; expiry is judged by the clock at each request.
select name, secret_hash, scopes, space, user_prefix, expires_at from api_keys where revoked_at is null;

-- name: all
select name, prefix, scopes, space, user_prefix, created_at, created_by, expires_at, revoked_at, last_used_at
from api_keys
order by created_at, prefix;

-- name: neighbours
-- Live keys with this name or in this space.
select name, space, user_prefix, (select count(*) from api_keys where revoked_at is null) as live
from api_keys
where revoked_at is null and (name = $1 or space = $2)
union all
select null, null, null, (select count(*) from api_keys where revoked_at is null);

-- name: create
insert into api_keys (name, prefix, secret_hash, scopes, space, user_prefix, expires_at, created_by)
values ($1, $2, $3, $4, $5, $6, now() + $7::interval, $8)
returning expires_at;

-- name: revoke
update api_keys set revoked_at = now(), revoked_by = $2
where revoked_at is null and (name = $1 or prefix = $1)
returning name, prefix;

-- name: used
update api_keys as k set last_used_at = greatest(k.last_used_at, u.at)
from unnest($1::bytea[], $2::timestamptz[]) as u (secret_hash, at)
where k.secret_hash = u.secret_hash;
