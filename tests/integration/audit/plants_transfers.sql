-- Errors to plant in transfers between wallets, holds and reversals; see plants.sql.

-- plant: send.amount $ 1 [+, -] => 7 peer: transfer {transfer} of *
update transfers set amount = amount $ 1 where id = '{transfer}';

-- plant: send deleted => 7 transfer_missing: transfer {transfer} of carol
delete from transfers where id = '{transfer}';

-- plant: send doubled => 7 peer: transfer {transfer} of *
insert into transfers select * from transfers where id = '{transfer}';

-- plant: send of another user => 7 transfer_missing: transfer {transfer} of carol
update transfers set user_id = 'dave' where id = '{transfer}';

-- plant: send of another currency => 7 transfer_missing: transfer {transfer} of carol
update transfers set currency = 'EUR' where id = '{transfer}';

-- plant: send.reference $ [null, '{simple}'] => 7 transfer_missing: transfer {transfer} of carol
update transfers set reference = $ where id = '{transfer}';

-- plant: send refers to nothing => 1 wrong_reference: transfer {transfer} of carol
update transfers set reference = null where id = '{transfer}';

-- plant: send.kind changed => 1 illegal_transfer: transfer {transfer} of carol
update transfers set kind = 'capture' where id = '{transfer}';

-- plant: send as adjustment => 7 transfer_missing: transfer {transfer} of carol
update transfers set kind = 'adjustment', credit_account = 'funding' where id = '{transfer}';

-- plant: send.peer_user_id of several => 7 transfer_differs: transfer {transfer} of carol
update transfers set peer_user_id = 'dave' where id = '{transfer}';

-- plant: send.peer_user_id $ [null, 'erin'] => 7 transfer_differs: transfer {simple} of carol
update transfers set peer_user_id = $ where id = '{simple}';

-- plant: send.metadata $ [null, '{{"order": 8}}'] => 6 fingerprint: key * of default
update transfers set metadata = $ where id = '{transfer}';

-- plant: send.made_by changed => 7 leg_differs: leg 1 of transfer {transfer} to dave
update transfers set made_by = 'mallory' where id = '{transfer}';

-- plant: send and receive of one amount more => 7 transfer_differs: transfer {simple} of carol
update transfers set amount = amount + 1 where reference = '{simple}';

-- plant: send, receive and leg of one amount more => 6 fingerprint: key * of default
update transfers set amount = amount + 1 where reference = '{simple}';
update transfer_legs set amount = amount + 1 where transfer_id = '{simple}';

-- plant: receive.amount $ 1 [+, -] => 7 peer: transfer {simple} of *
update transfers set amount = amount $ 1 where kind = 'receive' and reference = '{simple}';

-- plant: amounts of two receives shifted => 7 leg_differs: leg 1 of transfer {transfer} to dave
update transfers set amount = case amount when 200 then 201 else 29 end
where kind = 'receive' and reference = '{transfer}' and amount in (200, 30);

-- plant: receive deleted => 7 receive_missing: leg 1 of transfer {simple} to dave
delete from transfers where kind = 'receive' and reference = '{simple}';

-- plant: receive doubled => 7 peer: transfer {simple} of *
insert into transfers select * from transfers where kind = 'receive' and reference = '{simple}';

-- plant: receive without a leg => 7 leg_missing: leg  of transfer {simple} to dave
update transfers set id = (left(id::text, 24) || '000000000000')::uuid where kind = 'receive' and reference = '{simple}';

-- plant: receive of another user => 7 receive_missing: leg 1 of transfer {simple} to dave
update transfers set user_id = 'erin' where kind = 'receive' and reference = '{simple}';

-- plant: receive of another currency => 7 leg_differs: leg 1 of transfer {simple} to dave
update transfers set currency = 'EUR' where kind = 'receive' and reference = '{simple}';

-- plant: receive.reference $ [null, '{transfer}'] => 7 leg_differs: leg 1 of transfer {simple} to dave
update transfers set reference = $ where kind = 'receive' and reference = '{simple}';

-- plant: receive that refers to itself => 7 reversal_missing: reversal * of dave
update transfers set reference = id where kind = 'receive' and reference = '{simple}';

-- plant: receive.peer_user_id $ [null, 'erin'] => 7 leg_differs: leg 1 of transfer {simple} to dave
update transfers set peer_user_id = $ where kind = 'receive' and reference = '{simple}';

-- plant: receive.made_by changed => 7 leg_differs: leg 1 of transfer {simple} to dave
update transfers set made_by = 'mallory' where kind = 'receive' and reference = '{simple}';

-- plant: receive.metadata => 1 out_of_place: transfer * of dave
update transfers set metadata = '{{}}' where kind = 'receive' and reference = '{simple}';

-- plant: receive.release_at $ [null, '2046-01-01'] => 7 leg_differs: leg 2 of transfer {transfer} to erin
update transfers set release_at = $ where kind = 'receive' and reference = '{transfer}' and amount = 100;

-- plant: receive.credit_account changed => 1 illegal_transfer: transfer * of erin
update transfers set credit_account = 'available' where kind = 'receive' and reference = '{transfer}' and amount = 100;

-- plant: receive as charge => 7 receive_missing: leg 1 of transfer {simple} to dave
update transfers set kind = 'charge', debit_account = 'funding', reference = id where kind = 'receive' and reference = '{simple}';

-- plant: charge as receive => 7 leg_missing: leg  of transfer {simple} to carol
update transfers set kind = 'receive', debit_account = 'peer', reference = '{simple}' where id = '{funds}';

-- plant: charge.peer_user_id => 1 out_of_place: transfer {charge} of alice
update transfers set peer_user_id = 'bob' where id = '{charge}';

-- plant: a transfer without its rows => 7 receive_missing: leg 1 of transfer {simple} to dave
delete from transfers where reference = '{simple}';

-- plant: leg.$ + 1 [amount, leg] => 7 *: * {simple} *
update transfer_legs set $ = $ + 1 where transfer_id = '{simple}';

-- plant: leg.amount null => 7 leg_differs: leg 1 of transfer {simple} to dave
update transfer_legs set amount = null where transfer_id = '{simple}';

-- plant: leg.$ null [transfer_id, from_user_id, leg, to_user_id, currency, receive_id] => 7 *: * {simple} *
update transfer_legs set $ = null where transfer_id = '{simple}';

-- plant: leg.reversed $ 1 [+, -] => 7 reversed: leg 1 of transfer {simple} to dave
update transfer_legs set reversed = reversed $ 1 where transfer_id = '{simple}';

-- plant: leg.reversed $ [null, 0, -1, 100] => 7 reversed: leg 1 of transfer {simple} to dave
update transfer_legs set reversed = $ where transfer_id = '{simple}';

-- plant: leg.to_user_id changed => 7 receive_missing: leg 1 of transfer {simple} to erin
update transfer_legs set to_user_id = 'erin' where transfer_id = '{simple}';

-- plant: leg.from_user_id changed => 7 transfer_missing: transfer {simple} of alice
update transfer_legs set from_user_id = 'alice' where transfer_id = '{simple}';

-- plant: leg.currency changed => 7 leg_differs: leg 1 of transfer {simple} to dave
update transfer_legs set currency = 'EUR' where transfer_id = '{simple}';

-- plant: leg.release_at $ [null, '2046-01-01'] => 7 leg_differs: leg 2 of transfer {transfer} to erin
update transfer_legs set release_at = $ where transfer_id = '{transfer}' and leg = 2;

-- plant: leg of another transfer => 7 legs_missing: transfer {simple} of carol
update transfer_legs set transfer_id = '{transfer}', leg = 4 where transfer_id = '{simple}';

-- plant: legs renumbered => 7 transfer_differs: transfer {transfer} of carol
update transfer_legs set leg = 4 where transfer_id = '{transfer}' and leg = 3;

-- plant: two legs of one amount swapped in order => 6 fingerprint: key * of default
update transfer_legs set leg = 4 - leg where transfer_id = '{transfer}';

-- plant: leg deleted => 7 leg_missing: leg  of transfer {transfer} to dave
delete from transfer_legs where transfer_id = '{transfer}' and leg = 3;

-- plant: leg doubled => 7 leg_doubled: leg 3 of transfer {transfer} to dave
insert into transfer_legs select * from transfer_legs where transfer_id = '{transfer}' and leg = 3;

-- plant: two legs received once => 7 leg_doubled: leg * of transfer {transfer} to dave
update transfer_legs set receive_id = (select receive_id from transfer_legs where transfer_id = '{transfer}' and leg = 1)
where transfer_id = '{transfer}' and leg = 3;

-- plant: receipts of two legs swapped => 7 leg_differs: leg 1 of transfer {transfer} to dave
update transfer_legs as l set receive_id = o.receive_id from transfer_legs as o
where l.transfer_id = '{transfer}' and o.transfer_id = '{transfer}' and l.leg in (1, 3) and o.leg = 4 - l.leg;

-- plant: lock of a leg $ [amount = amount + 1, release_at = '2046-01-01', account = 'held'] => 2 lock_differs: lock of receive * of erin
update locks set $ where charge_id = (select receive_id from transfer_legs where transfer_id = '{transfer}' and leg = 2);

-- plant: lock of a leg deleted => 2 lock_missing: lock of receive * of erin
delete from locks where charge_id = (select receive_id from transfer_legs where transfer_id = '{transfer}' and leg = 2);

-- plant: lock of a leg as if nothing were reversed => 2 lock_differs: lock of receive * of erin
update locks set amount = 100 where charge_id = (select receive_id from transfer_legs where transfer_id = '{transfer}' and leg = 2);

-- plant: release of a leg $ [amount = amount + 1, effective_at = created_at, effective_at = effective_at + interval '1 microsecond'] => 2 release_differs: release * of receive * of dave
update transfers set $ where kind = 'release' and user_id = 'dave';

-- plant: release of a charge takes effect $ [created_at, effective_at - interval '1 hour', effective_at - interval '1 microsecond'] => 2 release_differs: release * of charge {released} of alice
update transfers set effective_at = $ where kind = 'release' and reference = '{released}';

-- plant: release takes effect $ [created_at + interval '1 microsecond', 'infinity', '-infinity'] => 1 out_of_place: transfer * of alice
update transfers set effective_at = $ where kind = 'release' and reference = '{released}';

-- plant: charge takes effect before => 1 out_of_place: transfer {charge} of alice
update transfers set effective_at = created_at where id = '{charge}';

-- plant: release of a leg deleted => 2 lock_missing: lock of receive * of dave
delete from transfers where kind = 'release' and user_id = 'dave';

-- plant: hold row.amount $ 1 [+, -] => 2 hold_differs: hold {open} of carol
update transfers set amount = amount $ 1 where id = '{open}';

-- plant: hold row $ [user_id = 'dave', currency = 'EUR', made_by = 'mallory', made_by = null, created_at = created_at - interval '1 second'] => 2 hold_*: hold {open} of carol
update transfers set $ where id = '{open}';

-- plant: hold row deleted => 2 hold_unfounded: hold {open} of carol
delete from transfers where id = '{open}';

-- plant: hold row as reserve => 2 hold_unfounded: hold {open} of carol
update transfers set kind = 'reserve' where id = '{open}';

-- plant: hold row.reference changed => 1 wrong_reference: transfer {open} of carol
update transfers set reference = '{voided}' where id = '{open}';

-- plant: hold row.metadata => 1 out_of_place: transfer {open} of carol
update transfers set metadata = '{{}}' where id = '{open}';

-- plant: hold deleted => 2 hold_missing: hold {open} of carol
delete from holds where id = '{open}';

-- plant: captured hold deleted => 3 end_of_no_hold: capture {capture} of carol
delete from holds where id = '{captured}';

-- plant: voided hold deleted => 3 end_of_no_hold: void * of carol
delete from holds where id = '{voided}';

-- plant: hold doubled => 3 hold_doubled: hold {open} of carol
insert into holds select * from holds where id = '{open}';

-- plant: hold of another $ [user_id = 'dave', id = gen_random_uuid()] => 2 hold_missing: hold {open} of carol
update holds set $ where id = '{open}';

-- plant: hold $ [amount = amount + 1, amount = amount - 1, currency = 'EUR', made_by = 'mallory', made_by = null, created_at = created_at + interval '1 second', created_at = null, amount = null, currency = null] => 2 hold_differs: hold {open} of carol
update holds set $ where id = '{open}';

-- plant: amount of an open hold => 2 held: wallet carol USD
update holds set amount = amount + 1 where id = '{open}';

-- plant: hold.captured $ [1, null, -1] => 3 hold_status: hold {open} of carol
update holds set captured = $ where id = '{open}';

-- plant: hold.captured $ 1 [+, -] => 3 hold_capture: hold {captured_in_part} of carol
update holds set captured = captured $ 1 where id = '{captured_in_part}';

-- plant: hold.status $ [captured, paid, null] => 3 hold_status: hold {open} of carol
update holds set status = nullif('$', 'null') where id = '{open}';

-- plant: hold.status of an open one $ [voided, expired] => 3 hold_rest: hold {expiring} of carol
update holds set status = '$' where id = '{expiring}';

-- plant: hold.status, open again [captured, captured_in_part, voided, expired] => 3 hold_*: hold {$} of carol
update holds set status = 'open' where id = '{$}';

-- plant: reopened for good [voided, expired] => 3 hold_rest: hold {$} of carol
update holds set status = 'open', ended_at = null where id = '{$}';

-- plant: hold.status of a voided one => 3 hold_*: hold {voided} of carol
update holds set status = 'expired' where id = '{voided}';

-- plant: hold.status of an expired one => 3 hold_time: hold {expired} of carol
update holds set status = 'voided' where id = '{expired}';

-- plant: hold.transfer_id $ [null, '{capture}', '{simple}'] => 3 hold_*: hold {captured_in_part} of carol
update holds set transfer_id = $ where id = '{captured_in_part}';

-- plant: one capture of two holds => 3 capture_doubled: hold * of carol
update holds set transfer_id = '{capture}' where id = '{captured_in_part}';

-- plant: captures of two holds swapped => 3 hold_capture: hold {captured} of carol
update holds set transfer_id = case id when '{captured}' then '{capture_in_part}'::uuid else '{capture}' end
where id in ('{captured}', '{captured_in_part}');

-- plant: hold.transfer_id of a voided one => 3 hold_status: hold {voided} of carol
update holds set transfer_id = '{simple}' where id = '{voided}';

-- plant: hold.ended_at of an open one => 3 hold_status: hold {open} of carol
update holds set ended_at = now() where id = '{open}';

-- plant: hold.ended_at $ [null, ended_at + interval '1 second', ended_at - interval '1 second', 'infinity'] => 3 hold_time: hold {captured} of carol
update holds set ended_at = $ where id = '{captured}';

-- plant: hold.ended_at + 1 s [captured_in_part, voided, expired] => 3 hold_time: hold {$} of carol
update holds set ended_at = ended_at + interval '1 second' where id = '{$}';

-- plant: hold.expires_at changed => 2 lock_differs: lock of hold {expiring} of carol
update holds set expires_at = expires_at + interval '1 second' where id = '{expiring}';

-- plant: hold.expires_at $ [null, '2046-01-01'] => 6 fingerprint: key * of default
update holds set expires_at = $ where id = '{expiring}';

-- plant: hold.expires_at of an expired one $ [null, '2046-01-01'] => 3 *: hold {expired} of carol
update holds set expires_at = $ where id = '{expired}';

-- plant: a hold that never expires, with a date => 3 hold_for_ever: hold {expiring} of carol
update holds set expires_at = 'infinity' where id = '{expiring}';

-- plant: a hold that was to expire and never will => 2 lock_missing: lock of hold {expiring} of carol
delete from locks where charge_id = '{expiring}';

-- plant: lock of a hold $ [account = 'locked', amount = amount + 1, release_at = '2046-01-01', currency = 'EUR'] => 2 lock_differs: lock of hold {expiring} of carol
update locks set $ where charge_id = '{expiring}';

-- plant: lock of a hold that does not expire => 2 lock_unfounded: lock of hold {open} of carol
insert into locks select user_id, currency, now() + interval '1 year', id, amount, 'held' from holds where id = '{open}';

-- plant: lock of a hold that has ended [captured, voided, expired] => 2 lock_unfounded: lock of hold {$} of carol
insert into locks select user_id, currency, now() + interval '1 year', id, amount, 'held' from holds where id = '{$}';

-- plant: hold.metadata $ [null, '{{"order": 9}}'] => 6 fingerprint: key * of default
update holds set metadata = $ where id = '{open}';

-- plant: void deleted [voided, expired, captured_in_part] => 3 hold_rest: hold {$} of carol
delete from transfers where kind = 'void' and reference = '{$}';

-- plant: void doubled [voided, expired, captured_in_part] => 3 hold_rest: hold {$} of carol
insert into transfers select * from transfers where kind = 'void' and reference = '{$}';

-- plant: void of an open hold => 3 hold_rest: hold {open} of carol
update transfers set reference = '{open}' where kind = 'void' and reference = '{voided}';

-- plant: void of nothing => 3 end_of_no_hold: void * of carol
update transfers set reference = '{funds}' where kind = 'void' and reference = '{voided}';

-- plant: void.amount $ 1 [+, -] => 3 hold_rest: hold {voided} of carol
update transfers set amount = amount $ 1 where kind = 'void' and reference = '{voided}';

-- plant: void $ [user_id = 'dave', currency = 'EUR', kind = 'refund'] => 3 hold_rest: hold {voided} of carol
update transfers set $ where kind = 'void' and reference = '{voided}';

-- plant: void that refers to itself => 1 wrong_reference: transfer * of carol
update transfers set reference = id where kind = 'void' and reference = '{voided}';

-- plant: void takes effect before => 3 hold_time: hold {voided} of carol
update transfers set effective_at = created_at - interval '1 microsecond' where kind = 'void' and reference = '{voided}';

-- plant: expiry takes effect $ [null, created_at, effective_at - interval '1 microsecond'] => 3 hold_time: hold {expired} of carol
update transfers set effective_at = $ where kind = 'void' and reference = '{expired}';

-- plant: capture.amount $ 1 [+, -] => 3 hold_capture: hold {captured} of carol
update transfers set amount = amount $ 1 where id = '{capture}';

-- plant: capture deleted => 3 hold_capture: hold {captured} of carol
delete from transfers where id = '{capture}';

-- plant: capture as send => 3 hold_capture: hold {captured} of carol
update transfers set kind = 'send', debit_account = 'available' where id = '{capture}';

-- plant: send as capture => 3 end_of_no_hold: capture {simple} of carol
update transfers set kind = 'capture', debit_account = 'held' where id = '{simple}';

-- plant: capture.reference changed => 1 wrong_reference: transfer {capture} of carol
update transfers set reference = '{captured}' where id = '{capture}';

-- plant: capture.peer_user_id $ [null, 'dave'] => 7 transfer_differs: transfer {capture} of carol
update transfers set peer_user_id = $ where id = '{capture}';

-- plant: leg of a capture.amount $ 1 [+, -] => 7 leg_differs: leg 1 of transfer {capture_in_part} to dave
update transfer_legs set amount = amount $ 1 where transfer_id = '{capture_in_part}' and leg = 1;

-- plant: legs of a capture exchanged => 6 fingerprint: key * of default
update transfer_legs set leg = 3 - leg where transfer_id = '{capture_in_part}';

-- plant: reversal row.amount $ 1 [+, -] => 7 reversal_differs: reversal {reversal} of carol
update transfers set amount = amount $ 1 where id = '{reversal}';

-- plant: reversal row deleted => 7 reversal_unfounded: reversal {reversal} of carol
delete from transfers where id = '{reversal}';

-- plant: reversal row $ [user_id = 'dave', currency = 'EUR'] => 7 reversal_*: reversal {reversal} of *
update transfers set $ where id = '{reversal}';

-- plant: reversal row.reference changed => 7 reversal_differs: reversal {reversal} of carol
update transfers set reference = '{funds}' where id = '{reversal}';

-- plant: reversal row as adjustment => 7 reversal_unfounded: reversal {reversal} of carol
update transfers set kind = 'adjustment' where id = '{reversal}';

-- plant: reversal row that refers to itself => 1 wrong_reference: transfer {reversal} of carol
update transfers set reference = id where id = '{reversal}';

-- plant: reversal row from locked => 2 taken_from: reversal {reversal} of carol
update transfers set debit_account = 'locked' where id = '{reversal}';

-- plant: reversal row from available [reversal_of_locked, reversal_of_all_locked] => 2 taken_from: reversal {$} of carol
update transfers set debit_account = 'available' where id = '{$}';

-- plant: sum of reversals => 7 reversed: charge {reversed} of carol
update transfers set amount = amount - 1 where id = '{reversal}';

-- plant: more reversed than there was => 7 reversed_too_much: charge {reversed} of carol
update transfers set amount = amount + 1 where id = '{reversal}';
update reversals set amount = amount + 1 where id = '{reversal}';
update charge_reversals set reversed = reversed + 1 where charge_id = '{reversed}';

-- plant: reversal deleted [reversal, reversal_of_legs] => 7 reversal_missing: reversal {$} of carol
delete from reversals where id = '{$}';

-- plant: reversal doubled [reversal, reversal_of_legs] => 7 reversal_doubled: reversal {$} of carol
insert into reversals select * from reversals where id = '{$}';

-- plant: reversal.amount $ 1 [+, -] => 7 reversal_differs: reversal {reversal} of carol
update reversals set amount = amount $ 1 where id = '{reversal}';

-- plant: reversal of a transfer.amount $ 1 [+, -] => 7 reversal_differs: reversal {reversal_of_leg} of carol
update reversals set amount = amount $ 1 where id = '{reversal_of_leg}';

-- plant: reversal.$ null [id, user_id, currency, reverses, amount] => 7 reversal_*: reversal {reversal} of carol
update reversals set $ = null where id = '{reversal}';

-- plant: reversal.currency changed [reversal, reversal_of_legs] => 7 reversal_unfounded: reversal {$} of carol
update reversals set currency = 'EUR' where id = '{$}';

-- plant: reversal.user_id changed [reversal, reversal_of_legs] => 7 reversal_missing: reversal {$} of carol
update reversals set user_id = 'dave' where id = '{$}';

-- plant: reversal of something else [funds, simple, open] => 7 reversal_*: reversal {reversal} of carol
update reversals set reverses = '{$}' where id = '{reversal}';

-- plant: reversal of another transfer => 7 reversal_*: reversal {reversal_of_leg} of carol
update reversals set reverses = '{escrow}' where id = '{reversal_of_leg}';

-- plant: reversal of a reversal => 7 reversal_unfounded: reversal {reversal_of_leg} of carol
update reversals set reverses = '{reversal_of_legs}' where id = '{reversal_of_leg}';

-- plant: reversal.reason $ [null, 'a wish'] => 6 fingerprint: key * of default
update reversals set reason = $ where id = '{reversal}';

-- plant: charge_reversals.$ 1 [reversed = reversed +, reversed = reversed -, amount = amount +, amount = amount -] => 7 reversed: charge {reversed} of carol
update charge_reversals set $ 1 where charge_id = '{reversed}';

-- plant: charge_reversals.$ null [charge_id, user_id, amount, reversed] => 7 reversed: charge {reversed} of carol
update charge_reversals set $ = null where charge_id = '{reversed}';

-- plant: charge_reversals deleted => 7 reversed: charge {reversed} of carol
delete from charge_reversals where charge_id = '{reversed}';

-- plant: charge_reversals doubled => 3 charge_reversals_doubled: charge {reversed} of carol
insert into charge_reversals select * from charge_reversals where charge_id = '{reversed}';

-- plant: charge_reversals for nothing => 7 reversed: charge {funds} of carol
insert into charge_reversals values ('{funds}', 'carol', 5000, 1);

-- plant: charge_reversals of another charge => 7 reversed: charge {funds} of carol
update charge_reversals set charge_id = '{funds}' where charge_id = '{reversed}';

-- plant: lock as if nothing were reversed => 2 lock_differs: lock of charge {reversed_locked} of carol
update locks set amount = 130 where charge_id = '{reversed_locked}';

-- plant: lock of what was reversed whole => 2 lock_unfounded: lock of charge {undone_locked} of carol
insert into locks select user_id, currency, release_at, id, amount, 'locked' from transfers where id = '{undone_locked}';

-- plant: reversal leg.amount $ 1 [+, -] => 7 reversal_leg_differs: leg 1 of reversal {reversal_of_legs} of carol
update reversal_legs set amount = amount $ 1 where reversal_id = '{reversal_of_legs}' and leg = 1;

-- plant: reversal leg.$ null [reversal_id, user_id, leg, amount, send_id] => 7 *: * {reversal_of_leg} of carol
update reversal_legs set $ = null where reversal_id = '{reversal_of_leg}';

-- plant: reversal leg deleted => 7 reversal_leg_missing: leg  of reversal {reversal_of_leg} of carol
delete from reversal_legs where reversal_id = '{reversal_of_leg}';

-- plant: reversal leg doubled => 7 reversal_leg_doubled: leg 1 of reversal {reversal_of_leg} of carol
insert into reversal_legs select * from reversal_legs where reversal_id = '{reversal_of_leg}';

-- plant: reversal leg of no leg => 7 reversal_leg_unfounded: leg 7 of reversal {reversal_of_leg} of carol
update reversal_legs set leg = 7 where reversal_id = '{reversal_of_leg}';

-- plant: reversal legs exchanged => 7 reversal_leg_differs: leg * of reversal {reversal_of_legs} of carol
update reversal_legs set leg = 3 - leg where reversal_id = '{reversal_of_legs}';

-- plant: reversal leg of another user => 7 reversal_leg_unfounded: leg 1 of reversal {reversal_of_leg} of dave
update reversal_legs set user_id = 'dave' where reversal_id = '{reversal_of_leg}';

-- plant: reversal leg of another reversal => 7 send_missing: leg 2 of reversal {reversal_of_leg} of carol
update reversal_legs set reversal_id = '{reversal_of_leg}' where reversal_id = '{reversal_of_legs}' and leg = 2;

-- plant: sends of two reversal legs swapped => 7 reversal_leg_differs: leg 1 of reversal {reversal_of_legs} of carol
update reversal_legs as r set send_id = o.send_id from reversal_legs as o
where r.reversal_id = '{reversal_of_legs}' and o.reversal_id = '{reversal_of_legs}' and r.leg <> o.leg;

-- plant: sending back: amount $ 1 [+, -] => 7 peer: transfer {reversal_of_leg} of *
update transfers set amount = amount $ 1 where kind = 'send' and reference = '{reversal_of_leg}';

-- plant: sending back, deleted => 7 send_missing: leg 1 of reversal {reversal_of_leg} of carol
delete from transfers where kind = 'send' and reference = '{reversal_of_leg}';

-- plant: sending back $ [user_id = 'erin', currency = 'EUR', peer_user_id = 'erin', peer_user_id = null, made_by = 'mallory'] => 7 reversal_leg_differs: leg 1 of reversal {reversal_of_leg} of carol
update transfers set $ where kind = 'send' and reference = '{reversal_of_leg}';

-- plant: sending back, for another => 7 send_missing: leg 1 of reversal {reversal_of_leg} of carol
update transfers set reference = '{reversal_of_legs}' where kind = 'send' and reference = '{reversal_of_leg}';

-- plant: sending back, from locked => 2 taken_from: reversal * of dave
update transfers set debit_account = 'locked' where kind = 'send' and reference = '{reversal_of_leg}';

-- plant: sending back, from available => 2 taken_from: reversal * of erin
update transfers set debit_account = 'available' where kind = 'send' and reference = '{reversal_of_escrow}';

-- plant: sending back the released, from locked => 2 taken_from: reversal * of dave
update transfers set debit_account = 'locked' where kind = 'send' and reference = '{reversal_of_released}';

-- plant: getting back: amount $ 1 [+, -] => 7 reversal_differs: reversal {reversal_of_leg} of carol
update transfers set amount = amount $ 1 where id = '{reversal_of_leg}';

-- plant: getting back, deleted => 7 reversal_unfounded: reversal {reversal_of_leg} of carol
delete from transfers where id = '{reversal_of_leg}';

-- plant: getting back.peer_user_id $ [null, 'erin'] => 7 reversal_differs: reversal {reversal_of_leg} of carol
update transfers set peer_user_id = $ where id = '{reversal_of_leg}';

-- plant: getting back.peer_user_id of several => 7 reversal_differs: reversal {reversal_of_legs} of carol
update transfers set peer_user_id = 'dave' where id = '{reversal_of_legs}';

-- plant: getting back, by another => 7 reversal_leg_differs: leg 1 of reversal {reversal_of_leg} of carol
update transfers set made_by = 'mallory' where id = '{reversal_of_leg}';

-- plant: getting back, another reference => 7 reversal_unfounded: reversal {reversal_of_leg} of carol
update transfers set reference = '{simple}' where id = '{reversal_of_leg}';

-- plant: key deleted [transfer, open, capture, reversal, reversal_of_leg] => 6 movement_without_key: * {$} of carol
delete from idempotency_keys where movement_id = '{$}';

-- plant: two keys for one movement [transfer, open, capture, reversal, reversal_of_leg] => 6 two_keys: key * of default
insert into idempotency_keys (client, key, fingerprint, user_id, currency, movement_id)
select client, key || 'x', fingerprint, user_id, currency, movement_id from idempotency_keys where movement_id = '{$}';

-- plant: fingerprint changed [transfer, open, capture, capture_in_part, reversal, reversal_of_the_rest, reversal_of_legs, reversal_of_escrow] => 6 fingerprint: key * of default
update idempotency_keys set fingerprint = '\x00' where movement_id = '{$}';

-- plant: key of another user [transfer, open, capture, reversal, reversal_of_leg] => 6 key_of_another: key * of default
update idempotency_keys set user_id = 'dave' where movement_id = '{$}';

-- plant: key of a row of another, by kind [receive, send, void] => 6 key_without_movement: key * of default
update idempotency_keys
set movement_id = (select id from transfers where kind = '$' and reference <> id order by id limit 1)
where movement_id = '{simple}';

-- plant: keys of two movements swapped: $ [capture, open, reversal] => 6 fingerprint: key * of default
update idempotency_keys
set movement_id = case movement_id when '{simple}' then '{$}'::uuid else '{simple}' end
where movement_id in ('{simple}', '{$}');
