"""Writes a batch in one statement, if all of its keys are new and its requests can be accepted: nearly always."""

from collections.abc import Sequence
from datetime import timedelta
from operator import attrgetter
from typing import Any

import asyncpg
from asyncpg.pgproto import pgproto

from db.connections import autocommit
from db.errors import Rejected
from db.ledger_writes import is_known_reference, is_used_key
from db.sql import load
from db.strict import one, whole
from wallet.batch_rows import RaisedInstants
from wallet.commands import Charge, LedgerCommand, MakeTransfer, PlaceHold, Withdraw, wallets_of
from wallet.limits import UNLIMITED, Limits
from wallet.optimistic import OptimisticBatch, optimistic_batch
from wallet.optimistic_captures import CaptureBatch
from wallet.receipts import Recorded

_SQL = load("ledger")
_NULLABLE = ("instants", "id_starts", "numbers")
_WALLET = attrgetter("wallet")
IN_DOUBT_PART = 4
"""At most this part of a batch, one divided by this, can be set apart as in doubt; with more, all of it is."""
_OF_WITHDRAWALS = (_SQL["write_withdrawals"], _SQL["write_commands"])


class OptimisticWriter:
    """Locks the wallets, checks and writes in one statement, which fails as a whole unless nearly all can be accepted.

    `bank_prefix` replaces the stack's own prefix in the references for the bank. If no actor starts a withdrawal within
    `redrive_after`, the reconciler announces it again. `limits` are those of wallets.
    """

    def __init__(self, redrive_after: timedelta, bank_prefix: str | None, limits: Limits = UNLIMITED) -> None:
        self._redrive_after = redrive_after
        self._bank_prefix = bank_prefix
        self._balance = None if limits.balance == UNLIMITED.balance else limits.balance

    async def write(
        self, connection: Any, commands: Sequence[LedgerCommand]
    ) -> list[Recorded | None] | Rejected:
        """Write the batch; return the recorded receipts, in order, or the reason why nothing was written.

        The receipt is None for a command that is in doubt: nothing is written for it, because its wallet is not there
        yet or has too little. They are few; none are where the batch has transfers, which concern several wallets.
        """
        batch = optimistic_batch(commands, balance=self._balance)
        # The order of the index that they go into is better for the processor's caches: 3 % of a large batch's time.
        movements = sorted(batch.movements, key=_WALLET)
        wallets = len(batch.changes)
        least = wallets if len(batch.first) < len(movements) else wallets - wallets // IN_DOUBT_PART
        arguments = [batch.changes, movements, batch.first_release_at, least]
        statement = _statement(batch)
        if statement in _OF_WITHDRAWALS:
            arguments += [self._redrive_after, self._bank_prefix, *_traces(batch)]
        row = await _written(connection, statement, arguments)
        if isinstance(row, Rejected):
            return row
        accepted = row["numbers"] or range(1, wallets + 1)
        # asyncpg's UUID is a subclass of Python's, written in C: it takes a seventh of the time.
        receipts = batch.receipts(row["id_start"], row["now"], _raised(row, accepted), pgproto.UUID)
        written = [Recorded(receipt, replayed=False) for receipt in receipts]
        if row["numbers"] is None:
            return list(written)
        taken = set(accepted)
        return [
            one if first.wallet in taken else None for one, first in zip(written, batch.first, strict=True)
        ]

    async def in_doubt(self, connection: Any, commands: Sequence[LedgerCommand]) -> set[int]:
        """Return the places of those commands because of which a batch was rejected, as far as can be seen.

        None are returned if wallets have to be created: then the whole batch may be accepted.
        """
        batch = optimistic_batch(commands, balance=self._balance)
        keys = zip(*((command.space, command.key) for command in commands), strict=True)
        async with autocommit(connection):
            rows = await connection.fetch(_SQL["in_doubt"], batch.changes, *keys)
        numbers = {whole(row)["number"] for row in rows}
        if 0 in numbers:
            return set()
        wallets = {change[:2] for number, change in enumerate(batch.changes, 1) if number in numbers}
        return {
            place
            for place, command in enumerate(commands)
            if -(place + 1) in numbers or not wallets.isdisjoint(wallets_of(command))
        }


async def write_captures(connection: Any, batch: CaptureBatch) -> list[Recorded] | Rejected:
    """Write a batch of captures; return the recorded receipts, in order, or the reason why nothing was written."""
    locks = batch.first_release_at is not None
    statement = _SQL["write_captures_with_locks"] if locks else _SQL["write_captures"]
    movements = sorted(batch.movements, key=_WALLET)
    wallets = len(batch.changes)
    row = await _written(connection, statement, [batch.changes, movements, batch.first_release_at, wallets])
    if isinstance(row, Rejected):
        return row
    receipts = batch.receipts(row["id_start"], _raised(row, range(1, wallets + 1)), pgproto.UUID)
    return [Recorded(receipt, replayed=False) for receipt in receipts]


async def _written(connection: Any, statement: str, arguments: Sequence[Any]) -> Any:
    """Execute the statement; return its row, or the reason why it has written nothing."""
    try:
        async with autocommit(connection):
            rows = await connection.fetch(statement, *arguments)
    except asyncpg.RaiseError:
        return Rejected("a wallet is not there yet or has too little, or what was read is over")
    except asyncpg.CheckViolationError:
        return Rejected("a balance would pass its limits")
    except asyncpg.UniqueViolationError as error:
        if is_used_key(error) or is_known_reference(error):
            return Rejected("an idempotency key was used before")
        raise
    return one(rows, _NULLABLE)


def _traces(batch: OptimisticBatch) -> tuple[list[str], list[str], list[str]]:
    """Return where the withdrawals come from: the ends of their references, request ids, places in traces."""
    traces = {
        movement.reference_end: request.trace
        for request, movement in zip(batch.requests, batch.first, strict=True)
        if type(request) is Withdraw and request.trace is not None and movement.reference_end is not None
    }
    return (
        list(traces),
        [trace.request_id for trace in traces.values()],
        [trace.traceparent for trace in traces.values()],
    )


def _raised(row: Any, numbers: Sequence[int]) -> RaisedInstants | None:
    """Return the instants of the wallet changes with these numbers; the others have some that mean nothing."""
    if not row["instants"]:
        return None
    instants, id_starts = [row["now"]] * numbers[-1], [row["id_start"]] * numbers[-1]
    for number, instant, id_start in zip(numbers, row["instants"], row["id_starts"], strict=True):
        instants[number - 1], id_starts[number - 1] = instant, id_start
    return RaisedInstants(instants, id_starts)


def _statement(batch: OptimisticBatch) -> str:
    """Return the statement that has all the parts that the batch needs, and few others."""
    if batch.plain:
        return _SQL["write_plain_charges"]
    kinds = {type(request) for request in batch.requests}
    if batch.first_release_at is None and kinds <= {Charge, MakeTransfer}:
        return _SQL["write_transfers"]
    if batch.first_release_at is None and kinds <= {Charge, Withdraw}:
        return _SQL["write_withdrawals"]
    if kinds <= {Charge, PlaceHold}:
        return _SQL["write_holds"] if batch.first_release_at is None else _SQL["write_holds_with_locks"]
    return _SQL["write_commands"]
