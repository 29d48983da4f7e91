"""The functions of the database that make and read the instants of identifiers."""

from datetime import UTC, datetime, timedelta

import asyncpg

from wallet.ids import instant_of, uuid7_sequence


async def test_they_are_no_calls(connection: asyncpg.Connection) -> None:
    """Goal: what goes with each row of a release is inlined: called, it takes a sixth of the whole time."""
    rows = await connection.fetch(
        "explain (verbose) select uuid7_instant(charge_id), uuid7_start(release_at) from locks"
    )
    assert not [row[0] for row in rows if "uuid7" in row[0]]


async def test_the_instant_of_an_identifier(connection: asyncpg.Connection) -> None:
    """Goal: database and domain take the same instant from an identifier, to the microsecond, now and far away."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    instants = [start + timedelta(microseconds=number * 7_919_999_999_937) for number in range(900)]
    ids = [next(uuid7_sequence(instant)) for instant in instants]
    rows = await connection.fetch("select uuid7_instant(id) from unnest($1::uuid[]) as given (id)", ids)
    assert [row[0] for row in rows] == instants == [instant_of(id) for id in ids]
