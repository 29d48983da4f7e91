"""Identifiers: version 7, in the order of time, unique within the instant."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise
from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from wallet.ids import first_id_of, uuid7_sequence

instants = st.datetimes(
    datetime(1970, 1, 1),  # noqa: DTZ001  # hypothesis wants naive bounds
    datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.just(UTC),
)
entropies = st.binary(min_size=6, max_size=6)


@given(instants, entropies, st.integers(1, 200))
def test_they_are_ascending_uuids_of_version_7(now: datetime, entropy: bytes, count: int) -> None:
    """Goal: version and variant are those of RFC 9562, and each identifier is greater than the one before."""
    ids = list(islice(uuid7_sequence(now, entropy), count))
    assert all((id.version, id.variant) == (7, RFC_4122) for id in ids)
    assert ids == sorted(set(ids))
    assert [str(id) for id in ids] == sorted(str(id) for id in ids)


@given(instants, entropies)
def test_they_begin_with_the_milliseconds(now: datetime, entropy: bytes) -> None:
    """Goal: the first 48 bits are Unix milliseconds, so that others can read the time from them."""
    milliseconds = (now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert next(uuid7_sequence(now, entropy)).int >> 80 == milliseconds


@given(instants, st.integers(1, 10**7), entropies, entropies)
def test_a_later_instant_gives_greater_ones(now: datetime, later_us: int, one: bytes, other: bytes) -> None:
    """Goal: one microsecond later is later, whatever the random bits and however many were made before."""
    earlier = list(islice(uuid7_sequence(now, one), 500))[-1]
    assert next(uuid7_sequence(now + timedelta(microseconds=later_us), other)) > earlier


def test_they_ascend_beyond_one_microsecond_full() -> None:
    """Goal: more identifiers than one microsecond holds still ascend and stay apart."""
    ids = list(
        islice(uuid7_sequence(datetime(2026, 11, 22, 12, 0, 0, 999_999, tzinfo=UTC), b"\xff" * 6), 40_000)
    )
    assert all(one < next_one for one, next_one in pairwise(ids))


def test_two_processes_at_the_same_instant() -> None:
    """Goal: the random bits keep identifiers of two processes apart, though their instants are the same."""
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    batches = [list(islice(uuid7_sequence(now), 100)) for _ in range(50)]
    assert len({id for batch in batches for id in batch}) == 5000


@given(instants, entropies)
def test_the_first_of_an_instant_parts_it_from_earlier_ones(now: datetime, entropy: bytes) -> None:
    """Goal: in any offset, all of an instant's identifiers are at least its first, all of the one before are less."""
    first = first_id_of(now.astimezone(timezone(timedelta(hours=-3)) if now.year > 1970 else UTC))
    assert first <= next(uuid7_sequence(now, entropy))
    if now > datetime(1970, 1, 1, tzinfo=UTC):
        earlier = list(islice(uuid7_sequence(now - timedelta(microseconds=1), entropy), 500))[-1]
        assert earlier < first


def test_the_first_of_an_instant_before_there_were_identifiers() -> None:
    """Goal: whatever is a time is a bound."""
    assert first_id_of(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))) == UUID(int=0)
    last = first_id_of(datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12))))
    assert last > next(uuid7_sequence(datetime(9999, 12, 31, 23, tzinfo=UTC), b""))
