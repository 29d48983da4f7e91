-- name: cursor
select after from bank_cursor;

-- name: advance
update bank_cursor set after = $1;
