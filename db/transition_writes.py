"""The statements for transitions of withdrawals: all payments at once, optimistically, or any transition under lock."""

import re
from collections.abc import Sequence
from operator import itemgetter
from typing import Any
from uuid import UUID

import asyncpg

from db.connections import autocommit
from db.ledger_writes import lock_wallets, record
from db.sql import load
from db.strict import one, require, require_tag, rows_of, whole
from wallet.commands import Settle, SettleByHand, WithdrawalCommand
from wallet.decide_transitions import decide_transitions
from wallet.ids import uuid7_ends
from wallet.outcomes import Paid, said
from wallet.transitions import Ladder, Transitions, Withdrawal
from wallet.withdrawal import Status

_SQL = load("withdrawals")
NULLABLE = (
    "destination",
    "reference",
    "failure_code",
    "failure_reason",
    "bank_reference",
    "accepted_at",
    "request_id",
    "traceparent",
)
"""Columns of a withdrawal that may be NULL."""

SAID_CHARACTERS_MAX = 300
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")

_Payment = tuple[UUID, str, str, str, int | None]
"""A withdrawal, its user, the bank's reference, the author, and how many milliseconds the round took."""


async def write_transitions(
    connection: Any, commands: Sequence[WithdrawalCommand], ladder: Ladder
) -> Transitions:
    """Lock the withdrawals and their wallets, decide, and write the decisions, in the caller's transaction."""
    rows = await connection.fetch(_SQL["lock"], list({c.withdrawal_id for c in commands}))
    withdrawals = {row["id"]: _withdrawal(whole(row, NULLABLE)) for row in rows}
    ids = {(w.user_id, w.currency) for w in withdrawals.values()}
    locked = await lock_wallets(connection, ids)
    require(locked.wallets.keys() == ids, "a withdrawal without its wallet")
    proposed = await _take_proposals(connection, commands)
    transitions = decide_transitions(commands, withdrawals, locked.wallets, locked.now, ladder, proposed)
    if transitions.transfers:
        await record(connection, transitions.transfers, locked.wallets.values())
    if transitions.changed:
        await _write(connection, transitions, locked.now)
    return transitions


async def _take_proposals(connection: Any, commands: Sequence[WithdrawalCommand]) -> frozenset[UUID]:
    """Remove the proposals that were approved; return the withdrawals that had them and did not change since.

    The withdrawals are under lock.
    """
    approved = [
        (command.withdrawal_id, command.proposed_at)
        for command in commands
        if isinstance(command, SettleByHand) and command.proposed_at is not None
    ]
    if not approved:
        return frozenset()
    rows = await connection.fetch(_SQL["take_proposals"], *zip(*approved, strict=True))
    return frozenset(whole(row)["withdrawal_id"] for row in rows)


async def _write(connection: Any, transitions: Transitions, now: Any) -> None:
    for step in _steps_before_the_last(transitions):
        status = await connection.execute(_SQL["step"], *zip(*step, strict=True))
        require_tag(status, f"UPDATE {len(step)}")
    states = [
        (
            w.id,
            w.user_id,
            w.status.value,
            w.rounds,
            w.next_attempt_at,
            w.history_length,
            w.failure_code,
            w.failure_reason,
            w.bank_reference,
            w.updated_at,
            w.accepted_at,
        )
        for w in transitions.changed.values()
    ]
    announced = [(w.id, w.user_id) for w in transitions.announced]
    rows = await connection.fetch(
        _SQL["move"],
        *zip(*states, strict=True),
        *(zip(*transitions.history, strict=True) if transitions.history else [()] * 7),
        *(zip(*announced, strict=True) if announced else [()] * 2),
        now,
    )
    written, told = tuple(one(rows)), (len(states), len(transitions.history))
    require(written == told, f"{written} withdrawals and rows of history were written instead of {told}")


async def record_attempts(connection: Any, commands: Sequence[WithdrawalCommand]) -> None:
    """Write down what the bank said in each round of calls, and how long that took, in the caller's transaction."""
    attempts = [
        (
            command.withdrawal_id,
            command.user_id,
            command.attempt,
            command.took_ms,
            _CAPITAL.sub("_", type(command.outcome).__name__).lower(),
            said(command.outcome)[:SAID_CHARACTERS_MAX],
        )
        for command in commands
        if isinstance(command, Settle) and command.took_ms is not None
    ]
    if attempts:
        rows_of(await connection.execute(_SQL["record_attempts"], *zip(*attempts, strict=True)), "INSERT 0")


def payments_only(commands: Sequence[WithdrawalCommand]) -> list[_Payment]:
    """Return the payments of a batch that has nothing else, in key order; an empty list for any other batch."""
    payments = [
        (command.withdrawal_id, command.user_id, command.outcome.payout_id, command.by, command.took_ms)
        for command in commands
        if isinstance(command, Settle) and isinstance(command.outcome, Paid)
    ]
    return sorted(payments, key=itemgetter(0)) if len(payments) == len(commands) else []


async def complete(connection: Any, payments: list[_Payment]) -> list[Status] | None:
    """Complete withdrawals that the bank has paid, in one statement, if all of them are processing (nearly always so).

    If one is in another state, write nothing and return None.
    """
    ends = [f"{end:016x}" for end, _ in zip(uuid7_ends(), payments, strict=False)]
    try:
        async with autocommit(connection):
            ids, users, references, by, took_ms = zip(*payments, strict=True)
            rows = await connection.fetch(_SQL["complete"], ids, users, references, ends, by, took_ms)
    except asyncpg.RaiseError:
        return None
    require(one(rows)["payments"] == len(payments), "a payment without its transfer")
    return [Status.COMPLETED] * len(payments)


def _steps_before_the_last(transitions: Transitions) -> list[list[tuple[UUID, str, str, str | None]]]:
    """Return all transitions but the last of each withdrawal in this batch: the first ones, the second ones, …

    The trigger that guards the states sees the effect of one statement on a row, so each legal transition needs its own
    statement. The result is seldom more than empty: a return that overtook the news of its payment completes and
    returns at once.
    """
    by_withdrawal: dict[UUID, list[tuple[UUID, str, str, str | None]]] = {}
    for row in transitions.history:
        reference = transitions.changed[row.withdrawal_id].bank_reference
        by_withdrawal.setdefault(row.withdrawal_id, []).append(
            (row.withdrawal_id, row.user_id, row.status, reference)
        )
    steps: list[list[tuple[UUID, str, str, str | None]]] = []
    for rows in by_withdrawal.values():
        for number, step in enumerate(rows[:-1]):
            if number == len(steps):
                steps.append([])
            steps[number].append(step)
    return steps


def _withdrawal(row: Any) -> Withdrawal:
    return Withdrawal(
        row["id"],
        row["user_id"],
        row["currency"],
        row["amount"],
        Status(row["status"]),
        row["attempts"],
        row["rounds"],
        row["next_attempt_at"],
        row["history_length"],
        row["failure_code"],
        row["failure_reason"],
        row["bank_reference"],
        row["accepted_at"],
        row["may_be_known"],
        updated_at=row["updated_at"],
    )
