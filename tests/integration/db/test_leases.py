"""A lease: one leads, and its lead has an end that needs no clock in common."""

import asyncpg
import pytest

from db.leases import LAPSES_S, LEADS_S, RENEW_S, Lease


class Clock:
    """A monotonic clock of one process, which a test sets."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += seconds


class Candidate:
    """A process that wants the lease; its clock says something else than the other's."""

    def __init__(self, now: float) -> None:
        self.clock = Clock(now)
        self.lease = Lease("test", clock=self.clock)


@pytest.fixture
def one() -> Candidate:
    return Candidate(5_000.0)


@pytest.fixture
def other() -> Candidate:
    return Candidate(20.0)


def tick(seconds: float, *candidates: Candidate) -> None:
    for candidate in candidates:
        candidate.clock.tick(seconds)


async def test_one_leads_as_long_as_it_renews(
    connection: asyncpg.Connection, one: Candidate, other: Candidate
) -> None:
    """Goal: while the holder renews, no other process leads, for any length of time."""
    for _ in range(30):
        assert await one.lease.hold(connection)
        assert not await other.lease.hold(connection)
        tick(RENEW_S, one, other)


async def test_for_how_long_nobody_has_led(
    connection: asyncpg.Connection, one: Candidate, other: Candidate
) -> None:
    """Goal: a leader, or a process that sees one, knows that one exists; without a leader, it knows for how long."""
    for _ in range(30):
        await one.lease.hold(connection)
        await other.lease.hold(connection)
        assert one.lease.unled_s == 0
        assert other.lease.unled_s == 0
        tick(RENEW_S, one, other)
    await connection.execute(
        "create function pg_temp.swallow() returns trigger language plpgsql as 'begin return null; end'"
    )
    await connection.execute(
        "create trigger swallow before update on leases for each row execute function pg_temp.swallow()"
    )
    for _ in range(30):
        await one.lease.hold(connection)
        await other.lease.hold(connection)
        tick(RENEW_S, one, other)
    assert one.lease.unled_s >= 29
    assert other.lease.unled_s >= 29


async def test_a_frozen_holder_is_followed(
    connection: asyncpg.Connection, one: Candidate, other: Candidate
) -> None:
    """Goal: with its holder silent, the lease goes to the other after LAPSES_S, and not before."""
    assert await one.lease.hold(connection)
    assert not await other.lease.hold(connection)
    other.clock.tick(LAPSES_S - 0.1)
    assert not await other.lease.hold(connection)
    other.clock.tick(0.2)
    assert await other.lease.hold(connection)
    one.clock.tick(60)
    assert not one.lease.is_held
    assert not await one.lease.hold(connection)
    assert await other.lease.hold(connection)


async def test_a_lead_ends_by_itself(
    connection: asyncpg.Connection, one: Candidate, other: Candidate
) -> None:
    """Goal: who can't renew stops leading before the other can begin, whatever happened to the connection."""
    assert await one.lease.hold(connection)
    assert not await other.lease.hold(connection)
    tick(LEADS_S, one, other)
    assert not one.lease.is_held
    assert not await other.lease.hold(connection)


async def test_two_challengers(connection: asyncpg.Connection, one: Candidate) -> None:
    """Goal: of many who find it lapsed at the same moment, one gets it."""
    assert await one.lease.hold(connection)
    challengers = [Candidate(float(n)) for n in range(5)]
    for challenger in challengers:
        assert not await challenger.lease.hold(connection)
        challenger.clock.tick(LAPSES_S + 1)
    got = [await challenger.lease.hold(connection) for challenger in challengers]
    assert got.count(True) == 1


async def test_given_up(connection: asyncpg.Connection, one: Candidate, other: Candidate) -> None:
    """Goal: a holder that ends in order leaves no gap."""
    assert await one.lease.hold(connection)
    assert not await other.lease.hold(connection)
    await other.lease.give_up(connection)
    assert not await other.lease.hold(connection), "it was not the other's to give up"
    await one.lease.give_up(connection)
    assert not one.lease.is_held
    assert await other.lease.hold(connection)


async def test_an_answer_that_is_lost(connection: asyncpg.Connection, one: Candidate) -> None:
    """Goal: a lease that was taken without the taker learning of it is its own at the next try."""
    fetch = connection.fetch

    async def lost(*arguments: object) -> object:
        answer = await fetch(*arguments)
        if answer is None:
            return None
        raise ConnectionError("the answer is lost")

    class Lossy:
        fetch = staticmethod(lost)

    with pytest.raises(ConnectionError):
        await one.lease.hold(Lossy())
    assert not one.lease.is_held
    assert await one.lease.hold(connection)
