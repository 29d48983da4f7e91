"""Transitions of withdrawals: attempts and their leases, outcomes, cancel, return, replay; many at once."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from db import reads
from db.connections import Reader
from db.ledger import Ledger
from db.reconciliation import ReconcilerSession, WithdrawalRow
from db.withdrawals import Attempt, Withdrawals
from runtime.settings import Settings
from tests.integration.db.conftest import accepted, charge, split, withdraw
from tests.polling import poll_until
from wallet.errors import BalanceLimitExceeded, IllegalMove, NotCancellable, Unavailable, WithdrawalNotFound
from wallet.money import AMOUNT_MAX
from wallet.outcomes import Accepted, BankUnavailable, Declined, OutcomeUnknown, Paid, PayOutcome, Returned
from wallet.withdrawal import Status

BooksHold = Callable[[], Awaitable[dict[str, int]]]
OpenWithdrawals = Callable[[Settings], Withdrawals]

SHORT_LEASE = {
    "WBS_LEASE_MS": "1500",
    "WBS_ROUND_DEADLINE_MS": "200",
    "WBS_BANK_TIMEOUT_MS": "50",
    "WBS_BANK_CONNECT_TIMEOUT_MS": "50",
}
QUICK_LADDER = {"WBS_RETRY_ROUNDS": "2", "WBS_RETRY_DELAY_MS_MIN": "1", "WBS_RETRY_DELAY_MS_MAX": "2"}


@pytest.fixture
async def pending(ledger: Ledger) -> UUID:
    """A withdrawal of 60 out of 100 that no actor has started yet."""
    await ledger.submit(charge(100))
    return await accepted(ledger, withdraw(60, destination='"iban"'))


async def _begin(withdrawals: Withdrawals, id: UUID) -> Attempt:
    attempt = await withdrawals.begin_attempt(id, "ann")
    assert attempt is not None
    return attempt


async def _path(reader: Reader, id: UUID) -> list[str]:
    view = await reads.withdrawal(reader, id)
    assert view.history[-1].status == view.status
    return [entry.status for entry in view.history]


async def test_paid(withdrawals: Withdrawals, reader: Reader, pending: UUID, books_hold: BooksHold) -> None:
    """Goal: the way of a withdrawal that goes well: attempt, payment, money gone, history complete."""
    attempt = await _begin(withdrawals, pending)
    assert (attempt.amount, attempt.currency, attempt.destination, attempt.number) == (60, "USD", '"iban"', 1)
    assert await withdrawals.settle(attempt, Paid("p1")) is Status.COMPLETED
    assert await split(reader) == (40, 0, 0)
    assert await _path(reader, pending) == ["pending", "processing", "completed"]
    assert (await reads.withdrawal(reader, pending)).bank_reference == "p1"
    await books_hold()


async def test_declined(
    withdrawals: Withdrawals, reader: Reader, pending: UUID, books_hold: BooksHold
) -> None:
    """Goal: a declined withdrawal gives its money back, once, and says why."""
    attempt = await _begin(withdrawals, pending)
    for _ in range(2):
        assert await withdrawals.settle(attempt, Declined("account_closed")) is Status.FAILED
    assert await split(reader) == (100, 0, 0)
    view = await reads.withdrawal(reader, pending)
    assert view.failure_code == "account_closed"
    await books_hold()


async def test_two_deliveries_at_once(
    settings: Settings, open_withdrawals: OpenWithdrawals, pending: UUID, books_hold: BooksHold
) -> None:
    """Goal: of many who take the same withdrawal at once, in two processes, one gets the attempt."""
    actors = [open_withdrawals(settings) for _ in range(2)]
    attempts = await asyncio.gather(*(actors[n % 2].begin_attempt(pending, "ann") for n in range(20)))
    assert sum(attempt is not None for attempt in attempts) == 1
    await books_hold()


async def test_a_lease_ends(
    make_settings: Callable[..., Settings],
    open_withdrawals: OpenWithdrawals,
    pending: UUID,
    books_hold: BooksHold,
) -> None:
    """Goal: an attempt whose process died blocks for one lease, then the next one may begin, and only one."""
    withdrawals = open_withdrawals(make_settings(**SHORT_LEASE))
    first = await _begin(withdrawals, pending)
    assert await withdrawals.begin_attempt(pending, "ann") is None
    second = await poll_until(lambda: withdrawals.begin_attempt(pending, "ann"))
    assert second is not None
    assert (first.number, second.number) == (1, 2)
    assert second.lease_until is not None
    assert first.lease_until is not None
    assert second.lease_until > first.lease_until
    # The first one wakes up and knows nothing: that must not disturb the second.
    assert await withdrawals.settle(first, OutcomeUnknown("woke up")) is Status.PROCESSING
    assert await withdrawals.begin_attempt(pending, "ann") is None
    # But what the bank says is true, whoever hears it.
    assert await withdrawals.settle(first, Paid("p1")) is Status.COMPLETED
    assert await withdrawals.settle(second, Paid("p1")) is Status.COMPLETED
    await books_hold()


async def test_nothing_to_begin(withdrawals: Withdrawals, pending: UUID) -> None:
    """Goal: no attempt begins for an ended withdrawal, a missing one, or one of another user."""
    assert await withdrawals.begin_attempt(uuid4(), "ann") is None
    assert await withdrawals.begin_attempt(pending, "bob") is None
    await withdrawals.cancel(pending)
    assert await withdrawals.begin_attempt(pending, "ann") is None


@pytest.mark.parametrize("outcome", [BankUnavailable("refused"), OutcomeUnknown("timeout")])
async def test_the_ladder_and_its_end(
    make_settings: Callable[..., Settings],
    open_withdrawals: OpenWithdrawals,
    reader: Reader,
    pending: UUID,
    books_hold: BooksHold,
    outcome: PayOutcome,
) -> None:
    """Goal: rounds without a result are tried again, then attention, money held; replayed and paid."""
    withdrawals = open_withdrawals(make_settings(**QUICK_LADDER))
    first = await _begin(withdrawals, pending)
    assert await withdrawals.settle(first, outcome) is Status.PROCESSING
    second = await poll_until(lambda: withdrawals.begin_attempt(pending, "ann"))
    assert second is not None
    assert await withdrawals.settle(second, outcome) is Status.REQUIRES_ATTENTION
    assert await split(reader) == (40, 0, 60)
    assert await withdrawals.begin_attempt(pending, "ann") is None
    assert [one.id for one in await reads.requiring_attention(reader)] == [pending]
    assert await withdrawals.replay(pending) is Status.PROCESSING
    with pytest.raises(IllegalMove):
        await withdrawals.replay(pending)
    third = await _begin(withdrawals, pending)
    assert third.number == 3
    assert await withdrawals.settle(third, Paid("p1")) is Status.COMPLETED
    assert await _path(reader, pending) == [
        "pending",
        "processing",
        "requires_attention",
        "processing",
        "completed",
    ]
    await books_hold()


@pytest.mark.parametrize(("answer", "status"), [(Paid("p1"), "completed"), (Declined("no"), "failed")])
async def test_attention_is_settled_by_the_bank(
    make_settings: Callable[..., Settings],
    open_withdrawals: OpenWithdrawals,
    pending: UUID,
    books_hold: BooksHold,
    answer: PayOutcome,
    status: str,
) -> None:
    """Goal: what the bank says later settles a withdrawal that requires attention."""
    withdrawals = open_withdrawals(make_settings(WBS_RETRY_ROUNDS="1"))
    attempt = await _begin(withdrawals, pending)
    assert await withdrawals.settle(attempt, OutcomeUnknown("timeout")) is Status.REQUIRES_ATTENTION
    assert await withdrawals.settle(attempt, answer) == status
    await books_hold()


async def test_cancel(withdrawals: Withdrawals, reader: Reader, pending: UUID, books_hold: BooksHold) -> None:
    """Goal: a pending withdrawal can be cancelled, as often as asked; the money comes back once."""
    for _ in range(2):
        assert await withdrawals.cancel(pending) is Status.CANCELLED
    assert await split(reader) == (100, 0, 0)
    with pytest.raises(WithdrawalNotFound):
        await withdrawals.cancel(uuid4())
    await books_hold()


async def test_cancel_races_with_the_actor(
    settings: Settings,
    ledger: Ledger,
    open_withdrawals: OpenWithdrawals,
    reader: Reader,
    books_hold: BooksHold,
) -> None:
    """Goal: cancelled or begun, never both: of 60 races each has exactly one winner."""
    gateway, actor = open_withdrawals(settings), open_withdrawals(settings)
    await ledger.submit(charge(60))
    ids = [await accepted(ledger, withdraw(1)) for _ in range(60)]
    attempts, cancels = await asyncio.gather(
        asyncio.gather(*(actor.begin_attempt(id, "ann") for id in ids)),
        asyncio.gather(*(gateway.cancel(id) for id in reversed(ids)), return_exceptions=True),
    )
    outcomes: Counter[bool] = Counter()
    for id, attempt, cancelled in zip(ids, attempts, reversed(cancels), strict=True):
        assert (attempt is None) == (cancelled is Status.CANCELLED)
        assert attempt is None or isinstance(cancelled, NotCancellable)
        assert await _path(reader, id) == ["pending", "cancelled" if attempt is None else "processing"]
        outcomes[attempt is None] += 1
    withdrawable, _, held = await split(reader)
    assert (withdrawable, held) == (outcomes[True], outcomes[False])
    await books_hold()


async def test_returned_once(
    withdrawals: Withdrawals, reader: Reader, pending: UUID, books_hold: BooksHold
) -> None:
    """Goal: money that came back is added once, however often and in whatever order the news comes."""
    attempt = await _begin(withdrawals, pending)
    known = WithdrawalRow(pending, "ann", "USD", 60, "processing", 1, None)
    with pytest.raises(IllegalMove):
        await withdrawals.learn(known, Returned("p1", 61))
    news = [withdrawals.learn(known, Returned("p1", 60)) for _ in range(10)]
    paid = [withdrawals.settle(attempt, Paid("p1")) for _ in range(10)]
    results = await asyncio.gather(*(one for pair in zip(news, paid, strict=True) for one in pair))
    assert results[-1] is Status.RETURNED
    assert await split(reader) == (100, 0, 0)
    assert await _path(reader, pending) == ["pending", "processing", "completed", "returned"]
    await books_hold()


async def test_a_return_into_a_full_wallet_is_taken(
    ledger: Ledger, withdrawals: Withdrawals, reader: Reader, books_hold: BooksHold
) -> None:
    """Goal: money that comes back is taken though it passes the limit, which stays in force for clients."""
    await ledger.submit(charge(AMOUNT_MAX))
    id = await accepted(ledger, withdraw(1))
    await withdrawals.settle(await _begin(withdrawals, id), Paid("p1"))
    await ledger.submit(charge(1))
    known = WithdrawalRow(id, "ann", "USD", 1, "completed", 1, "p1")
    assert await withdrawals.learn(known, Returned("p1", 1)) is Status.RETURNED
    assert await split(reader) == (AMOUNT_MAX + 1, 0, 0)
    for batch in ([charge(1)], [charge(1), charge(2)]):
        refused = await asyncio.gather(*map(ledger.submit, batch), return_exceptions=True)
        assert {type(one) for one in refused} == {BalanceLimitExceeded}
    await accepted(ledger, withdraw(5))
    assert await split(reader) == (AMOUNT_MAX - 4, 0, 5)
    await books_hold()


async def test_accepted_is_written_once(
    withdrawals: Withdrawals, pending: UUID, connection: asyncpg.Connection
) -> None:
    """Goal: what the bank has and will pay later stays processing; when it said so first stays written."""
    attempt = await _begin(withdrawals, pending)
    assert (attempt.accepted, attempt.ask_first) == (False, False)
    assert await withdrawals.settle(attempt, Accepted("p1")) is Status.PROCESSING
    row = (
        "select accepted_at, first_attempt_at, rounds, next_attempt_at - updated_at as delay from withdrawals"
    )
    first = await connection.fetchrow(row)
    assert first["first_attempt_at"] <= first["accepted_at"]
    assert first["delay"] >= timedelta(seconds=9)
    await connection.execute("update withdrawals set next_attempt_at = now()")
    again = await _begin(withdrawals, pending)
    assert (again.accepted, again.ask_first) == (True, True)
    await withdrawals.settle(again, OutcomeUnknown("timeout"))
    second = await connection.fetchrow(row)
    assert (second["accepted_at"], second["first_attempt_at"]) == (
        first["accepted_at"],
        first["first_attempt_at"],
    )
    assert second["rounds"] == 0


async def test_the_history_says_who(
    ledger: Ledger, withdrawals: Withdrawals, connection: asyncpg.Connection, pending: UUID
) -> None:
    """Goal: each transition names its author, whichever statement writes it."""
    attempt = await _begin(withdrawals, pending)
    await withdrawals.settle(attempt, Paid("p1"))
    known = WithdrawalRow(pending, "ann", "USD", 60, "completed", 1, "p1")
    await withdrawals.learn(known, Returned("p1", 60))
    cancelled = await accepted(ledger, withdraw(1))
    await withdrawals.cancel(cancelled, "client:shop")
    found = await connection.fetch("select made_by from withdrawal_history order by at, seq")
    assert [row["made_by"] for row in found] == ["actor", "actor", "bank", "client:shop"]


async def test_a_contradiction_is_refused(
    withdrawals: Withdrawals, pending: UUID, books_hold: BooksHold
) -> None:
    """Goal: paid after declined, and declined after paid, move no money and are reported."""
    attempt = await _begin(withdrawals, pending)
    await withdrawals.settle(attempt, Declined("no"))
    with pytest.raises(IllegalMove):
        await withdrawals.settle(attempt, Paid("p1"))
    await books_hold()


async def test_outcomes_race(
    settings: Settings,
    ledger: Ledger,
    open_withdrawals: OpenWithdrawals,
    reader: Reader,
    books_hold: BooksHold,
) -> None:
    """Goal: actors and reconciler write the same outcome of 50 withdrawals at once: each is paid out once."""
    actors = [open_withdrawals(settings) for _ in range(3)]
    await ledger.submit(charge(50))
    ids = await asyncio.gather(*(accepted(ledger, withdraw(1)) for _ in range(50)))
    attempts = await asyncio.gather(*(_begin(actors[0], id) for id in ids))
    results = await asyncio.gather(
        *(
            actor.settle(attempt, Paid(f"p{attempt.withdrawal_id}"))
            for actor in actors
            for attempt in attempts
        )
    )
    assert set(results) == {Status.COMPLETED}
    assert await split(reader) == (0, 0, 0)
    assert (await books_hold())["transfers"] == 1 + 50 + 50


async def test_payouts_go_on_while_a_withdrawal_is_held_elsewhere(
    make_settings: Callable[..., Settings],
    open_withdrawals: OpenWithdrawals,
    ledger: Ledger,
    connection: asyncpg.Connection,
    books_hold: BooksHold,
) -> None:
    """Goal: only a withdrawal that another session locks, itself or its wallet, fails; the others are settled."""
    withdrawals = open_withdrawals(make_settings(WBS_LOCK_TIMEOUT_MS="700"))
    users = [f"u{n}" for n in range(12)]
    await asyncio.gather(*(ledger.submit(charge(5, user=user)) for user in users))
    ids = [await accepted(ledger, withdraw(5, user=user)) for user in users]
    attempts = await asyncio.gather(
        *(withdrawals.begin_attempt(id, u) for id, u in zip(ids, users, strict=True))
    )
    assert all(attempts)
    async with connection.transaction():
        await connection.execute("select 1 from withdrawals where user_id = 'u3' for update")
        await connection.execute("select 1 from wallets where user_id = 'u7' for update")
        async with asyncio.timeout(60):
            results = await asyncio.gather(
                *(withdrawals.settle(attempt, Paid("p")) for attempt in attempts if attempt),
                return_exceptions=True,
            )
    assert [n for n, result in enumerate(results) if isinstance(result, Unavailable)] == [3, 7]
    assert results.count(Status.COMPLETED) == 10
    for n in (3, 7):
        attempt = attempts[n]
        assert attempt is not None
        assert await withdrawals.settle(attempt, Paid("p")) is Status.COMPLETED
    await books_hold()


async def test_many_kinds_of_moves_in_one_batch(
    ledger: Ledger, withdrawals: Withdrawals, reader: Reader, books_hold: BooksHold
) -> None:
    """Goal: transitions of all kinds in one wallet, mixed in one transaction, each get their own answer."""
    await ledger.submit(charge(100))
    ids = [await accepted(ledger, withdraw(10)) for _ in range(5)]
    attempts = await asyncio.gather(*(_begin(withdrawals, id) for id in ids[:3]))
    results = await asyncio.gather(
        withdrawals.settle(attempts[0], Paid("p0")),
        withdrawals.settle(attempts[1], Declined("no")),
        withdrawals.settle(attempts[2], OutcomeUnknown("timeout")),
        withdrawals.cancel(ids[3]),
        withdrawals.cancel(ids[0]),
        withdrawals.replay(ids[4]),
        withdrawals.learn(WithdrawalRow(ids[0], "ann", "USD", 10, "completed", 1, "p0"), Returned("p0", 10)),
        return_exceptions=True,
    )
    assert [getattr(result, "value", type(result).__name__) for result in results] == [
        "completed",
        "failed",
        "processing",
        "cancelled",
        "NotCancellable",
        "IllegalMove",
        "returned",
    ]
    assert await split(reader) == (80, 0, 20)
    await books_hold()


# --- Notifications ---


async def _outbox(connection: asyncpg.Connection) -> list[UUID]:
    return [row["withdrawal_id"] for row in await connection.fetch("select withdrawal_id from outbox")]


async def test_due_withdrawals_are_announced_without_echoes(
    make_settings: Callable[..., Settings], ledger: Ledger, connection: asyncpg.Connection, reader: Reader
) -> None:
    """Goal: an untaken withdrawal is announced again when its time has come; not before, and not at every beat."""
    await ledger.submit(charge(10))
    ids = {await accepted(ledger, withdraw(1)) for _ in range(4)}
    session = ReconcilerSession(make_settings(WBS_REDRIVE_AFTER_MS="60000"))
    assert await session.lead()
    assert await session.redrive_due(100) == 0, "the outbox still holds their first messages"
    await connection.execute("delete from outbox")
    assert await session.redrive_due(100) == 0, "they are not due to be announced"
    await connection.execute("update withdrawals set ring_at = now() - interval '1 second'")
    assert await session.redrive_due(3) == 3
    assert await session.redrive_due(100) == 1
    assert set(await _outbox(connection)) == ids
    assert await session.redrive_due(100) == 0, "they have just been announced"
    await session.close()


async def test_a_message_that_waits_is_not_doubled(
    settings: Settings, ledger: Ledger, connection: asyncpg.Connection
) -> None:
    """Goal: while a message waits in the outbox, announcing its withdrawal again adds none."""
    await ledger.submit(charge(10))
    await accepted(ledger, withdraw(1))
    await connection.execute("update withdrawals set ring_at = now() - interval '1 second'")
    session = ReconcilerSession(settings)
    assert await session.lead()
    await session.redrive_due(100)
    assert len(await _outbox(connection)) == 1
    await session.close()


async def test_a_dead_attempt_is_announced_again_at_the_end_of_its_lease(
    make_settings: Callable[..., Settings],
    open_withdrawals: OpenWithdrawals,
    pending: UUID,
    connection: asyncpg.Connection,
) -> None:
    """Goal: a withdrawal whose actor was killed comes back when its lease is over, not before."""
    settings = make_settings(**SHORT_LEASE)
    withdrawals = open_withdrawals(settings)
    attempt = await _begin(withdrawals, pending)
    await connection.execute("delete from outbox")
    session = ReconcilerSession(settings)
    assert await session.lead()
    await poll_until(lambda: session.redrive_due(10))
    clock = await connection.fetchval("select clock_timestamp()")
    assert attempt.lease_until is not None
    assert clock >= attempt.lease_until
    assert await _outbox(connection) == [pending]
    await session.close()


async def test_replay_rings(
    make_settings: Callable[..., Settings],
    open_withdrawals: OpenWithdrawals,
    pending: UUID,
    connection: asyncpg.Connection,
) -> None:
    """Goal: a replayed withdrawal has a message in the outbox, written with the transition."""
    withdrawals = open_withdrawals(make_settings(WBS_RETRY_ROUNDS="1"))
    await withdrawals.settle(await _begin(withdrawals, pending), OutcomeUnknown("timeout"))
    await connection.execute("delete from outbox")
    await withdrawals.replay(pending)
    assert await _outbox(connection) == [pending]


async def test_one_reconciler_leads(settings: Settings) -> None:
    """Goal: of two reconcilers one leads; when it ends in order the other takes over at once."""
    one, other = ReconcilerSession(settings), ReconcilerSession(settings)
    assert await one.lead()
    assert not await other.lead()
    assert await one.lead()
    await one.give_up()
    await one.close()
    assert await other.lead()
    await other.close()
