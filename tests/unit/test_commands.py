"""Fingerprints: they tell one request from another under the same key, and never anything else."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import assume, given
from hypothesis import strategies as st

from tests.unit.strategies import commands
from wallet.commands import Charge, LedgerCommand, Withdraw

# As the gateway lets them in: JSON texts hold no raw control characters, currencies are three letters.
users = st.text("a1USD\x1f\x00|:", min_size=1, max_size=6)  # what might pass for other fields
json_texts = st.one_of(st.none(), st.sampled_from(("{}", "[]", '""', "null", '"a"', '{"a":"USD"}')))
currencies = st.sampled_from(("USD", "EUR"))
times = st.one_of(st.none(), st.sampled_from([datetime(2027, 1, 1, n, tzinfo=UTC) for n in (1, 2)]))

any_charges = st.builds(
    Charge, st.just("c"), st.just("k"), users, currencies, st.integers(1, 12), times, json_texts
)
any_withdraws = st.builds(
    Withdraw, st.just("c"), st.just("k"), users, currencies, st.integers(1, 12), json_texts, json_texts
)
anything = st.one_of(any_charges, any_withdraws)


@given(anything, anything)
def test_other_requests_have_other_fingerprints(one: LedgerCommand, other: LedgerCommand) -> None:
    """Goal: whatever is different in a request, other than its key, is different in its fingerprint."""
    assume(one != other)
    assert one.fingerprint() != other.fingerprint()


@given(commands)
def test_the_key_is_no_part_of_it(command: LedgerCommand) -> None:
    """Goal: the fingerprint is that of the request: the same under another key and another client."""
    copy = type(command)(
        "other", "other", *[getattr(command, name) for name in command.__struct_fields__[2:]]
    )
    assert copy.fingerprint() == command.fingerprint()
    assert len(command.fingerprint()) == 16


def test_the_same_instant_in_another_zone_is_the_same_request() -> None:
    """Goal: a client that repeats a request with release_at in another time zone gets its first answer."""
    utc = datetime(2027, 1, 1, 12, tzinfo=UTC)
    there = utc.astimezone(timezone(timedelta(hours=5, minutes=30)))
    one, other = (Charge("c", "k", "ann", "USD", 1, release_at=at) for at in (utc, there))
    assert one.fingerprint() == other.fingerprint()


def test_fingerprints_outlive_a_release() -> None:
    """Goal: fingerprints stand in the database for years: their bytes may not change with the code."""
    charge = Charge("c", "k", "ann", "USD", 5, datetime(2027, 1, 1, tzinfo=UTC), '{"order":1}')
    withdraw = Withdraw("c", "k", "ann", "USD", 5, '{"iban":1}', None)
    assert charge.fingerprint().hex() == "c08ec1e849899f27cb710a060f7794a8"
    assert withdraw.fingerprint().hex() == "b3da6216ab965abfd4cef701b3608ca6"
