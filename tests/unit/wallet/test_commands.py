"""Fingerprints: they tell one request from another under the same key, and never anything else."""

from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.json_spellings import json_objects, same, spelled
from tests.unit.wallet.strategies import commands
from wallet.commands import Charge, LedgerCommand, Withdraw
from wallet.fingerprints import UnknownVersion

# As the gateway lets them in: JSON texts hold no raw control characters, currencies are three letters.
users = st.text("a1USD\x1f\x00|:", min_size=1, max_size=6)  # what might pass for other fields
json_texts = st.one_of(st.none(), st.sampled_from(('{"":1}', "[]", '""', "0", '"a"', '{"a":"USD"}')))
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
    """Goal: any difference between requests, except of the key, makes their fingerprints different."""
    assume(one != other)
    assert one.fingerprint() != other.fingerprint()


@given(commands)
def test_the_key_is_no_part_of_it(command: LedgerCommand) -> None:
    """Goal: the fingerprint is that of the request: the same under another key and another client."""
    copy = type(command)(
        "other", "other", *[getattr(command, name) for name in command.__struct_fields__[2:]]
    )
    assert copy.fingerprint() == command.fingerprint()
    assert copy.matches(command.fingerprint())


def test_the_same_instant_in_another_zone_is_the_same_request() -> None:
    """Goal: a client that repeats a request with release_at in another time zone gets its first answer."""
    utc = datetime(2027, 1, 1, 12, tzinfo=UTC)
    there = utc.astimezone(timezone(timedelta(hours=5, minutes=30)))
    one, other = (Charge("c", "k", "ann", "USD", 1, release_at=at) for at in (utc, there))
    assert one.fingerprint() == other.fingerprint()


CHARGE = Charge("c", "k", "ann", "USD", 5, datetime(2027, 1, 1, tzinfo=UTC), '{"order":1,"to":"é"}')
WITHDRAW = Withdraw("c", "k", "ann", "USD", 5, '{"iban":1.5}', None)


def test_fingerprints_outlive_a_release() -> None:
    """Goal: fingerprints stand in the database for years: their bytes may not change with the code."""
    assert CHARGE.fingerprint().hex() == "02db53163db4374b7e1ec4f442ce1ab5dd"
    assert WITHDRAW.fingerprint().hex() == "02772d77b90e2eaf89279a44f3b5847c8a"


@given(anything, st.sampled_from((None, "{}", "null")))
def test_nothing_may_be_said_in_several_ways(command: LedgerCommand, nothing: str | None) -> None:
    """Goal: metadata that is left out, null or empty makes no difference; nor does a destination so."""
    one, other = (
        msgspec.structs.replace(command, metadata=None),
        msgspec.structs.replace(command, metadata=nothing),
    )
    assert one.fingerprint() == other.fingerprint()


@given(json_objects, json_objects, st.randoms(use_true_random=False))
def test_the_same_values_are_the_same_request(one: Any, other: Any, random: Random) -> None:
    """Goal: a request is a repetition if it says the same in any spelling, and only then."""
    made = msgspec.structs.replace(CHARGE, metadata=spelled(one, random)).fingerprint()
    assert msgspec.structs.replace(CHARGE, metadata=spelled(one, random)).matches(made)
    assert msgspec.structs.replace(CHARGE, metadata=spelled(other, random)).matches(made) is same(one, other)


@pytest.mark.parametrize(
    ("command", "made"),
    [
        (
            Charge("c", "k", "ann", "USD", 5, datetime(2027, 1, 1, tzinfo=UTC), '{"order":1}'),
            "c08ec1e849899f27cb710a060f7794a8",
        ),
        (Withdraw("c", "k", "ann", "USD", 5, '{"iban":1}', None), "b3da6216ab965abfd4cef701b3608ca6"),
        (
            Charge("c", "k", "ann", "USD", 5, None, '{"b": 1.50,"a":"\\u00e9"}'),
            "4e822528b61ba759e57902f70ad2d22b",
        ),
        (Charge("c", "k", "ann", "USD", 5, None, "{ }"), "cdab356d3ecf033aac57c0be949b26af"),
        (Charge("c", "k", "ann", "USD", 5), "6e628b7ea974a0d251af12713b836c4b"),
    ],
)
def test_fingerprints_of_the_first_version(command: LedgerCommand, made: str) -> None:
    """Goal: an old request is compared by the old rules: floats re-encoded, order a difference."""
    assert command.matches(bytes.fromhex(made))
    assert not msgspec.structs.replace(command, amount=6).matches(bytes.fromhex(made))
    assert not msgspec.structs.replace(command, metadata='{"a":1E400}').matches(bytes.fromhex(made))
    assert not msgspec.structs.replace(command, metadata='{"a":"é","b":1.5}').matches(bytes.fromhex(made))


@pytest.mark.parametrize("made", ["", "03" + "00" * 16, "02" + "00" * 17, "00" * 32])
def test_fingerprints_of_later_versions(made: str) -> None:
    """Goal: of what this version can't read it says neither that it is the same nor that it is another request."""
    with pytest.raises(UnknownVersion):
        CHARGE.matches(bytes.fromhex(made))


def test_the_end_of_the_calendar() -> None:
    """Goal: a row from when 9999 was taken is judged in every time zone; the database gives it back without one."""
    end = datetime.max.replace(tzinfo=UTC)
    aware, naive = (Charge("c", "k", "ann", "USD", 5, at) for at in (end, end.replace(tzinfo=None)))
    assert naive.matches(aware.fingerprint())
    assert naive.fingerprint() == aware.fingerprint()
