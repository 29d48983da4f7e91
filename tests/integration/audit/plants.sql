-- Errors to plant. Each block begins with its name, then what the audit must say: invariant, kind, subject.
-- {names} are identifiers of the books that conftest.py makes; * in a subject is any text; a block with [a, b, c] behind
-- its name is several plants, with a, b and c in place of $.

-- plant: wallet.$ + 1 [available, locked, held] => 1 balance: wallet alice USD
update wallets set $ = $ + 1 where user_id = 'alice' and currency = 'USD';

-- plant: wallet.$ - 1 [available, locked, held] => 1 balance: wallet alice USD
update wallets set $ = $ - 1 where user_id = 'alice' and currency = 'USD';

-- plant: wallet.$ null [available, locked, held] => 1 balance: wallet bob USD
update wallets set $ = null where user_id = 'bob';

-- plant: wallet, 1 from available to $ [locked, held] => 2 $: wallet alice USD
update wallets set available = available - 1, $ = $ + 1 where user_id = 'alice' and currency = 'USD';

-- plant: wallet.$ below zero [available, locked, held] => 3 below_zero: wallet bob USD
update wallets set $ = -5 where user_id = 'bob';

-- plant: wallet.transactions + 1 => 1 transactions: wallet bob USD
update wallets set transactions = transactions + 1 where user_id = 'bob';

-- plant: wallet.last_at later => 3 last_at: wallet bob USD
update wallets set last_at = last_at + interval '1 hour' where user_id = 'bob';

-- plant: wallet.last_at earlier => 3 last_at: wallet bob USD
update wallets set last_at = last_at - interval '1 hour' where user_id = 'bob';

-- plant: wallet.last_at null => 3 last_at: wallet bob USD
update wallets set last_at = null where user_id = 'bob';

-- plant: wallet deleted => 1 no_wallet: wallet bob USD
delete from wallets where user_id = 'bob';

-- plant: wallet doubled => 1 wallet_doubled: wallet bob USD
insert into wallets select * from wallets where user_id = 'bob';

-- plant: wallet for nothing => 1 balance: wallet eve USD
insert into wallets (user_id, currency, available, locked, held, transactions) values ('eve', 'USD', 1, 0, 0, 0);

-- plant: wallet of another currency => 1 no_wallet: wallet bob USD
update wallets set currency = 'GBP' where user_id = 'bob';

-- plant: wallet of another user => 1 balance: wallet eve USD
update wallets set user_id = 'eve' where user_id = 'bob';

-- plant: balances of two wallets swapped => 1 balance: wallet bob USD
update wallets as w set available = o.available from wallets as o
where w.currency = 'USD' and o.currency = 'USD' and w.user_id <> o.user_id;

-- plant: transfer.$ + 1 [total_after, available_after, locked_after, held_after] => 1 balances_after: transfer {charge} of alice
update transfers set $ = $ + 1 where id = '{charge}';

-- plant: transfer.$ - 1 [total_after, available_after, locked_after, held_after] => 1 balances_after: transfer {charge} of alice
update transfers set $ = $ - 1 where id = '{charge}';

-- plant: transfer.$ null [total_after, available_after, locked_after, held_after] => 1 balances_after: transfer {charge} of alice
update transfers set $ = null where id = '{charge}';

-- plant: split shifted within its total => 1 balances_after: transfer {charge} of alice
update transfers set available_after = available_after - 1, held_after = held_after + 1 where id = '{charge}';

-- plant: split and total + 1 => 1 balances_after: transfer {charge} of alice
update transfers set available_after = available_after + 1, total_after = total_after + 1 where id = '{charge}';

-- plant: all total_after + 7 => 1 balances_after: transfer {released} of alice
update transfers set total_after = total_after + 7 where user_id = 'alice';

-- plant: whole chain + 7 => 1 balances_after: transfer {other} of bob
update transfers set total_after = total_after + 7, available_after = available_after + 7 where user_id = 'bob';

-- plant: splits of two rows swapped => 1 balances_after: transfer {locked} of alice
update transfers as t
set available_after = o.available_after, locked_after = o.locked_after, total_after = o.total_after
from transfers as o
where t.id in ('{locked}', '{locked_too}') and o.id in ('{locked}', '{locked_too}') and t.id <> o.id;

-- plant: split below zero => 3 below_zero: transfer {charge} of alice
update transfers set held_after = -1 where id = '{charge}';

-- plant: transfer.amount $ 1 [+, -] => 1 balances_after: transfer {charge} of alice
update transfers set amount = amount $ 1 where id = '{charge}';

-- plant: transfer.amount $ [0, -5, null] => 1 illegal_transfer: transfer {charge} of alice
update transfers set amount = $ where id = '{charge}';

-- plant: amounts of two charges swapped => 6 fingerprint: key * of default
update transfers set amount = case id when '{charge}' then 700 else 10000 end where id in ('{charge}', '{other}');

-- plant: transfer.kind $ [return, adjustment, payout, nonsense] => 1 illegal_transfer: transfer {locked} of alice
update transfers set kind = '$' where id = '{locked}';

-- plant: transfer.$ null [kind, debit_account, credit_account] => 1 illegal_transfer: transfer {charge} of alice
update transfers set $ = null where id = '{charge}';

-- plant: transfer.credit_account changed => 1 illegal_transfer: transfer {charge} of alice
update transfers set credit_account = 'held' where id = '{charge}';

-- plant: charge from available to locked => 2 lock_missing: lock of charge {charge} of alice
update transfers set credit_account = 'locked', release_at = now() + interval '1 year' where id = '{charge}';

-- plant: reference of a charge changed => 1 wrong_reference: transfer {charge} of alice
update transfers set reference = '{other}' where id = '{charge}';

-- plant: reference of a reserve changed => 1 wrong_reference: transfer {pending} of alice
update transfers set reference = '{processing}' where id = '{pending}';

-- plant: reference of a payout null => 1 wrong_reference: transfer * of alice
update transfers set reference = null where kind = 'payout' and reference = '{completed}';

-- plant: payouts of two withdrawals swapped => 4 transfer_amount: withdrawal {completed} of alice
update transfers
set reference = case reference when '{completed}' then '{completed_too}'::uuid else '{completed}' end
where kind = 'payout' and reference in ('{completed}', '{completed_too}');

-- plant: charge deleted => 6 key_without_movement: key * of default
delete from transfers where id = '{charge}';

-- plant: first row deleted => 1 balances_after: transfer * of alice
delete from transfers where id = '{released}';

-- plant: last row deleted => 1 balance: wallet bob USD
delete from transfers where id = '{other_locked}';

-- plant: charge doubled => 1 balances_after: transfer {charge} of alice
insert into transfers select * from transfers where id = '{charge}';

-- plant: transfer.user_id of a charge => 1 balance: wallet alice USD
update transfers set user_id = 'bob' where id = '{charge}';

-- plant: transfer.user_id of a payout => 4 no_withdrawal: withdrawal {completed} of bob
update transfers set user_id = 'bob' where kind = 'payout' and reference = '{completed}';

-- plant: transfer.currency of a charge => 6 key_of_another: key * of default
update transfers set currency = 'EUR' where id = '{charge}';

-- plant: transfer.currency of a payout => 4 transfer_currency: withdrawal {completed} of alice
update transfers set currency = 'EUR' where kind = 'payout' and reference = '{completed}';

-- plant: transfer.id changed => 6 movement_without_key: charge * of alice
update transfers set id = (left(id::text, 24) || '000000000000')::uuid, reference = (left(id::text, 24) || '000000000000')::uuid
where id = '{euros}';

-- plant: identifiers of two rows swapped => 3 out_of_time: transfer {locked} of alice
update transfers set created_at = (select created_at from transfers where id = '{locked_too}') + interval '1 second'
where id = '{locked}';

-- plant: transfer.created_at earlier => 3 out_of_time: transfer {charge} of alice
update transfers set created_at = created_at - interval '1 day' where id = '{charge}';

-- plant: transfer.created_at later => 3 out_of_time: transfer {other_locked} of bob
update transfers set created_at = created_at + interval '1 second' where id = '{other_locked}';

-- plant: transfer.created_at $ [infinity, -infinity] => 3 out_of_time: transfer {other_locked} of bob
update transfers set created_at = '$' where id = '{other_locked}';

-- plant: transfer.created_at null => 3 out_of_time: transfer {charge} of alice
update transfers set created_at = null where id = '{charge}';

-- plant: metadata of a charge changed => 6 fingerprint: key * of default
update transfers set metadata = '{{"order": 8}}' where id = '{charge}';

-- plant: metadata of a charge removed => 6 fingerprint: key * of default
update transfers set metadata = null where id = '{charge}';

-- plant: locked without a date => 1 illegal_transfer: transfer {locked} of alice
update transfers set release_at = null where id = '{locked}';

-- plant: a date without a lock => 1 illegal_transfer: transfer {charge} of alice
update transfers set release_at = now() where id = '{charge}';

-- plant: locked for ever => 1 illegal_transfer: transfer {locked} of alice
update transfers set release_at = 'infinity' where id = '{locked}';

-- plant: release_at of the charge moved => 2 lock_differs: lock of charge {locked} of alice
update transfers set release_at = release_at - interval '1 day' where id = '{locked}';

-- plant: release_at of charge and lock moved => 6 fingerprint: key * of default
update transfers set release_at = '2046-01-01' where id = '{locked}';
update locks set release_at = '2046-01-01' where charge_id = '{locked}';

-- plant: release_at of the released charge moved => 2 released_early: release * of charge {released} of alice
update transfers set release_at = '2046-01-01' where id = '{released}';

-- plant: an adjustment confirmed by the same person => 1 same_person: transfer {taken} of carol
update transfers set made_by = 'eve' where id = '{taken}';

-- plant: an adjustment of another amount => 6 fingerprint: key *
update transfers set amount = amount + 1 where id = '{adjusted}';

-- plant: an adjustment the other way => 6 fingerprint: key *
update transfers set debit_account = credit_account, credit_account = debit_account where id = '{taken}';

-- plant: an adjustment for another reason => 6 fingerprint: key *
update transfers set metadata = '{{"reason": "another"}}' where id = '{adjusted}';

-- plant: an adjustment of other words => 1 unexplained_adjustment: transfer {adjusted} of carol
update transfers set metadata = '["reason"]' where id = '{adjusted}';

-- plant: an adjustment whose key is gone => 6 movement_without_key: adjustment {adjusted} of carol
delete from idempotency_keys where movement_id = '{adjusted}';

-- plant: an adjustment of another wallet => 6 key_of_another: key *
update transfers set user_id = 'dave' where id = '{adjusted}';

-- plant: an adjustment by nobody => 1 unexplained_adjustment: transfer 01ffffff-0000-7000-8000-000000000000 of bob
insert into transfers (id, user_id, currency, kind, debit_account, credit_account, amount, reference, metadata)
values (
    '01ffffff-0000-7000-8000-000000000000', 'bob', 'USD', 'adjustment', 'funding', 'available', 5,
    '01ffffff-0000-7000-8000-000000000000', '{{"reason": "x"}}'
);

-- plant: an adjustment without a reason => 1 unexplained_adjustment: transfer 01ffffff-0000-7000-8000-000000000000 of bob
insert into transfers (id, user_id, currency, kind, debit_account, credit_account, amount, reference, made_by)
values (
    '01ffffff-0000-7000-8000-000000000000', 'bob', 'USD', 'adjustment', 'funding', 'available', 5,
    '01ffffff-0000-7000-8000-000000000000', 'operator:ann'
);

-- plant: release doubled => 2 released_twice: release * of charge {released} of alice
insert into transfers select * from transfers where reference = '{released}' and kind = 'release';

-- plant: release deleted => 2 lock_missing: lock of charge {released} of alice
delete from transfers where reference = '{released}' and kind = 'release';

-- plant: release of $ [charge, other_locked, pending] => 2 release_unfounded: release * of charge {$} of alice
update transfers set reference = '{$}' where kind = 'release';

-- plant: release of a charge that is still locked => 2 release_differs: release * of charge {locked} of alice
update transfers set reference = '{locked}' where kind = 'release';
update transfers set release_at = now() - interval '1 day' where id = '{locked}';

-- plant: release.amount + 1 => 2 release_differs: release * of charge {released} of alice
update transfers set amount = amount + 1 where kind = 'release';

-- plant: release by another user => 2 lock_missing: lock of charge {released} of alice
update transfers set user_id = 'bob' where kind = 'release';

-- plant: lock deleted => 2 lock_missing: lock of charge {locked} of alice
delete from locks where charge_id = '{locked}';

-- plant: lock doubled => 2 lock_doubled: lock of charge {locked} of alice
insert into locks select * from locks where charge_id = '{locked}';

-- plant: lock twice, with two dates => 2 lock_doubled: lock of charge {locked} of alice
insert into locks
select user_id, currency, release_at + interval '1 day', charge_id, amount from locks where charge_id = '{locked}';

-- plant: lock.amount $ [+1, -1, null] => 2 lock_differs: lock of charge {locked} of alice
update locks set amount = amount + ($) where charge_id = '{locked}';

-- plant: amounts of two locks swapped => 2 lock_differs: lock of charge {locked} of alice
update locks set amount = case charge_id when '{locked}' then 60 else 50 end
where charge_id in ('{locked}', '{locked_too}');

-- plant: lock brought forward => 2 lock_differs: lock of charge {locked} of alice
update locks set release_at = now() where charge_id = '{locked}';

-- plant: lock put off to $ [9000-01-01, infinity] => 2 lock_differs: lock of charge {locked} of alice
update locks set release_at = '$' where charge_id = '{locked}';

-- plant: lock.release_at null => 2 lock_differs: lock of charge {locked} of alice
update locks set release_at = null where charge_id = '{locked}';

-- plant: lock of another user => 2 lock_missing: lock of charge {locked} of alice
update locks set user_id = 'bob' where charge_id = '{locked}';

-- plant: lock of another currency => 2 lock_differs: lock of charge {locked} of alice
update locks set currency = 'EUR' where charge_id = '{locked}';

-- plant: lock of another charge => 2 lock_unfounded: lock of charge {charge} of alice
update locks set charge_id = '{charge}' where charge_id = '{locked}';

-- plant: lock of what is released => 2 lock_unfounded: lock of charge {released} of alice
insert into locks select user_id, currency, release_at, id, amount from transfers where id = '{released}';

-- plant: withdrawal.amount $ [+1, -1] => 4 transfer_amount: withdrawal {completed} of alice
update withdrawals set amount = amount + ($) where id = '{completed}';

-- plant: withdrawal.amount of an open one + 1 => 2 held: wallet alice USD
update withdrawals set amount = amount + 1 where id = '{processing}';

-- plant: amounts of two open withdrawals swapped => 4 transfer_amount: withdrawal {pending} of alice
update withdrawals set amount = case id when '{pending}' then 102 else 100 end where id in ('{pending}', '{processing}');

-- plant: withdrawal.$ null [amount, status, attempts, rounds, next_attempt_at, ring_at, history_length, created_at, updated_at] => 3 incomplete: withdrawal {processing} of alice
update withdrawals set $ = null where id = '{processing}';

-- plant: withdrawal deleted => 4 no_withdrawal: withdrawal {completed} of alice
delete from withdrawals where id = '{completed}';

-- plant: withdrawal doubled => 3 withdrawal_doubled: withdrawal {completed} of alice
insert into withdrawals select * from withdrawals where id = '{completed}';

-- plant: withdrawal without reserve => 4 transfers: withdrawal 01ffffff-0000-7000-8000-000000000000 of alice
insert into withdrawals (id, user_id, currency, amount, status, attempts, rounds, next_attempt_at, ring_at, history_length, created_at, updated_at)
values ('01ffffff-0000-7000-8000-000000000000', 'alice', 'USD', 5, 'pending', 0, 0, now(), now(), 1, now(), now());

-- plant: reserve without withdrawal => 4 no_withdrawal: withdrawal {pending} of alice
delete from withdrawals where id = '{pending}';
delete from outbox where withdrawal_id = '{pending}';

-- plant: reserve deleted => 4 transfers: withdrawal {pending} of alice
delete from transfers where id = '{pending}';

-- plant: withdrawal of another user => 4 no_withdrawal: withdrawal {completed} of alice
update withdrawals set user_id = 'bob' where id = '{completed}';

-- plant: withdrawal of another currency => 4 transfer_currency: withdrawal {completed} of alice
update withdrawals set currency = 'EUR' where id = '{completed}';

-- plant: another withdrawal's identifier => 4 no_withdrawal: withdrawal {completed} of alice
update withdrawals set id = '{charge}' where id = '{completed}';

-- plant: status of $ failed [completed, pending, returned] => 4 transfers: withdrawal {$} of alice
update withdrawals set status = 'failed' where id = '{$}';

-- plant: status of $ processing [completed, failed, cancelled, pending, requires_attention] => 3 history_end: withdrawal {$} of alice
update withdrawals set status = 'processing' where id = '{$}';

-- plant: status completed, never paid [processing, failed, cancelled, pending] => 3 bank_reference: withdrawal {$} of alice
update withdrawals set status = 'completed' where id = '{$}';

-- plant: status unknown => 3 unknown_state: withdrawal {completed} of alice
update withdrawals set status = 'paid' where id = '{completed}';

-- plant: failed although paid => 4 transfers: withdrawal {completed} of alice
update withdrawals set status = 'failed', bank_reference = null where id = '{completed}';

-- plant: returned, history and all, without the money => 4 transfers: withdrawal {completed} of alice
update withdrawals set status = 'returned', history_length = 4 where id = '{completed}';
insert into withdrawal_history (user_id, withdrawal_id, seq, status, at, reason)
values ('alice', '{completed}', 4, 'returned', now(), 'x');

-- plant: paid twice => 4 transfers: withdrawal {completed} of alice
insert into transfers (id, user_id, currency, kind, debit_account, credit_account, amount, total_after, reference, created_at)
select '01ffffff-0000-7000-8000-000000000000', user_id, currency, kind, debit_account, credit_account, amount, 0, reference, now()
from transfers where kind = 'payout' and reference = '{completed}';

-- plant: paid and given back => 4 transfers: withdrawal {completed} of alice
insert into transfers (id, user_id, currency, kind, debit_account, credit_account, amount, total_after, reference, created_at)
values (
    '01ffffff-0000-7000-8000-000000000000', 'alice', 'USD', 'refund', 'held', 'available', 104, 0, '{completed}', now()
);

-- plant: $ deleted [payout, return] => 4 transfers: withdrawal {returned} of alice
delete from transfers where kind = '$' and reference = '{returned}';

-- plant: refund deleted [failed, cancelled] => 4 transfers: withdrawal {$} of alice
delete from transfers where kind = 'refund' and reference = '{$}';

-- plant: payout of another amount [99, 105, 1] => 4 transfer_amount: withdrawal {completed} of alice
update transfers set amount = $ where kind = 'payout' and reference = '{completed}';

-- plant: refund of another amount => 4 transfer_amount: withdrawal {failed} of alice
update transfers set amount = amount + 1 where kind = 'refund' and reference = '{failed}';

-- plant: more returned than paid => 4 transfer_amount: withdrawal {returned} of alice
update transfers set amount = amount + 1 where kind = 'return';

-- plant: a payout without a withdrawal => 4 no_withdrawal: withdrawal {charge} of alice
update transfers set reference = '{charge}' where kind = 'payout' and reference = '{completed}';

-- plant: withdrawal.bank_reference null [completed, returned] => 3 bank_reference: withdrawal {$} of alice
update withdrawals set bank_reference = null where id = '{$}';

-- plant: withdrawal.bank_reference of $ [pending, processing, failed, cancelled, requires_attention] => 3 bank_reference: withdrawal {$} of alice
update withdrawals set bank_reference = 'x' where id = '{$}';

-- plant: withdrawal.bank_reference empty => 3 bank_reference: withdrawal {completed} of alice
update withdrawals set bank_reference = '' where id = '{completed}';

-- plant: withdrawal.$ of one that failed null [failure_code, failure_reason] => 3 failure: withdrawal {failed} of alice
update withdrawals set $ = null where id = '{failed}';

-- plant: withdrawal.failure_code of $ [pending, cancelled, completed] => 3 failure: withdrawal {$} of alice
update withdrawals set failure_code = 'x' where id = '{$}';

-- plant: withdrawal.attempts 0 [processing, completed, failed, requires_attention, returned] => 3 attempts: withdrawal {$} of alice
update withdrawals set attempts = 0 where id = '{$}';

-- plant: withdrawal.attempts 1 [pending, cancelled] => 3 attempts: withdrawal {$} of alice
update withdrawals set attempts = 1 where id = '{$}';

-- plant: withdrawal.attempts negative => 3 attempts: withdrawal {completed} of alice
update withdrawals set attempts = -1 where id = '{completed}';

-- plant: withdrawal.rounds $ [-1, 7] => 3 rounds: withdrawal {processing} of alice
update withdrawals set rounds = $ where id = '{processing}';

-- plant: withdrawal.next_attempt_at $ [infinity, -infinity, 2046-01-01, 1970-01-01] => 3 never_due: withdrawal {processing} of alice
update withdrawals set next_attempt_at = '$' where id = '{processing}';

-- plant: withdrawal.ring_at $ [infinity, -infinity, 2046-01-01, 1970-01-01] => 3 never_due: withdrawal {processing} of alice
update withdrawals set ring_at = '$' where id = '{processing}';

-- plant: pending, never announced => 3 never_due: withdrawal {pending} of alice
update withdrawals set ring_at = 'infinity' where id = '{pending}';
delete from outbox where withdrawal_id = '{pending}';

-- plant: never due => 3 never_due: withdrawal {pending} of alice
update withdrawals set next_attempt_at = 'infinity', ring_at = 'infinity' where id = '{pending}';

-- plant: withdrawal.created_at $ [- interval '1 day', + interval '1 second'] => 3 created_at: withdrawal {completed} of alice
update withdrawals set created_at = created_at $ where id = '{completed}';

-- plant: withdrawal.updated_at of what is processing [infinity, -infinity, 2046-01-01, 2001-01-01] => 3 updated_at: withdrawal {processing} of alice
update withdrawals set updated_at = '$' where id = '{processing}';

-- plant: withdrawal.updated_at $ [- interval '1 day', + interval '1 year'] => 3 updated_at: withdrawal {completed} of alice
update withdrawals set updated_at = updated_at $ where id = '{completed}';

-- plant: withdrawal.updated_at $ [infinity, -infinity] => 3 updated_at: withdrawal {completed} of alice
update withdrawals set updated_at = '$' where id = '{completed}';

-- plant: withdrawal.updated_at + 1 s [completed, failed, cancelled, returned, requires_attention, pending] => 3 updated_at: withdrawal {$} of alice
update withdrawals set updated_at = updated_at + interval '1 second' where id = '{$}';

-- plant: withdrawal.first_attempt_at $ [null, '2046-01-01', '2001-01-01', 'infinity'] => 3 first_attempt_at: withdrawal {completed} of alice
update withdrawals set first_attempt_at = $ where id = '{completed}';

-- plant: withdrawal.first_attempt_at of what was never begun => 3 first_attempt_at: withdrawal {pending} of alice
update withdrawals set first_attempt_at = now() where id = '{pending}';

-- plant: withdrawal.accepted_at $ [2046-01-01, 2001-01-01, infinity] => 3 accepted_at: withdrawal {processing} of alice
update withdrawals set accepted_at = '$' where id = '{processing}';

-- plant: withdrawal.accepted_at of what was never begun => 3 accepted_at: withdrawal {pending} of alice
update withdrawals set accepted_at = created_at where id = '{pending}';

-- plant: withdrawal.looked_up_at $ [2046-01-01, infinity, -infinity] => 3 looked_up_at: withdrawal {processing} of alice
update withdrawals set looked_up_at = '$' where id = '{processing}';

-- plant: withdrawal.reference null => 6 reference: withdrawal {completed} of alice
update withdrawals set reference = null where id = '{completed}';

-- plant: withdrawal.reference changed => 6 reference: withdrawal {completed} of alice
update withdrawals set reference = gen_random_uuid() where id = '{completed}';

-- plant: references of two withdrawals swapped => 6 reference: withdrawal {completed} of alice
update withdrawals as w set reference = o.reference from withdrawals as o
where w.id in ('{completed}', '{failed}') and o.id in ('{completed}', '{failed}') and w.id <> o.id;

-- plant: one reference for two withdrawals => 3 reference_doubled: reference * of alice
update withdrawals set reference = (select reference from withdrawals where id = '{failed}') where id = '{completed}';

-- plant: withdrawal.made_by changed => 6 made_by: withdrawal {completed} of alice
update withdrawals set made_by = 'mallory' where id = '{completed}';

-- plant: withdrawal passed off as adopted => 6 movement_without_key: reserve {completed} of alice
update withdrawals set made_by = 'operator:mallory' where id = '{completed}';
delete from idempotency_keys where movement_id = '{completed}';

-- plant: history.made_by nobody known => 3 moved_by: withdrawal {completed} of alice
update withdrawal_history set made_by = 'mallory' where withdrawal_id = '{completed}' and seq = 3;

-- plant: withdrawal.destination $ [null, '{{"iban": "Y"}}'] => 6 fingerprint: key * of default
update withdrawals set destination = $ where id = '{completed}';

-- plant: withdrawal.metadata $ [null, '{{"n": 2}}'] => 6 fingerprint: key * of default
update withdrawals set metadata = $ where id = '{completed}';

-- plant: destinations of two withdrawals swapped => 6 fingerprint: key * of default
update withdrawals set destination = '{{"iban": "Z"}}' where id in ('{completed}', '{completed_too}');

-- plant: withdrawal.history_length $ 1 [+, -] => 3 history_length: withdrawal {completed} of alice
update withdrawals set history_length = history_length $ 1 where id = '{completed}';

-- plant: history row $ deleted [2, 3] => 3 history_length: withdrawal {completed} of alice
delete from withdrawal_history where withdrawal_id = '{completed}' and seq = $;

-- plant: history deleted => 3 history_end: withdrawal {completed} of alice
delete from withdrawal_history where withdrawal_id = '{completed}';

-- plant: history row doubled => 3 history_gap: withdrawal {completed} of alice
insert into withdrawal_history select * from withdrawal_history where withdrawal_id = '{completed}' and seq = 3;

-- plant: history out of order => 3 illegal_path: withdrawal {completed} of alice
update withdrawal_history set seq = 5 - seq where withdrawal_id = '{completed}' and seq > 1;

-- plant: history with a gap => 3 history_gap: withdrawal {completed} of alice
update withdrawal_history set seq = 4 where withdrawal_id = '{completed}' and seq = 3;
update withdrawals set history_length = 4 where id = '{completed}';

-- plant: history.seq $ [0, -1, null] => 3 history_gap: withdrawal {completed} of alice
update withdrawal_history set seq = $ where withdrawal_id = '{completed}' and seq = 3;

-- plant: history.status $ [failed, cancelled, pending, returned] => 3 illegal_path: withdrawal {completed} of alice
update withdrawal_history set status = '$' where withdrawal_id = '{completed}' and seq = 2;

-- plant: history.status $ at the end [failed, requires_attention] => 3 history_end: withdrawal {completed} of alice
update withdrawal_history set status = '$' where withdrawal_id = '{completed}' and seq = 3;

-- plant: history.status $ [paid, null] => 3 unknown_state: withdrawal {completed} of alice
update withdrawal_history set status = nullif('$', 'null') where withdrawal_id = '{completed}' and seq = 3;

-- plant: history that begins with another state => 3 illegal_path: withdrawal {completed} of alice
insert into withdrawal_history (user_id, withdrawal_id, seq, status, at, reason)
values ('alice', '{completed}', 1, 'processing', (select created_at from transfers where id = '{completed}'), 'x');

-- plant: history with two ends => 3 two_ends: withdrawal {completed} of alice
insert into withdrawal_history (user_id, withdrawal_id, seq, status, at, reason)
values ('alice', '{completed}', 4, 'failed', now(), 'x');

-- plant: history.at $ [- interval '1 day', + interval '1 day'] => 3 history_time: withdrawal {completed} of alice
update withdrawal_history set at = at $ where withdrawal_id = '{completed}' and seq = 2;

-- plant: history.at of the end $ [- interval '1 day', + interval '1 hour'] => 3 *: withdrawal {completed} of alice
update withdrawal_history set at = at $ where withdrawal_id = '{completed}' and seq = 3;

-- plant: history.at $ [infinity, -infinity, null] => 3 *: withdrawal {completed} of alice
update withdrawal_history set at = nullif('$', 'null')::timestamptz where withdrawal_id = '{completed}' and seq = 3;

-- plant: times of two moves swapped => 3 history_time: withdrawal {completed} of alice
update withdrawal_history as h set at = o.at from withdrawal_history as o
where h.withdrawal_id = '{completed}' and o.withdrawal_id = '{completed}' and h.seq <> o.seq;

-- plant: history of another user => 4 no_withdrawal: withdrawal {completed} of bob
update withdrawal_history set user_id = 'bob' where withdrawal_id = '{completed}';

-- plant: history of another withdrawal => 3 history_end: withdrawal {completed} of alice
update withdrawal_history set withdrawal_id = '{pending}' where withdrawal_id = '{completed}';

-- plant: histories of two withdrawals swapped => 3 history_end: withdrawal {completed} of alice
update withdrawal_history
set withdrawal_id = case withdrawal_id when '{completed}' then '{failed}'::uuid else '{completed}' end
where withdrawal_id in ('{completed}', '{failed}');

-- plant: history for nothing => 4 no_withdrawal: withdrawal 01ffffff-0000-7000-8000-000000000000 of alice
insert into withdrawal_history (user_id, withdrawal_id, seq, status, at, reason)
values ('alice', '01ffffff-0000-7000-8000-000000000000', 2, 'processing', now(), 'x');

-- plant: outbox row for nothing => 3 outbox_row_for_nothing: outbox row of withdrawal 01ffffff-0000-7000-8000-000000000000 of alice
insert into outbox values ('alice', '01ffffff-0000-7000-8000-000000000000', now());

-- plant: outbox row of a charge => 3 outbox_row_for_nothing: outbox row of withdrawal {charge} of alice
insert into outbox values ('alice', '{charge}', now());

-- plant: outbox row of another user => 3 outbox_row_for_nothing: outbox row of withdrawal {pending} of bob
update outbox set user_id = 'bob' where withdrawal_id = '{pending}';

-- plant: outbox row doubled => 3 outbox_row_doubled: outbox row of withdrawal {pending} of alice
insert into outbox select * from outbox where withdrawal_id = '{pending}';

-- plant: outbox row from before => 3 outbox_row_for_nothing: outbox row of withdrawal {pending} of alice
update outbox set created_at = created_at - interval '2 days' where withdrawal_id = '{pending}';

-- plant: outbox.created_at $ [infinity, null] => 3 outbox_row_for_nothing: outbox row of withdrawal {pending} of alice
update outbox set created_at = nullif('$', 'null')::timestamptz where withdrawal_id = '{pending}';

-- plant: key deleted => 6 movement_without_key: charge {charge} of alice
delete from idempotency_keys where movement_id = '{charge}';

-- plant: key of a withdrawal deleted => 6 movement_without_key: reserve {completed} of alice
delete from idempotency_keys where movement_id = '{completed}';

-- plant: key doubled => 6 two_keys: key * of default
insert into idempotency_keys select * from idempotency_keys where movement_id = '{charge}';

-- plant: two keys for one movement => 6 two_keys: key * of default
insert into idempotency_keys (client, key, fingerprint, user_id, currency, movement_id)
select client, key || 'x', fingerprint, user_id, currency, movement_id from idempotency_keys where movement_id = '{charge}';

-- plant: key for nothing => 6 key_without_movement: key nothing… of default
insert into idempotency_keys (client, key, fingerprint, user_id, currency, movement_id)
values ('default', 'nothing', '\x00', 'alice', 'USD', '01ffffff-0000-7000-8000-000000000000');

-- plant: key of a $ [payout, release, refund] => 6 key_without_movement: key * of default
update idempotency_keys set movement_id = (select id from transfers where kind = '$' order by id limit 1)
where movement_id = '{charge}';

-- plant: fingerprint changed [\x00, \x00000000000000000000000000000000] => 6 fingerprint: key * of default
update idempotency_keys set fingerprint = '$' where movement_id = '{charge}';

-- plant: key.$ null [fingerprint, user_id, currency] => 6 *: key * of default
update idempotency_keys set $ = null where movement_id = '{charge}';

-- plant: key.$ null [client, key, movement_id, digest] => 6 *: *
update idempotency_keys set $ = null where movement_id = '{charge}';

-- plant: fingerprints of two keys swapped => 6 fingerprint: key * of default
update idempotency_keys as k set fingerprint = o.fingerprint from idempotency_keys as o
where k.movement_id in ('{charge}', '{locked}') and o.movement_id in ('{charge}', '{locked}') and k.key <> o.key;

-- plant: movements of two keys swapped => 6 fingerprint: key * of default
update idempotency_keys
set movement_id = case movement_id when '{charge}' then '{locked}'::uuid else '{charge}' end
where movement_id in ('{charge}', '{locked}');

-- plant: movements of two users' keys swapped => 6 key_of_another: key * of default
update idempotency_keys
set movement_id = case movement_id when '{charge}' then '{other}'::uuid else '{charge}' end
where movement_id in ('{charge}', '{other}');

-- plant: movements of two withdrawals' keys swapped => 6 fingerprint: key * of default
update idempotency_keys
set movement_id = case movement_id when '{completed}' then '{failed}'::uuid else '{completed}' end
where movement_id in ('{completed}', '{failed}');

-- plant: key of another user => 6 key_of_another: key * of default
update idempotency_keys set user_id = 'bob' where movement_id = '{charge}';

-- plant: key of another currency => 6 key_of_another: key * of default
update idempotency_keys set currency = 'EUR' where movement_id = '{charge}';

-- plant: digest changed => 6 key_digest: key * of default
update idempotency_keys set digest = gen_random_uuid() where movement_id = '{charge}';

-- plant: key renamed => 6 key_digest: key renamed… of default
update idempotency_keys set key = 'renamed' where movement_id = '{charge}';

-- plant: key in another space => 6 key_digest: key * of elsewhere
update idempotency_keys set client = 'elsewhere' where movement_id = '{charge}';

-- plant: digests of two keys swapped => 6 key_digest: key * of default
update idempotency_keys as k set digest = o.digest from idempotency_keys as o
where k.movement_id in ('{charge}', '{locked}') and o.movement_id in ('{charge}', '{locked}') and k.key <> o.key;

-- plant: a look-up of nothing => 3 look_up_of_nothing: look-up of withdrawal 01ffffff-0000-7000-8000-000000000000 of alice
insert into look_ups values ('01ffffff-0000-7000-8000-000000000000', 'alice', now(), 0);

-- plant: look_up.due_at $ [infinity, 2046-01-01] => 3 never_due: look-up of withdrawal {processing} of alice
insert into look_ups values ('{processing}', 'alice', '$', 0);
