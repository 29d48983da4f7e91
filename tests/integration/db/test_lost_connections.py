"""Connections that die in the middle: whatever was lost, each movement happens exactly once."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from db.connections import Reader
from db.ledger import Ledger
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from tests.integration.db.conftest import accepted, answers, charge, split, submit_twice, withdraw
from tests.integration.link import Link
from tests.polling import poll_until
from wallet.commands import Charge, Withdraw
from wallet.errors import Unavailable
from wallet.outcomes import OutcomeUnknown, Paid

BooksHold = Callable[[], Awaitable[dict[str, int]]]
OpenLedger = Callable[[Settings], Ledger]
OpenWithdrawals = Callable[[Settings], Withdrawals]


@pytest.fixture(params=["by one statement", "under locks"])
async def ledger_of_100(
    request: pytest.FixtureRequest, linked_settings: Callable[..., Settings], open_ledger: OpenLedger
) -> Ledger:
    """A ledger behind the link with 100 charged, that writes its next batches in the one way or the other."""
    ledger = open_ledger(linked_settings())
    await submit_twice(ledger, charge(99))
    if request.param == "by one statement":
        ledger = open_ledger(linked_settings())
    await ledger.submit(charge(1))
    return ledger


async def test_a_commit_whose_answer_was_lost(
    link: Link, ledger_of_100: Ledger, reader: Reader, books_hold: BooksHold
) -> None:
    """Goal: a batch that was committed without an answer moves nothing when it is sent again, and all get receipts."""
    ledger = ledger_of_100
    link.commits_done_to_lose = 1
    commands: list[Charge | Withdraw] = [
        *(charge(1, key=f"in-{n}") for n in range(30)),
        *(withdraw(2, key=f"out-{n}") for n in range(10)),
    ]
    results = await asyncio.gather(*(ledger.submit(command) for command in commands))
    assert link.commits_done_to_lose == 0
    assert answers(results).keys() <= {"new", "replayed"}
    assert await split(reader) == (100 + 30 - 20, 0, 20)
    assert (await books_hold())["keys"] == 42


async def test_a_commit_that_never_arrived(
    link: Link, ledger_of_100: Ledger, reader: Reader, books_hold: BooksHold
) -> None:
    """Goal: the connection died before the commit: the batch is written by the second try, all new."""
    ledger = ledger_of_100
    link.commits_undone_to_lose = 1
    results = await asyncio.gather(*(ledger.submit(charge(1)) for _ in range(30)))
    assert link.commits_undone_to_lose == 0
    assert answers(results) == {"new": 30}
    assert await split(reader) == (130, 0, 0)
    await books_hold()


async def test_two_commits_lost_in_a_row(
    link: Link, ledger_of_100: Ledger, reader: Reader, books_hold: BooksHold
) -> None:
    """Goal: if the second try fails too, the client gets 503; later its key shows the truth."""
    ledger = ledger_of_100
    link.commits_undone_to_lose = 2
    with pytest.raises(Unavailable):
        await ledger.submit(charge(1, key="k"))
    assert await split(reader) == (100, 0, 0)
    link.commits_done_to_lose = (
        2  # the first of them writes, the second finds the key and has nothing to write
    )
    await asyncio.gather(ledger.submit(charge(1, key="k")), return_exceptions=True)
    assert (await ledger.submit(charge(1, key="k"))).replayed
    assert await split(reader) == (101, 0, 0)
    await books_hold()


async def test_connections_are_killed_all_the_time(
    make_settings: Callable[..., Settings],
    open_ledger: OpenLedger,
    connection: asyncpg.Connection,
    reader: Reader,
    books_hold: BooksHold,
) -> None:
    """Goal: with backends terminated in the middle of batches every key moves its money exactly once."""
    ledger = open_ledger(make_settings(WBS_BATCH_SIZE_MAX="5"))
    await ledger.submit(charge(10_000))
    killed, succeeded = 0, 0
    clients, steps = 32, 36

    async def client(number: int) -> None:
        for step in range(steps):
            key = f"{number}-{step}"
            command = charge(3, key=key) if step % 3 else withdraw(1, key=key)
            while True:  # as a client does that was told to come back
                try:
                    await ledger.submit(command)
                except Unavailable:
                    continue
                nonlocal succeeded
                succeeded += 1
                break

    async def killer() -> None:
        nonlocal killed
        while succeeded < clients * steps:
            killed += await connection.fetchval(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                " where application_name like 'wbs %' and datname = current_database()"
            )
            # Not all the time: somebody has to get through in between, or nothing would be shown.
            enough = min(succeeded + 7, clients * steps)
            await poll_until(lambda enough=enough: succeeded >= enough)  # type: ignore[misc]

    await asyncio.gather(killer(), *(client(number) for number in range(clients)))
    assert killed > 10
    withdrawable, _, held = await split(reader)
    assert (withdrawable, held) == (10_000 + 32 * 24 * 3 - 32 * 12, 32 * 12)
    assert (await books_hold())["keys"] == 1 + 32 * 36


@pytest.mark.parametrize("outcome", [Paid("p1"), OutcomeUnknown("timeout")])
async def test_an_outcome_whose_commit_was_lost(
    link: Link,
    linked_settings: Callable[..., Settings],
    ledger: Ledger,
    open_withdrawals: OpenWithdrawals,
    connection: asyncpg.Connection,
    books_hold: BooksHold,
    outcome: Paid | OutcomeUnknown,
) -> None:
    """Goal: an outcome sent again after a lost commit is written once: one payout, one rung of the ladder."""
    withdrawals = open_withdrawals(linked_settings())
    await ledger.submit(charge(10))
    withdrawal_id = await accepted(ledger, withdraw(10))
    attempt = await withdrawals.begin_attempt(withdrawal_id, "ann")
    assert attempt is not None
    link.commits_done_to_lose = 1
    status = await withdrawals.settle(attempt, outcome)
    assert link.commits_done_to_lose == 0
    row = await connection.fetchrow("select status, rounds from withdrawals")
    assert row is not None
    expected = ("completed", 0) if isinstance(outcome, Paid) else ("processing", 1)
    assert (row["status"], row["rounds"]) == expected
    assert status == row["status"]
    await books_hold()


async def test_an_attempt_whose_beginning_was_lost(
    link: Link,
    linked_settings: Callable[..., Settings],
    ledger: Ledger,
    open_withdrawals: OpenWithdrawals,
    connection: asyncpg.Connection,
    books_hold: BooksHold,
) -> None:
    """Goal: a lost answer to `begin_attempt` costs one lease, never two attempts at the same time."""
    withdrawals = open_withdrawals(linked_settings())
    await ledger.submit(charge(10))
    withdrawal_id = await accepted(ledger, withdraw(10))
    link.commits_done_to_lose = 1
    for _ in range(2):
        assert await withdrawals.begin_attempt(withdrawal_id, "ann") is None
    # As if the lease were over.
    await connection.execute("update withdrawals set next_attempt_at = now() where id = $1", withdrawal_id)
    attempt = await withdrawals.begin_attempt(withdrawal_id, "ann")
    assert attempt is not None
    assert attempt.number == 2
    await withdrawals.settle(attempt, Paid("p1"))
    await books_hold()
