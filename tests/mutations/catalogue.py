"""Ways to break the money rules, each with the tests that must notice."""

from typing import NamedTuple


class Change(NamedTuple):
    """In `file`, `old` (which occurs there exactly once) becomes `new`."""

    file: str
    old: str
    new: str


class Mutation(NamedTuple):
    """One way to break the code. `tests` is the pytest selection of which at least one test must fail."""

    name: str
    changes: tuple[Change, ...]
    tests: tuple[str, ...]


_UNIT = "tests/unit/"
_DB = "tests/integration/db/"
_ACTORS = "tests/integration/actors/"
_CRASH = "tests/integration/crash/"
_GATEWAY = "tests/integration/gateway/"
_AUDIT = "tests/integration/audit/"

BANK = (
    Mutation(
        "refund on 404",
        (
            Change(
                "actors/settlement.py",
                "            found = await self._bank.find(self._order, compare_all=self._conflict)\n",
                "            found = await self._bank.find(self._order, compare_all=self._conflict)\n"
                "            if isinstance(found, NotFound):\n"
                '                found = Declined("payout_not_found")\n',
            ),
        ),
        (
            _UNIT + "actors/test_settlement.py",
            _CRASH + "test_actor_crashes.py::test_killed_at[attempt committed]",
        ),
    ),
    Mutation(
        "an unknown outcome taken for a decline",
        (
            Change(
                "wallet/decide_transitions.py",
                "    if isinstance(outcome, Paid):\n        _paid(outcome, transition)\n    elif",
                "    if isinstance(outcome, OutcomeUnknown):\n"
                "        outcome = Declined(outcome.reason)\n"
                "    if isinstance(outcome, Paid):\n        _paid(outcome, transition)\n    elif",
            ),
        ),
        (
            _UNIT + "wallet/test_transitions.py",
            _ACTORS + "test_bank_faults.py::test_a_bad_bank_pays_each_withdrawal_once",
        ),
    ),
    Mutation(
        "a timeout taken for a refused connection",
        (
            Change(
                "actors/bank/http.py",
                "    return BankUnavailable(str(error)) if isinstance(error, NotSent) else OutcomeUnknown(str(error))",
                "    return BankUnavailable(str(error))",
            ),
        ),
        (_ACTORS + "test_bank_endings.py",),
    ),
    Mutation(
        "a 500 taken for a decline",
        (
            Change(
                "actors/bank/replies.py",
                "    if status == 409:\n",
                '    if status == 500:\n        return Declined("http 500")\n    if status == 409:\n',
            ),
        ),
        (_ACTORS + "test_bank_endings.py", _ACTORS + "test_bank_faults.py"),
    ),
    Mutation(
        "any refusal taken for a decline",
        (
            Change(
                "actors/bank/replies.py",
                "        case Declined() if status == 422:\n",
                "        case Declined():\n",
            ),
        ),
        (_ACTORS + "test_bank_endings.py", _UNIT + "actors/bank/test_replies.py"),
    ),
    Mutation(
        "a member named twice: the last one counts",
        (Change("actors/bank/replies.py", "        if len(read) == len(pairs):\n", "        if True:\n"),),
        (_UNIT + "actors/bank/test_replies.py", _UNIT + "actors/bank/test_books.py"),
    ),
    Mutation(
        "what follows a reply is not looked at",
        (
            Change(
                "actors/bank/wire.py",
                '                self._fail("something follows the end of the reply")\n',
                "                pass\n",
            ),
        ),
        (_ACTORS + "test_bank_endings.py",),
    ),
    Mutation(
        "a reply with a wrong amount believed",
        (Change("actors/bank/replies.py", "    if wrong:\n", "    if False:\n"),),
        (_ACTORS + "test_bank_endings.py", _UNIT + "actors/bank/test_replies.py"),
    ),
    Mutation(
        "another reference for each attempt",
        (
            Change(
                "actors/payouts.py",
                "            attempt.reference_text,\n            attempt.amount",
                '            f"{attempt.reference_text}-{attempt.number}",\n            attempt.amount',
            ),
        ),
        (_CRASH + "test_actor_crashes.py::test_killed_at[reply read]", _ACTORS + "test_pipeline.py"),
    ),
    Mutation(
        "a later attempt pays without asking",
        (Change("actors/payouts.py", "Before(attempt.ask_first, ", "Before(False, "),),
        (_CRASH + "test_actor_crashes.py::test_killed_while_the_bank_pays",),
    ),
    Mutation(
        "a decline believed after an unknown outcome",
        (
            Change(
                "actors/settlement.py",
                "        if isinstance(answer, Declined) and self._ask_first:\n",
                "        if False:\n",
            ),
        ),
        (_UNIT + "actors/test_settlement.py",),
    ),
    Mutation(
        "what the bank accepted is sent again",
        (Change("actors/settlement.py", "        if self._before.accepted:\n", "        if False:\n"),),
        (_UNIT + "actors/test_settlement.py",),
    ),
    Mutation(
        "an old key is sent again",
        (
            Change(
                "actors/settlement.py",
                "        if monotonic() >= self._key_expires_at:\n",
                "        if False:\n",
            ),
        ),
        (_UNIT + "actors/test_settlement.py",),
    ),
    Mutation(
        "an attempt begins while payouts are paused",
        (
            Change(
                "db/queries/withdrawals.sql",
                "        (select allowed from stack_now)\n        and ",
                "        ",
            ),
        ),
        (_ACTORS + "test_paused.py::test_no_attempt_begins_while_paused",),
    ),
    Mutation(
        "a restored database pays",
        (Change("actors/history.py", "        if not state.same_database:\n", "        if False:\n"),),
        (_ACTORS + "test_paused.py::test_another_database_than_before",),
    ),
    Mutation(
        "giving up gives the money back",
        (
            Change(
                "wallet/decide_transitions.py",
                'f"retries used up; last: {outcome.reason}")\n',
                'f"retries used up; last: {outcome.reason}")\n        transition.move_money(Kind.REFUND)\n',
            ),
        ),
        (
            _UNIT + "wallet/test_transitions.py",
            _ACTORS + "test_dead_letters.py::test_from_the_ladders_end_and_back",
        ),
    ),
)

MOVES = (
    Mutation(
        "settle without a state check",
        (
            Change(
                "wallet/decide_transitions.py",
                "    if withdrawal.status in (Status.COMPLETED, Status.RETURNED):\n        return\n    _begin",
                "    _begin",
            ),
            Change("wallet/transitions.py", "if not can_move(withdrawal.status, target):", "if False:"),
        ),
        (_UNIT + "wallet/test_transitions.py", _DB + "test_withdrawals.py"),
    ),
    Mutation(
        "settle without compare-and-set (state read without a lock)",
        (
            Change(
                "db/queries/withdrawals.sql",
                "where w.id = any($1::uuid[])\norder by w.id\nfor update of w;",
                "where w.id = any($1::uuid[])\norder by w.id;",
            ),
        ),
        (_DB + "test_waiting_transitions.py", _DB + "test_withdrawals.py"),
    ),
    Mutation(
        "an attempt that lost its lease writes that it learned nothing",
        (
            Change(
                "wallet/decide_transitions.py",
                "    return (withdrawal.attempts, withdrawal.next_attempt_at) == ",
                "    return True or ",
            ),
        ),
        (_UNIT + "wallet/test_transitions.py",),
    ),
    Mutation(
        "begin without a lease",
        (
            Change(
                "db/queries/withdrawals.sql",
                "    where l.status = 'pending' or l.next_attempt_at <= t.now\n",
                "",
            ),
        ),
        (_DB + "test_withdrawals.py",),
    ),
    Mutation(
        "begin without a state check",
        (
            Change(
                "db/queries/withdrawals.sql",
                "when 'pending' then true when 'processing' then true else false end",
                "when 'pending' then true when 'processing' then true else true end",
            ),
        ),
        (_DB + "test_withdrawals.py",),
    ),
    Mutation(
        "cancel without a state check",
        (
            Change(
                "wallet/decide_transitions.py",
                "    if status is not Status.PENDING or transition.withdrawal.may_be_known:\n",
                "    if False:\n",
            ),
            Change(
                "wallet/withdrawal.py",
                "frozenset({Status.COMPLETED, Status.FAILED, Status.REQUIRES_ATTENTION})",
                "frozenset({Status.COMPLETED, Status.FAILED, Status.REQUIRES_ATTENTION, Status.CANCELLED})",
            ),
        ),
        (_UNIT + "wallet/test_transitions.py", _DB + "test_withdrawals.py::test_cancel_races_with_the_actor"),
    ),
    Mutation(
        "a return counted each time it is told",
        (
            Change(
                "wallet/decide_transitions.py",
                "    if withdrawal.status is Status.RETURNED:\n        return\n    if outcome.amount",
                "    if withdrawal.status is Status.RETURNED:\n"
                "        transition.move_money(Kind.RETURN)\n        return\n    if outcome.amount",
            ),
        ),
        (_UNIT + "wallet/test_transitions.py", _DB + "test_withdrawals.py::test_returned_once"),
    ),
    Mutation(
        "any move is legal in the database",
        (
            Change(
                "db/migrations/20261122_01_ledger.sql",
                "for each row when (old.status is distinct from new.status)",
                "for each row when (false)",
            ),
        ),
        (_DB + "test_constraints.py::test_the_trigger_knows_the_same_moves",),
    ),
    Mutation(
        "the reconciler announces only pending withdrawals again",
        (
            Change(
                "db/queries/withdrawals.sql",
                (
                    "    where status in ('pending', 'processing') and ring_at <= (select now from instant)\n"
                    "    order by ring_at\n"
                    "    limit $1\n"
                    "    for update skip locked\n"
                    "),\n"
                ),
                (
                    "    where status = 'pending' and ring_at <= (select now from instant)\n"
                    "    order by ring_at\n"
                    "    limit $1\n"
                    "    for update skip locked\n"
                    "),\n"
                ),
            ),
        ),
        (_CRASH + "test_actor_crashes.py::test_killed_at[attempt committed]", _DB + "test_withdrawals.py"),
    ),
)

LEDGER = (
    Mutation(
        "no key check",
        (Change("wallet/decide.py", "        if earlier is not None:\n", "        if False:\n"),),
        (_UNIT + "wallet/test_decide.py", _DB + "test_ledger.py"),
    ),
    Mutation(
        "no unique key on idempotency_keys",
        (
            Change(
                "db/migrations/20261127_01_references.sql",
                "alter table idempotency_keys add constraint idempotency_keys_pkey primary key (digest);\n",
                "",
            ),
        ),
        (_DB + "test_concurrent_writers.py",),
    ),
    Mutation(
        "another request under a used key gets the first one's answer",
        (
            Change(
                "wallet/receipts.py",
                "        if request.matches(earlier.fingerprint):\n",
                "        if True:\n",
            ),
        ),
        (_UNIT + "wallet/test_decide.py", _DB + "test_ledger.py::test_a_key_used_for_something_else"),
    ),
    Mutation(
        "a replay answers a new id",
        (
            Change(
                "wallet/receipts.py",
                "Recorded(earlier.receipt, replayed=True)",
                "Recorded(earlier.receipt._replace(id=UUID(int=earlier.receipt.id.int ^ 1)), replayed=True)",
            ),
        ),
        (_UNIT + "wallet/test_decide.py", _DB + "test_ledger.py::test_a_replay_is_the_first_answer"),
    ),
    Mutation(
        "refused for what the same command has just done",
        (Change("db/ledger_writes.py", '    return bool(one(rows)["used"])\n', "    return False\n"),),
        (_DB + "test_transfers.py::test_one_key_at_once_from_two_processes",),
    ),
    Mutation(
        "as much came as went, and nothing is said to have happened",
        (
            Change(
                "db/ledger_writes.py",
                "for w in wallets if (w.user_id, w.currency) in moved",
                "for w in wallets if any(w.change())",
            ),
        ),
        (_DB + "test_instants.py::test_what_comes_and_goes_at_once",),
    ),
    Mutation(
        "archived while it is being released",
        (
            Change(
                "db/queries/archive.sql",
                "from archive_origins as o\njoin locks as l\n",
                "from archive_origins as o\njoin (select * from locks limit 0) as l\n",
            ),
        ),
        (_DB + "test_archive.py::test_a_release_at_the_same_time",),
    ),
    Mutation(
        "decide outside the lock",
        (
            Change(
                "db/queries/ledger.sql",
                "    order by w.user_id, w.currency\n    for no key update of w\n",
                "    order by w.user_id, w.currency\n",
            ),
        ),
        (_DB + "test_concurrent_writers.py", _DB + "test_releases.py"),
    ),
    Mutation(
        "lost lock order",
        (
            Change(
                "db/ledger_writes.py",
                "    ordered = sorted(pairs)\n",
                "    ordered = sorted(pairs, reverse=True)\n",
            ),
            Change(
                "db/queries/ledger.sql",
                "    order by w.user_id, w.currency\n    for no key update of w\n",
                "    for no key update of w\n",
            ),
        ),
        (_DB + "test_lock_order.py",),
    ),
    Mutation(
        "an optimistic batch locks in another order",
        (
            Change(
                "wallet/optimistic.py",
                "for number, id in enumerate(sorted(ids), 1)",
                "for number, id in enumerate(sorted(ids, reverse=True), 1)",
            ),
        ),
        (_DB + "test_lock_order.py",),
    ),
    Mutation(
        "keys written in the order of their requests",
        (
            Change(
                "db/queries/ledger.sql",
                "    where space is not null\n    order by space, key\n",
                "    where space is not null\n",
            ),
            Change(
                "db/queries/ledger.sql",
                "    where key is not null\n    order by space, key\n",
                "    where key is not null\n",
            ),
        ),
        (_DB + "test_lock_order.py",),
    ),
    Mutation(
        "an optimistic batch is kept though not all was accepted",
        (
            Change(
                "db/queries/ledger.sql",
                "case when wallets < $4::integer or $3::timestamptz <= now then abort_statement() else true end",
                "true",
            ),
        ),
        (_DB + "test_optimistic_batches.py",),
    ),
    Mutation(
        "an optimistic batch does not look at what is there before",
        (
            Change(
                "db/queries/ledger.sql",
                "    where w.available >= c.needed\n",
                "",
            ),
        ),
        (_DB + "test_optimistic_batches.py",),
    ),
    Mutation(
        "an optimistic batch moves the money of wallets that it leaves out",
        (
            Change(
                "db/queries/ledger.sql",
                "    where p.place is not null\n",
                "",
            ),
        ),
        (_DB + "test_optimistic_batches.py",),
    ),
    Mutation(
        "who is left out of an optimistic batch is told that it was written",
        (
            Change(
                "db/optimistic_writer.py",
                "one if first.wallet in taken else None for one,",
                "one for one,",
            ),
        ),
        (_DB + "test_optimistic_batches.py",),
    ),
    Mutation(
        "an optimistic capture does not look whether its hold is open still",
        (
            Change(
                "db/queries/ledger.sql",
                "        and h.status = 'open'\n        and h.expires_at is not distinct from m.release_at\n",
                "",
            ),
            Change(
                "db/queries/ledger.sql",
                "                union all select from captured_holds where as_told\n",
                "                union all select from movements where kind = 'capture'\n",
            ),
        ),
        (_DB + "test_optimistic_captures.py",),
    ),
    Mutation(
        "an optimistic capture takes more than was held",
        (
            Change(
                "wallet/optimistic_captures.py",
                "        or sum(leg.amount for leg in legs) > hold.amount\n",
                "",
            ),
        ),
        (_UNIT + "wallet/test_optimistic_captures.py",),
    ),
    Mutation(
        "payments complete whatever the state",
        (
            Change(
                "db/queries/withdrawals.sql",
                "    where case when w.status = 'processing' then true else false end\n",
                "",
            ),
        ),
        (_DB + "test_optimistic_batches.py", _DB + "test_withdrawals.py"),
    ),
    Mutation(
        "payments are written though one is not processing",
        (
            Change(
                "db/queries/withdrawals.sql",
                "when (select count(*) from locked) < cardinality($1) or wallets <",
                "when wallets <",
            ),
        ),
        (_DB + "test_optimistic_batches.py", _DB + "test_withdrawals.py"),
    ),
    Mutation(
        "more is withdrawn than there is",
        (
            Change(
                "wallet/bookings.py",
                "    if withdrawable < amount:\n",
                "    if withdrawable + wallet.held < amount:\n",
            ),
        ),
        (
            _UNIT + "wallet/test_decide.py",
            _DB + "test_concurrent_writers.py::test_64_withdrawals_of_everything",
        ),
    ),
    Mutation(
        "a release written twice",
        (
            Change(
                "wallet/bookings.py",
                "    del wallet.matured[:ended]\n",
                "",
            ),
        ),
        (_UNIT + "wallet/test_decide.py", _DB + "test_releases.py"),
    ),
    Mutation(
        "matured money counted twice in reads",
        (
            Change(
                "db/reads.py",
                "                locked - matured,\n",
                "                locked,\n",
            ),
        ),
        (_DB + "test_releases.py", _GATEWAY + "test_charges.py::test_locked_until_release_at"),
    ),
    Mutation(
        "matured locks not counted in reads",
        (
            Change(
                "db/queries/reads.sql", "    case when w.locked > 0 then (\n", "    case when false then (\n"
            ),
        ),
        (_DB + "test_releases.py", _GATEWAY + "test_charges.py::test_locked_until_release_at"),
    ),
    Mutation(
        "matured locks not counted in decisions",
        (
            Change(
                "wallet/bookings.py",
                "    withdrawable = wallet.available + sum(lock.amount for lock in wallet.matured)\n",
                "    withdrawable = wallet.available\n",
            ),
        ),
        (_UNIT + "wallet/test_decide.py", _DB + "test_releases.py::test_matured_without_any_job"),
    ),
    Mutation(
        "a balance may go below zero in the database",
        (
            Change(
                "db/migrations/20261122_01_ledger.sql",
                "available bigint not null default 0 check (available >= 0)",
                "available bigint not null default 0",
            ),
        ),
        (_DB + "test_constraints.py",),
    ),
    Mutation(
        "the books can be rewritten",
        (
            Change(
                "db/migrations/20261127_01_references.sql",
                "before delete or truncate on transfers",
                "before truncate on transfers",
            ),
        ),
        (_DB + "test_constraints.py::test_transfers_are_append_only",),
    ),
    Mutation(
        "answered before it is on disk",
        (
            Change(
                "db/sessions.py",
                '        "jit": "off",\n',
                '        "jit": "off",\n        "synchronous_commit": "off",\n',
            ),
        ),
        (_DB + "test_outage.py::test_a_server_that_is_killed",),
    ),
)

MESSAGES = (
    Mutation(
        "the outbox row dropped before the message is published",
        (
            Change(
                "actors/relay.py",
                "            confirmed = await publisher.publish(",
                "            await self._outbox.published(messages)\n"
                '            await self._outbox._connection.execute("commit; begin")\n'
                "            confirmed = await publisher.publish(",
            ),
        ),
        (_CRASH + "test_relay_crashes.py", _ACTORS + "test_relay.py::test_what_was_not_confirmed_stays"),
    ),
    Mutation(
        "the outbox row dropped though the message was not confirmed",
        (
            Change(
                "actors/relay.py",
                "for message, held in zip(carried, confirmed, strict=True) if held]",
                "for message, held in zip(carried, confirmed, strict=True)]",
            ),
        ),
        (_ACTORS + "test_relay.py",),
    ),
    Mutation(
        "a lost connection counts as a confirm",
        (Change("actors/amqp.py", "bodies, [False] * len(bodies)", "bodies, [True] * len(bodies)"),),
        (_ACTORS + "test_relay.py",),
    ),
    Mutation(
        "published without mandatory",
        (Change("actors/amqp.py", "PERSISTENT, mandatory=True)", "PERSISTENT, mandatory=False)"),),
        (_ACTORS + "test_relay.py",),
    ),
    Mutation(
        "published not persistent",
        (Change("actors/amqp.py", "delivery_mode=2", "delivery_mode=1"),),
        (_ACTORS + "test_relay.py",),
    ),
    Mutation(
        "a withdrawal without its outbox row",
        (
            Change(
                "db/queries/ledger.sql",
                "select user_id, id, $12\nfrom new_withdrawals;",
                "select user_id, id, $12\nfrom new_withdrawals where false;",
            ),
        ),
        (_DB + "test_outbox.py::test_a_message_goes_with_the_money",),
    ),
    Mutation(
        "a message that could not be begun is acknowledged",
        (
            Change(
                "actors/middleware/dead_letters.py",
                "            message.requeued = True",
                "            message.requeued = False",
            ),
        ),
        (_ACTORS + "test_bank_faults.py::test_told_to_stop_in_an_outage_actors_give_their_messages_back",),
    ),
    Mutation(
        "no dead letter",
        (
            Change(
                "actors/middleware/dead_letters.py",
                "            message.fail()\n            DEAD_LETTERS",
                "            DEAD_LETTERS",
            ),
        ),
        (_ACTORS + "test_dead_letters.py", _CRASH + "test_actor_crashes.py"),
    ),
    Mutation(
        "a callback's signature not checked",
        (
            Change(
                "gateway/contract/callback_signatures.py",
                "                webhook.verify(body, headers, json_parse=False)\n",
                "                pass\n",
            ),
        ),
        (_GATEWAY + "test_callbacks.py",),
    ),
)

REQUESTS = (
    Mutation(
        "a member named twice is taken",
        (
            Change(
                "gateway/wire/request_reader.py",
                "if body.count(b'\"') != _quotes(asked):",
                "if False:",
            ),
        ),
        (_UNIT + "gateway/wire/test_duplicate_members.py",),
    ),
    Mutation(
        "numbers are compared as floats",
        (
            Change(
                "wallet/canonical.py",
                "_read = json.JSONDecoder(parse_float=_number).decode\n",
                "_read = json.JSONDecoder().decode\n",
            ),
        ),
        (_UNIT + "wallet/test_canonical.py",),
    ),
    Mutation(
        "fingerprints of before are no one's",
        (
            Change(
                "wallet/fingerprints.py",
                "        return _is_of_first_version(made, parts)\n",
                "        return False\n",
            ),
        ),
        (
            _UNIT + "wallet/test_commands.py",
            _GATEWAY + "test_same_request.py::test_rows_of_the_first_version",
        ),
    ),
    Mutation(
        "a key in quotes is another one",
        (
            Change(
                "gateway/contract/idempotency_keys.py", "    if line.startswith('\"'):\n", "    if False:\n"
            ),
        ),
        (
            _UNIT + "gateway/contract/test_idempotency_keys.py",
            _GATEWAY + "test_keys.py::test_one_key_in_many_forms",
        ),
    ),
    Mutation(
        "of two keys in the header one is taken",
        (Change("gateway/contract/idempotency_keys.py", "    if len(keys) != 1:\n", "    if not keys:\n"),),
        (_UNIT + "gateway/contract/test_idempotency_keys.py", _GATEWAY + "test_keys.py::test_no_one_key"),
    ),
)

TRANSFERS = (
    Mutation(
        "a transfer is not paid for",
        (
            Change(
                "wallet/decide.py",
                "if needed := make_available(payer, request.amount, now, decision):",
                "if needed := None:",
            ),
        ),
        (_DB + "test_transfers.py::test_all_legs_or_none",),
    ),
    Mutation(
        "an optimistic batch needs no money",
        (
            Change(
                "wallet/batch_rows.py",
                "self.needed = max(self.needed, -self.available)",
                "self.needed = 0",
            ),
        ),
        (_UNIT + "wallet/test_optimistic.py",),
    ),
    Mutation(
        "a hold that has expired can be captured",
        (
            Change(
                "wallet/decide_follow_ups.py",
                '    if hold.status == "open" and hold.expires_at is not None and hold.expires_at <= now:\n',
                "    if False:\n",
            ),
        ),
        (_DB + "test_transfers.py::test_an_expired_hold_is_over_from_its_instant",),
    ),
    Mutation(
        "a hold ends twice",
        (
            Change(
                "wallet/decide_follow_ups.py",
                '    if hold.status != "open":\n        raise HoldNotOpen(hold.status)\n',
                "    assert hold\n",
            ),
        ),
        (
            _DB + "test_transfers.py::test_a_hold_and_its_capture",
            _DB + "test_transfers.py::test_voiding_is_idempotent",
        ),
    ),
    Mutation(
        "more is captured than was held",
        (
            Change(
                "wallet/decide_follow_ups.py",
                "    if amount > hold.amount:\n        raise CaptureExceedsHold",
                "    if False:\n        raise CaptureExceedsHold",
            ),
        ),
        (_DB + "test_transfers.py::test_what_a_capture_refuses",),
    ),
    Mutation(
        "the rest of a capture is kept",
        (
            Change(
                "wallet/decide_follow_ups.py",
                "    if amount < hold.amount:\n",
                "    if False:\n",
            ),
        ),
        (_DB + "test_transfers.py::test_a_hold_and_its_capture",),
    ),
    Mutation(
        "a hold that has ended expires still",
        (
            Change(
                "wallet/decide_follow_ups.py",
                '    """Let the hold not expire any more."""\n    if hold.expires_at is not None:\n',
                '    """Let the hold not expire any more."""\n    if False:\n',
            ),
        ),
        (
            _DB + "test_transfers.py::test_a_hold_and_its_capture",
            _DB + "test_transfers.py::test_voiding_is_idempotent",
            _AUDIT + "test_audit.py::test_right_books_have_no_violations",
        ),
    ),
    Mutation(
        "a hold that has expired is held in reads",
        (
            Change(
                "db/queries/reads.sql",
                "case when w.held > 0 then (",
                "case when false then (",
            ),
        ),
        (_DB + "test_transfers.py::test_an_expired_hold_is_over_from_its_instant",),
    ),
    Mutation(
        "more is reversed than there was",
        (
            Change(
                "wallet/follow_ups.py",
                "if asked > self.left or not asked:",
                "if not asked:",
            ),
        ),
        (
            _DB + "test_transfers.py::test_two_reversals_at_once",
            _DB + "test_transfers.py::test_reversals_of_a_charge",
        ),
    ),
    Mutation(
        "the last reversal alone is counted",
        (
            Change(
                "db/queries/follow_ups.sql",
                "do update set reversed = r.reversed + excluded.reversed",
                "do update set reversed = excluded.reversed",
            ),
        ),
        (_DB + "test_transfers.py::test_reversals_of_a_charge",),
    ),
    Mutation(
        "the last reversal of a leg alone is counted",
        (
            Change(
                "db/queries/follow_ups.sql",
                "set reversed = t.reversed + b.amount",
                "set reversed = b.amount",
            ),
        ),
        (_DB + "test_transfers.py::test_transfers_are_taken_back",),
    ),
    Mutation(
        "what is reversed stays in its lock",
        (
            Change(
                "wallet/decide_follow_ups.py",
                "    if from_locked:\n        source.locked -= amount\n",
                "    if False:\n        source.locked -= amount\n",
            ),
        ),
        (_DB + "test_transfers.py::test_reversals_of_locked_money",),
    ),
    Mutation(
        "locked money is reversed out of what is available",
        (
            Change(
                "wallet/decide_follow_ups.py",
                "    if is_locked and source.release_at is not None and source.release_at > now:\n",
                "    if False:\n",
            ),
        ),
        (_DB + "test_transfers.py::test_reversals_of_locked_money",),
    ),
    Mutation(
        "follow-ups are decided by what was there before the lock",
        (
            Change(
                "db/follow_up_writer.py",
                "before = await _facts(connection, holds, (), ()) if holds else Facts()",
                "before = await _facts(connection, holds, charges, transfers)",
            ),
            Change(
                "db/follow_up_writer.py",
                "    facts = await _facts(connection, holds, charges, transfers)\n",
                "    facts = before\n",
            ),
        ),
        (
            _DB + "test_transfers.py::test_two_reversals_at_once",
            _DB + "test_transfers.py::test_voiding_is_idempotent",
        ),
    ),
    Mutation(
        "a release counts from an instant before the money came",
        (
            Change(
                "db/queries/releases.sql",
                "greatest(r.release_at, uuid7_instant(r.charge_id))",
                "r.release_at",
            ),
        ),
        (
            _DB + "test_releases.py::test_the_statement_releases_as_the_domain_does",
            _AUDIT + "test_audit.py::test_right_books_have_no_violations",
        ),
    ),
)

AUDIT = (
    Mutation(
        "the audit does not add up what is held",
        (
            Change(
                "db/queries/audit.sql",
                "not s.there or s.held = s.held_sum, 1,",
                "true, 1,",
            ),
        ),
        (_AUDIT + "test_planted.py",),
    ),
    Mutation(
        "the audit does not compare what is held with the open withdrawals",
        (
            Change(
                "db/queries/audit.sql",
                "coalesce(s.held, 0) = coalesce(o.held, 0), 2, 'held'",
                "true, 2, 'held'",
            ),
        ),
        (_AUDIT + "test_planted.py",),
    ),
    Mutation(
        "the audit takes any fingerprint",
        (
            Change(
                "db/audit/keys.py",
                'next((one for one in _requests(row) if _is_fingerprint(one, row["fingerprint"])), None)',
                "next(_requests(row), None)",
            ),
        ),
        (_AUDIT + "test_planted.py",),
    ),
    Mutation(
        "the audit does not add up what transfers put against each other",
        (
            Change(
                "db/queries/audit_transfers.sql",
                "having sum(case when credit_account = 'peer' then amount else -amount end) is distinct from 0",
                "having false",
            ),
        ),
        (_AUDIT + "test_planted.py",),
    ),
    Mutation(
        "the audit takes any counter of what was reversed",
        (
            Change(
                "db/queries/audit_transfers.sql",
                "(n.reversed = o.reversed and n.amount = c.amount and n.reversed between 1 and c.amount and",
                "(true and",
            ),
        ),
        (_AUDIT + "test_planted.py",),
    ),
    Mutation(
        "the audit does not count what holds keep",
        (
            Change(
                "db/queries/audit.sql",
                "select user_id, currency, amount from holds where status = 'open'",
                "select user_id, currency, amount from holds where false",
            ),
        ),
        (_AUDIT + "test_audit.py",),
    ),
    Mutation(
        "the audit does not see what was completed here and not paid there",
        (
            Change(
                "db/queries/audit.sql",
                "where b.reference = coalesce(replace(w.reference::text, '-', ''), w.id::text)",
                "where true",
            ),
        ),
        (_AUDIT + "test_audit.py",),
    ),
)

DOOR = (
    Mutation(
        "any host is served",
        (
            Change(
                "gateway/wire/admission.py",
                "        if host and not self._serves(host, local_address):\n",
                "        if False:\n",
            ),
        ),
        (_UNIT + "gateway/wire/test_admission.py",),
    ),
    Mutation(
        "pages of other sites may cancel",
        (
            Change(
                "gateway/wire/admission.py",
                "        if request.method not in SAFE_METHODS and",
                '        if "content-type" in request.headers and',
            ),
        ),
        (_UNIT + "gateway/wire/test_admission.py", _GATEWAY + "test_web_pages.py"),
    ),
    Mutation(
        "a body without Content-Type is taken",
        (
            Change(
                "gateway/wire/body.py",
                "    if content_type != JSON and",
                "    if content_type and content_type != JSON and",
            ),
        ),
        (_GATEWAY + "test_web_pages.py",),
    ),
    Mutation(
        "a field that decides may come twice",
        (Change("gateway/wire/head.py", "            if name in fields:\n", "            if False:\n"),),
        (_UNIT + "gateway/wire/test_llhttp.py",),
    ),
    Mutation(
        "chunks end by line feeds alone",
        (Change("gateway/wire/chunks.py", 'rb"))?)*\\r\\n"\n', 'rb"))?)*\\r?\\n"\n'),),
        (_UNIT + "gateway/wire/test_chunks.py", _UNIT + "gateway/wire/test_llhttp.py"),
    ),
    Mutation(
        "the fast path takes names with blanks",
        (Change("gateway/wire/protocol.py", "        if not is_field_name(name):\n", "        if False:\n"),),
        (_UNIT + "gateway/wire/test_llhttp.py",),
    ),
    Mutation(
        "what follows trailers is lost",
        (Change("gateway/wire/chunks.py", "        return end + 4\n", "        return len(buffer)\n"),),
        (_UNIT + "gateway/wire/test_chunks.py",),
    ),
    Mutation(
        "the kernel keeps what nobody reads",
        (Change("gateway/wire/server.py", "        bound_what_is_unread(listener)\n", ""),),
        (_GATEWAY + "test_unread.py",),
    ),
)

LOGIN = (
    Mutation(
        "the bank's credential goes in the clear",
        (
            Change(
                "runtime/bank_settings.py",
                "                not (self.token or self.token_file or self.user) or _is_private_way(self.url),\n",
                "                True,\n",
            ),
        ),
        (_ACTORS + "test_bank_login.py",),
    ),
    Mutation(
        "what a proxy refuses is taken for a tunnel",
        (Change("actors/bank/tunnel.py", "        if not 200 <= status < 300:\n", "        if False:\n"),),
        (_ACTORS + "test_bank_proxy.py",),
    ),
    Mutation(
        "behind a proxy the bank is taken for the proxy",
        (Change("actors/bank/tunnel.py", "server_hostname=host)", "server_hostname=proxy.host)"),),
        (_ACTORS + "test_bank_proxy.py",),
    ),
    Mutation(
        "one signature that can't be read hides the others",
        (
            Change(
                "gateway/contract/callback_signatures.py",
                "for signature in line.split() if _is_readable(signature)]",
                "for signature in line.split()]",
            ),
        ),
        (_GATEWAY + "test_callbacks.py",),
    ),
    Mutation(
        "only the first of two secrets counts",
        (
            Change(
                "gateway/contract/callback_signatures.py",
                "        for webhook in self._webhooks:\n",
                "        for webhook in self._webhooks[:1]:\n",
            ),
        ),
        (_GATEWAY + "test_callbacks.py",),
    ),
)

MUTATIONS = BANK + MOVES + LEDGER + TRANSFERS + MESSAGES + REQUESTS + AUDIT + DOOR + LOGIN
