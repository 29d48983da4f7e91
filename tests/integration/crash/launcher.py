"""Runs one of our processes as it really is, until it comes to a named step: there it kills itself, SIGKILL.

    CRASH_MODULE=actors.relay CRASH_STEP="outbox claimed" CRASH_FLAG=file \\
        python -m tests.integration.crash.launcher

The step is a function of the production code, wrapped in this process only; the production code knows nothing
of it. What the process did before the step is done, what it would have done after it is not: SIGKILL can't be
caught. The flag is written first, so that a test can tell this death from another. Some steps only note that
they were reached and let the process live, for a test that then does something else to it.
"""

import asyncio
import importlib
import os
import signal
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import partial, wraps
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import asyncpg
from dramatiq.middleware import TimeLimit
from pika.adapters.utils.io_services_utils import _AsyncPlaintextTransport
from pika.channel import Channel

import actors.broker
import actors.middleware.event_loop
import actors.payouts
import db.archive
import db.connections
import db.events
import db.ledger
import db.ledger_writes
import db.locking_writer
import db.optimistic_writer
import db.reconciliation
import db.releases
import db.stack
import db.transition_writes
import db.withdrawals
import ops.dlq
from actors.amqp import AmqpConnection
from actors.bank.http import HttpBank
from actors.bank.protocol import PayoutOrder
from actors.payouts import Payouts
from actors.relay import Relay
from db.courier import CourierSession
from db.group_commit import GroupCommit
from db.held import HeldLane
from db.ledger import Ledger
from db.outbox import Outbox
from db.reconciliation import ReconcilerSession
from db.withdrawals import Withdrawals
from gateway.reads import Reads
from ops.archive_files import ArchiveFolder
from tests.polling import poll_until, wait_until
from wallet.commands import Cancel, Charge, MakeTransfer, PlaceHold, Settle, Withdraw
from wallet.follow_up_commands import CaptureHold, ReverseCharge, ReverseTransfer, VoidHold
from wallet.outcomes import PayOutcome
from wallet.withdrawal import Status

BANK_S_MAX = 60.0
RELEASED_AT_ONCE = 3
"""Locks, in the process that is to die between two steps of a release."""

Reached = Callable[[tuple[Any, ...], Any], bool]
"""Tells from a call's arguments (self included) and its result whether this call is the one."""


def reached() -> None:
    """Note that the process is where the test wants it."""
    Path(os.environ["CRASH_FLAG"]).touch()


def die() -> None:
    """End here and now."""
    reached()
    os.kill(os.getpid(), signal.SIGKILL)


def always(arguments: tuple[Any, ...], result: Any) -> bool:
    return True


def replace(owner: Any, name: str, by: object) -> None:
    """Put something else in the place of `owner.name`, which is there."""
    assert hasattr(owner, name)
    setattr(owner, name, by)


def after(owner: Any, name: str, when: Reached = always) -> None:
    """Die when `owner.name` has done its work, before its caller learns of it."""
    original = getattr(owner, name)

    @wraps(original)
    async def die_after_coroutine(*arguments: Any, **options: Any) -> Any:
        result = await original(*arguments, **options)
        if when(arguments, result):
            die()
        return result

    @wraps(original)
    def die_after_function(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        if when(arguments, result):
            die()
        return result

    replace(owner, name, die_after_coroutine if iscoroutinefunction(original) else die_after_function)


def before(owner: Any, name: str, when: Reached = always) -> None:
    """Die when `owner.name` is about to begin."""
    original = getattr(owner, name)

    @wraps(original)
    def die_before(*arguments: Any, **options: Any) -> Any:
        if when(arguments, None):
            die()
        return original(*arguments, **options)

    replace(owner, name, die_before)


_is_here: ContextVar[bool] = ContextVar("is_here", default=False)
"""Whether the task that commits is in the call that is to die: others commit at the same time."""


def before_commit_of(owner: Any, name: str, when: Reached = always) -> None:
    """Die when what `owner.name` writes has been written, and is not committed.

    Where it is one statement, which commits itself, that statement gets a transaction around it here. What is written
    after the call has ended, well or not, is none of it.
    """
    original = getattr(owner, name)

    @wraps(original)
    async def write(*arguments: Any, **options: Any) -> Any:
        here = _is_here.set(when(arguments, None))
        try:
            return await original(*arguments, **options)
        finally:
            _is_here.reset(here)

    replace(owner, name, write)
    for module in (
        db.ledger_writes,
        db.optimistic_writer,
        db.locking_writer,
        db.transition_writes,
        db.connections,
        db.releases,
        db.withdrawals,
    ):
        replace(module, "autocommit", _die_before_commit)
    for module in (db.ledger_writes, db.withdrawals):
        replace(module, "transaction", _die_before_commit)


@asynccontextmanager
async def _die_before_commit(connection: Any) -> AsyncIterator[None]:
    try:
        await connection.execute("begin")
        yield
    except asyncio.CancelledError:
        connection.terminate()
        raise
    except Exception:
        await connection.execute("rollback")
        raise
    if _is_here.get():
        die()
    await connection.execute("commit")


def between_steps_of_a_release() -> None:
    """Die when the lane has released some of what a withdrawal needs: few are many here, and a step is short."""
    release_oldest = db.releases.release_oldest

    async def release_few(connection: Any, ids: Any, locks_max: int = 0) -> Any:
        return await release_oldest(connection, ids, RELEASED_AT_ONCE)

    db.releases.release_oldest = release_few
    db.ledger_writes.MATURED_MAX = RELEASED_AT_ONCE
    after(db.releases, "release_oldest", lambda _, steps: any(step.locks for step in steps.values()))


# --- The courier's transaction ---

NUMBERED_AT_ONCE = 2
"""Batches, in the courier that is to die: its second transaction is in the middle of what waits."""

Call = Callable[[], Awaitable[Any]]


def around_statement(owner: Any, name: str, statement: str, call: Callable[[Call], Awaitable[Any]]) -> None:
    """Have `call` make the second call of `owner.name` that runs this statement."""
    original = getattr(owner, name)
    runs = 0

    async def run(connection: Any, text: str, *arguments: Any, **options: Any) -> Any:
        nonlocal runs
        runs += text == statement
        one = partial(original, connection, text, *arguments, **options)
        return await (call(one) if text == statement and runs == 2 else one())

    replace(owner, name, run)


def while_numbering(name: str, statement: str, call: Callable[[Call], Awaitable[Any]]) -> Callable[[], None]:
    """Return a step: `call` makes the call of a statement of the second transaction that numbers."""

    def wrap() -> None:
        db.events.BATCHES_MAX = NUMBERED_AT_ONCE
        around_statement(asyncpg.Connection, name, statement, call)

    return wrap


async def die_instead(_: Call) -> None:
    die()


async def die_behind(call: Call) -> None:
    await call()
    die()


async def die_in_the_middle(call: Call) -> None:
    """Die when the statement has been sent, and nobody knows how far the server is with it."""
    underway = asyncio.ensure_future(call())
    await asyncio.sleep(0)
    assert not underway.done()
    die()


async def stand_still_behind(call: Call) -> Any:
    """Note that the statement is done, and freeze, SIGSTOP: another one takes the lead."""
    result = await call()
    reached()
    os.kill(os.getpid(), signal.SIGSTOP)
    return result


NUMBERING: dict[str, tuple[str, str]] = {
    "begin": ("execute", "begin"),
    "lock": ("fetch", db.events._SQL["sequence"]),
    "numbers": ("fetch", db.events._SQL["number"]),
    "commit": ("execute", "commit"),
}
"""What the courier's transaction consists of."""


def never_return(owner: Any, name: str) -> None:
    """Make every call of `owner.name` wait for ever."""

    async def wait_for_ever(*_: Any) -> None:
        await asyncio.Event().wait()

    replace(owner, name, wait_for_ever)


def in_memory_only() -> None:
    """Die when the in-memory broker has the message, nobody else has it, and no actor has come to it."""
    never_return(Payouts, "pay")
    after(Relay, "_carry_batch", has_result)


def after_answer(name: str) -> None:
    """Die when a message has been acked, or nacked, and the frame that says so has left for RabbitMQ."""
    answered: list[int] = []  # ident of the consumer's thread: it writes frames and sends them
    answer, send = getattr(Channel, name), _AsyncPlaintextTransport._on_socket_writable

    def note_answer(*arguments: Any, **options: Any) -> None:
        answer(*arguments, **options)
        answered.append(threading.get_ident())

    def die_when_sent(transport: Any) -> None:
        send(transport)
        if threading.get_ident() in answered and not transport.get_write_buffer_size():
            die()

    replace(Channel, name, note_answer)
    replace(_AsyncPlaintextTransport, "_on_socket_writable", die_when_sent)


# --- The steps of an archive ---

ARCHIVED_AT_ONCE = 4
"""Origins, and rows of events, in the archive that is to die: it is in the middle of what goes."""


def while_archiving(wrap: Callable[..., None], owner: Any, name: str, when: Reached) -> Callable[[], None]:
    """Return a step: an archive of small transactions comes to the second call that is the one."""
    calls = 0

    def is_second(arguments: tuple[Any, ...], result: Any) -> bool:
        nonlocal calls
        calls += when(arguments, result)
        return calls == 2

    def step() -> None:
        db.archive.CHUNK = db.archive.EVENTS_CHUNK = ARCHIVED_AT_ONCE
        wrap(owner, name, is_second)

    return step


def adds(table: str) -> Reached:
    """Reached when rows of a table are added to its file."""
    return lambda arguments, _: arguments[1] == table


# --- In the middle of a bank call ---


def in_the_bank_call(then: Callable[[], None]) -> None:
    """Call `then` when the bank has taken the order in and has not answered. Needs a bank with latency."""
    original = HttpBank.pay

    async def pay(bank: HttpBank, order: PayoutOrder) -> PayOutcome:
        call = asyncio.ensure_future(original(bank, order))
        bank_has_orders = partial(asyncio.to_thread, _bank_has_orders)
        await poll_until(bank_has_orders, BANK_S_MAX, what="the bank has the order")
        assert not call.done()
        then()
        return await call

    replace(HttpBank, "pay", pay)


def die_unpaid() -> None:
    """Die if the bank has not paid yet; else this is not the step, and the test must know."""
    if '"paid"' not in _ask_bank("/payouts"):
        die()


def die_unread() -> None:
    """Die when the bank has paid. The event loop stands still meanwhile, so nothing of the reply is read."""
    wait_until(lambda: '"paid"' in _ask_bank("/payouts"), BANK_S_MAX, what="the bank has paid")
    die()


def _bank_has_orders() -> bool:
    """The bank counts the payments it delays when it begins to delay them."""
    return 'bank_faults_total{fault="latency"}' in _ask_bank("/metrics")


def _ask_bank(path: str) -> str:
    with urllib.request.urlopen(os.environ["WBS_BANK_URL"] + path, timeout=5) as reply:
        text: str = reply.read().decode()
    return text


def cut_off_by_the_time_limit() -> None:
    """Let dramatiq cancel the coroutine in the middle of the call, as it does with one that takes too long."""
    in_the_bank_call(reached)
    replace(actors.payouts, "time_limit", lambda _: timedelta(milliseconds=2000))
    replace(actors.broker, "TimeLimit", partial(TimeLimit, interval=20))
    replace(actors.middleware.event_loop, "_INTERRUPT_CHECK_S", 0.02)


# --- The steps, along a withdrawal's way ---


def has(kind: type) -> Reached:
    """Reached by a batch (the last argument) in which there is such a command."""
    return lambda arguments, _: any(isinstance(command, kind) for command in arguments[-1])


def while_writing(name: str, method: str, kind: type) -> dict[str, Callable[[], None]]:
    """Return the steps of a command that the ledger writes by this method."""
    return {
        f"{name} written, not committed": lambda: before_commit_of(Ledger, method, has(kind)),
        f"{name} committed, not answered": lambda: after(GroupCommit, "_write", has(kind)),
    }


def has_result(arguments: tuple[Any, ...], result: Any) -> bool:
    return bool(result)


STEPS: dict[str, Callable[[], None]] = {
    # gateway
    **while_writing("charge", "_write_batch", Charge),
    **while_writing("withdrawal", "_write_batch", Withdraw),
    **while_writing("transfer", "_write_batch", MakeTransfer),
    **while_writing("hold", "_write_batch", PlaceHold),
    **while_writing("capture", "_write_follow_ups", CaptureHold),
    **while_writing("void", "_write_follow_ups", VoidHold),
    **while_writing("charge's reversal", "_write_follow_ups", ReverseCharge),
    **while_writing("transfer's reversal", "_write_follow_ups", ReverseTransfer),
    "cancel written, not committed": lambda: before_commit_of(Withdrawals, "_write_transitions", has(Cancel)),
    "cancel committed, not answered": lambda: after(GroupCommit, "_write", has(Cancel)),
    "request set apart": lambda: after(HeldLane, "add"),
    "release of a withdrawal half done": between_steps_of_a_release,
    "callback not written": lambda: before(Reads, "callback"),
    "callback written, not committed": lambda: before_commit_of(db.reconciliation, "told"),
    "callback written, not answered": lambda: after(Reads, "callback"),
    # relay
    "outbox claimed": lambda: before(AmqpConnection, "publish", lambda a, _: len(a[2]) > 0),
    "published, not confirmed": lambda: before(AmqpConnection, "_on_confirm"),
    "confirmed, not deleted": lambda: before(Outbox, "published"),
    "deleted, not committed": lambda: after(Outbox, "published"),
    "deletion committed": lambda: after(Relay, "_carry_batch", has_result),
    # actors
    "message in memory only": in_memory_only,
    "message received": lambda: before(Payouts, "pay"),
    "attempt written, not committed": lambda: before_commit_of(Withdrawals, "_write_begins"),
    "attempt committed": lambda: after(Withdrawals, "begin_attempt", has_result),
    "bank called": lambda: in_the_bank_call(die_unpaid),
    "bank paid, reply not read": lambda: in_the_bank_call(die_unread),
    "reply read": lambda: after(HttpBank, "pay"),
    "outcome written, not committed": lambda: before_commit_of(
        Withdrawals, "_write_transitions", has(Settle)
    ),
    "pause written, not committed": lambda: before_commit_of(db.stack, "pause_by_itself"),
    "pause committed, outcome not written": lambda: after(db.stack, "pause_by_itself"),
    "outcome committed, not acked": lambda: after(Withdrawals, "settle"),
    "acked": lambda: after_answer("basic_ack"),
    "requires_attention committed, not dead-lettered": lambda: after(
        Payouts, "_settle", lambda _, status: status is Status.REQUIRES_ATTENTION
    ),
    "dead-lettered": lambda: after_answer("basic_nack"),
    "in the bank call, alive": lambda: in_the_bank_call(reached),
    "in the bank call, cancelled": cut_off_by_the_time_limit,
    # reconciler
    "redriven": lambda: after(ReconcilerSession, "redrive_due", has_result),
    "about to release": lambda: before(db.releases, "release_oldest"),
    "release written, not committed": lambda: before_commit_of(db.releases, "release_oldest"),
    "release committed": lambda: after(ReconcilerSession, "release_matured", has_result),
    "bank asked, nothing written": lambda: before(Withdrawals, "learn"),
    "look-up written, not committed": lambda: before_commit_of(
        Withdrawals, "_write_transitions", has(Settle)
    ),
    "look-up committed, still due": lambda: after(Withdrawals, "learn"),
    "to be looked up by the bank's books, cursor not moved": lambda: before(
        ReconcilerSession, "advance_bank_cursor", lambda a, _: a[1] is not None
    ),
    # courier
    "about to number": lambda: before(CourierSession, "number"),
    **{f"before {name}": while_numbering(*what, die_instead) for name, what in NUMBERING.items()},
    **{f"after {name}": while_numbering(*what, die_behind) for name, what in NUMBERING.items()},
    "in the commit of numbers": while_numbering("execute", "commit", die_in_the_middle),
    "frozen after numbers": while_numbering(*NUMBERING["numbers"], stand_still_behind),
    # operator
    "replayed, dead letter not removed": lambda: before(ops.dlq, "_remove"),
    "archive begun": lambda: after(db.archive, "begin"),
    "events in their file": while_archiving(after, ArchiveFolder, "add", adds("events")),
    "events gone": while_archiving(after, db.archive, "archive_events", has_result),
    "rows about to be in their file": while_archiving(before, ArchiveFolder, "add", adds("transfers")),
    "rows in their file": while_archiving(after, ArchiveFolder, "add", adds("transfers")),
    "rows gone, not committed": while_archiving(after, db.archive, "_move", always),
    "rows gone": while_archiving(after, db.archive, "archive_chunk", has_result),
    "all gone, not sealed": lambda: before(db.archive, "seal"),
    "sealed, without manifest": lambda: after(db.archive, "seal"),
    "manifest written, not ended": lambda: before(db.archive, "finish"),
    "ended, not told": lambda: after(db.archive, "finish"),
}


def main() -> int:
    STEPS[os.environ["CRASH_STEP"]]()
    module = importlib.import_module(os.environ["CRASH_MODULE"])
    sys.argv[1:] = os.environ.get("CRASH_ARGUMENTS", "").split()
    exit_code: int = module.main()
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
