"""The reading of request bodies, and the answers to bad ones."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.bodies import BODY_BYTES_MAX, BULK_BYTES_MAX, ITEMS_MAX
from gateway.contract.problems import MalformedJson, PayloadTooLarge
from gateway.contract.request_errors import explain
from gateway.contract.request_models import METADATA_BYTES_MAX, METADATA_KEYS_MAX, NESTING_MAX, RELEASE_AT_MAX
from gateway.contract.user_ids import UserIds
from gateway.wire import request_reader
from gateway.wire.auth import NOBODY, Caller
from gateway.wire.request_reader import RequestReader
from wallet.commands import Charge, Withdraw
from wallet.errors import ValidationFailed
from wallet.money import AMOUNT_MAX

READER = RequestReader("USD", UserIds.AUTO)
CHARGE = {"user_id": 42, "amount": 100, "idempotency_key": "k"}


def body(**fields: Any) -> bytes:
    return json.dumps({**CHARGE, **fields}).encode()


def errors_of(raw: bytes, *header_keys: str, withdraw: bool = False) -> dict[str, str]:
    read = READER.withdraw if withdraw else READER.charge
    with pytest.raises(ValidationFailed) as refused:
        read(raw, NOBODY, header_keys)
    return dict(refused.value.errors)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_plain_charge() -> None:
    """Goal: the commonest request becomes the command it says, in the default currency."""
    assert READER.charge(body(), Caller("shop", "partner", frozenset())) == Charge(
        "partner", "k", "42", "USD", 100, by="shop"
    )


def test_whole_charge() -> None:
    """Goal: every optional field arrives: the time in UTC, metadata as it came but for white space."""
    raw = (
        b'{"user_id": "alice", "amount": 9007199254740991, "currency": "EUR", "idempotency_key": "k k",'
        b' "release_at": "2030-01-01T02:00:00.5+02:00", "metadata": {"b": [1, 2.50], "a": "\\u00e9 x"}}'
    )
    command = READER.charge(raw, NOBODY)
    assert command.release_at == datetime(2030, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    assert (command.user_id, command.amount, command.currency) == ("alice", AMOUNT_MAX, "EUR")
    assert command.metadata == '{"b":[1,2.50],"a":"\\u00e9 x"}'


def test_null_means_left_out() -> None:
    """Goal: clients that send null for what they leave out mean the same request."""
    nulls = body(release_at=None, currency=None, metadata=None)
    assert READER.charge(nulls, NOBODY) == READER.charge(body(), NOBODY)
    assert READER.charge(body(idempotency_key=None), NOBODY, ["k"]) == READER.charge(body(), NOBODY)


@pytest.mark.parametrize(
    ("destination", "kept"),
    [
        ("DE89", '"DE89"'),
        ({"iban": "DE89", "bic": None}, '{"iban":"DE89","bic":null}'),
        (None, None),
        ({}, "{}"),
    ],
)
def test_destination(destination: Any, kept: str | None) -> None:
    """Goal: a destination is a string or an object and is kept as it came."""
    command = READER.withdraw(body(destination=destination), NOBODY)
    assert command == Withdraw("default", "k", "42", "USD", 100, kept)


def each(field: str, *bad: object) -> list[tuple[str, object]]:
    """Return the field with each of its bad values."""
    return [(field, value) for value in bad]


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        *each("user_id", -1, AMOUNT_MAX + 1, 1.0, True, None, "", " ", "a b", "é", "a\n", "x" * 129, []),
        *each("amount", 0, -1, AMOUNT_MAX + 1, 1.0, 1.5, True, "1", None, [], {}, 10**30),
        *each("currency", "usd", "US", "USDD", "USD\n", "", 1, "ÄÖÜ"),
        *each("idempotency_key", "", "x" * 256, "é", "a\n", 1, True),
        *each(
            "release_at",
            "2030-01-01T00:00:00",
            "2030-01-01",
            "tomorrow",
            "",
            1893456000,
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-23:59",
            "2030-02-30T00:00:00Z",
        ),
        *each(
            "metadata",
            [],
            "x",
            1,
            {str(number): 1 for number in range(METADATA_KEYS_MAX + 1)},
            {"x": "y" * METADATA_BYTES_MAX},
            {"x": nested(NESTING_MAX)},
        ),
        ("release_At", "2030-01-01T00:00:00Z"),
        ("Amount", 1),
        ("", 1),
    ],
)
def test_each_bad_field_is_named(field: str, bad: Any) -> None:
    """Goal: a single bad field is refused, and it alone is named."""
    assert list(errors_of(body(**{field: bad}))) == [field]


@pytest.mark.parametrize("bad", [1, True, [], "", "x" * 256, {"x": "y" * 4096}])
def test_bad_destinations(bad: Any) -> None:
    """Goal: a destination that could not be kept or handed on is refused."""
    assert list(errors_of(body(destination=bad), withdraw=True)) == ["destination"]


def test_every_bad_field_is_named() -> None:
    """Goal: one answer tells all that is wrong, missing fields and rules that no type can say included."""
    raw = json.dumps(
        {"amount": "1", "currency": "usd", "metadata": {"x": "y" * 5000}, "release_at": "soon", "tip": 1}
    ).encode()
    assert set(errors_of(raw)) == {
        "user_id",
        "amount",
        "currency",
        "metadata",
        "release_at",
        "tip",
        "idempotency_key",
    }


@pytest.mark.parametrize(
    ("release_at", "instant"),
    [
        ("9000-12-31T23:59:59.999999Z", RELEASE_AT_MAX),
        ("9001-01-01T01:59:59.999999+02:00", RELEASE_AT_MAX),
        ("9000-12-31T23:59:59.9999994Z", RELEASE_AT_MAX),
        ("9000-12-31T23:59:59.9999999Z", None),
        ("9001-01-01T00:00:00Z", None),
        ("9000-12-31T23:59:59-00:01", None),
        ("9999-12-31T23:59:59.999999Z", None),
        ("9999-12-31T23:59:59.999999-14:00", None),
        ("9999-12-31T23:59:59.9999999Z", None),
        ("10000-01-01T00:00:00Z", None),
        ("infinity", None),
        ("2030-06-30T23:59:60Z", None),
        ("2030-01-01T24:00:00Z", None),
        ("2031-01-01T00:00:00.123456789Z", datetime(2031, 1, 1, 0, 0, 0, 123_457, tzinfo=UTC)),
    ],
)
def test_the_last_instant(release_at: str, instant: datetime | None) -> None:
    """Goal: what can be kept, and given back by every system on the way, is taken; what lies beyond is refused."""
    if instant is None:
        assert list(errors_of(body(release_at=release_at))) == ["release_at"]
    else:
        assert READER.charge(body(release_at=release_at), NOBODY).release_at == instant


@pytest.mark.parametrize(
    "number", ["1.0", "1e0", "1E2", "100e-2", "1.5", "-0.0", "1e400", "1" + "0" * 5000, "true", '"1"']
)
def test_an_amount_is_an_integer_and_the_reason_says_so(number: str) -> None:
    """Goal: neither floats nor numbers beyond any machine's are taken; the reason speaks of numbers, not of Python."""
    reasons = errors_of(body().replace(b"100", number.encode()))
    assert list(reasons) == ["amount"]
    assert "integer" in reasons["amount"] or "out of range" in reasons["amount"]
    assert "`" not in reasons["amount"]


def test_release_at_is_not_for_withdrawals() -> None:
    """Goal: a field of another request is unknown here."""
    assert list(errors_of(body(release_at="2030-01-01T00:00:00Z"), withdraw=True)) == ["release_at"]


def test_long_integers_are_kept() -> None:
    """Goal: numbers come back unchanged, even those longer than a machine word."""
    assert READER.charge(body(metadata={"x": 2**100}), NOBODY).metadata == f'{{"x":{2**100}}}'
    digits = b'{"x": %b}' % (b"1" * 5000)
    assert list(errors_of(body(metadata=None).replace(b'"metadata": null', b'"metadata": ' + digits))) == [
        "metadata"
    ]


def test_numbers_beyond_floats() -> None:
    """Goal: 1e400 is JSON, so it is the field that is bad and not the document."""
    assert list(errors_of(body().replace(b"100", b"1e400"))) == ["amount"]


@pytest.mark.parametrize(
    ("in_body", "in_header", "expected"),
    [("k", None, "k"), (None, "h", "h"), ("k", "k", "k"), (None, 'a "quoted" one', 'a "quoted" one')],
)
def test_key_from_body_or_header(in_body: str | None, in_header: str | None, expected: str) -> None:
    """Goal: the key may come either way, or both ways the same."""
    lines = () if in_header is None else (in_header,)
    assert READER.charge(body(idempotency_key=in_body), NOBODY, lines).key == expected


@pytest.mark.parametrize(
    ("in_body", "in_header"),
    [(None, None), ("k", "h"), (None, ""), (None, "é"), (None, "x" * 256), ("k", "")],
)
def test_missing_or_contradicting_key(in_body: str | None, in_header: str | None) -> None:
    """Goal: without one clear key nothing is written."""
    lines = () if in_header is None else (in_header,)
    assert list(errors_of(body(idempotency_key=in_body), *lines)) == ["idempotency_key"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"  \n",
        b"{",
        b'{"user_id": 42',
        b"not json",
        b'{"amount": 01}',
        b'{"user_id": "\xff"}',
        b"\xff\xfe",
        b'{"user_id": "\\ud800", "amount": 1}',
        b"{} {}",
        b"NaN",
        b'{"metadata": ' + b"[" * 50_000,
        b"[" * 50_000,
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_no_json(raw: bytes) -> None:
    """Goal: a body that is not JSON gets an answer that says so, whatever its bytes, and never breaks the service."""
    with pytest.raises(MalformedJson):
        READER.charge(raw, NOBODY)


@pytest.mark.parametrize("raw", [b"[]", b"1", b'"x"', b"null", b"true"])
def test_json_that_is_no_object(raw: bytes) -> None:
    """Goal: JSON of another kind is not malformed but invalid."""
    assert list(errors_of(raw)) == ["$"]


def test_a_bad_item_harms_no_other() -> None:
    """Goal: of an array each item is read alone and in its place, whatever the others are."""
    raw = b"[%b, 3, %b, {}, %b]" % (body(), body(amount=0), body(idempotency_key="z", metadata={"a": 1}))
    first, *bad, last = asyncio.run(READER.charges(raw, NOBODY))
    assert first == Charge("default", "k", "42", "USD", 100)
    assert all(isinstance(one, ValidationFailed) for one in bad)
    assert last == Charge("default", "z", "42", "USD", 100, None, '{"a":1}')


def test_a_rule_broken_in_a_readable_array() -> None:
    """Goal: an item that decodes but breaks a rule is refused alone, too."""
    good, bad = asyncio.run(READER.charges(b"[%b, %b]" % (body(), body(idempotency_key=None)), NOBODY))
    assert isinstance(good, Charge)
    assert isinstance(bad, ValidationFailed)


def test_lines() -> None:
    """Goal: each line of NDJSON is read by itself; a line that is not JSON harms no other."""
    raw = body() + b"\n{\n\n\r\n" + body(idempotency_key="z") + b"\r\n"
    first, bad, last = asyncio.run(READER.charge_lines(raw, NOBODY))
    assert isinstance(first, Charge)
    assert isinstance(bad, MalformedJson)
    assert isinstance(last, Charge)


@pytest.mark.parametrize("raw", [b"{}", b"3", body()])
def test_a_bulk_request_is_an_array(raw: bytes) -> None:
    """Goal: a single object is not taken for a bulk request."""
    with pytest.raises(ValidationFailed):
        asyncio.run(READER.charges(raw, NOBODY))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    ["user_id", "amount", "idempotency_key", "currency", "release_at", "metadata", "destination", "other"]
)
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "user_id": st.integers(0, 2**54) | st.text(alphabet="ab!~ é\n", max_size=3),
        "amount": st.integers(-1, 2**54),
        "idempotency_key": st.text(alphabet="k é\n", max_size=3),
        "currency": st.sampled_from(["EUR", "eur", "EUR\n"]),
        "release_at": st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat) | st.just("x"),
        "metadata": st.dictionaries(st.text(max_size=3), JSON_VALUES, max_size=3),
    },
)


@given(
    fields=LIKELY | st.dictionaries(FIELDS, JSON_VALUES, max_size=6),
    header_key=st.none() | st.text(alphabet="kh é", max_size=3),
    withdraw=st.booleans(),
)
def test_both_ways_agree(fields: dict[str, Any], header_key: str | None, withdraw: bool) -> None:
    """Goal: whatever the fast way refuses, the slow one names a reason for; nothing else can come out."""
    read = READER.withdraw if withdraw else READER.charge
    reasons: list[tuple[str, str]] | None = None
    try:
        command = read(json.dumps(fields).encode(), NOBODY, () if header_key is None else (header_key,))
    except ValidationFailed as refused:
        reasons = refused.errors
    if reasons is None:
        assert 1 <= command.amount <= AMOUNT_MAX
        assert command.key.isprintable()
        assert command.user_id.isascii()
        assert len(command.currency) == 3
    else:
        assert reasons
        assert all(reason for _, reason in reasons)


@pytest.mark.parametrize("item", [b"{}", b"1", b"[]", b'"x"', b'{"user_id":[]}', b'{"a":1,"a":2}'])
@pytest.mark.parametrize("way", ["array", "lines", "array of a bound key"])
def test_items_are_counted_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch, item: bytes, way: str
) -> None:
    """Goal: no body makes us explain more items than one request may have, however many it holds."""
    explained = 0

    def counted(*arguments: Any) -> Exception:
        nonlocal explained
        explained += 1
        return explain(*arguments)

    monkeypatch.setattr(request_reader, "explain", counted)
    reader = RequestReader("USD", UserIds.AUTO)
    caller = NOBODY._replace(user_prefix="acme-") if way == "array of a bound key" else NOBODY
    for number, refused in ((ITEMS_MAX, False), (ITEMS_MAX + 1, True), (200_000, True)):
        explained = 0
        body = b"\n".join([item] * number) if way == "lines" else b"[" + b",".join([item] * number) + b"]"
        read = reader.charge_lines if way == "lines" else reader.charges
        if refused:
            with pytest.raises(PayloadTooLarge):
                asyncio.run(read(body, caller))
            assert explained == 0
        else:
            assert len(asyncio.run(read(body, caller))) == number
            assert explained <= number


@pytest.mark.parametrize(
    "long",
    [
        json.dumps({f"{n:x}": 1 for n in range(90_000)}),
        "{" + '"a":1,' * 150_000 + '"a":1}',
        json.dumps({**CHARGE, "metadata": {f"{n:x}": 1 for n in range(90_000)}}),
        json.dumps({**CHARGE, "user_id": "x" * 900_000}),
    ],
    ids=["unknown", "twice", "metadata", "text"],
)
def test_a_long_item_that_is_not_valid_is_not_looked_into(long: str) -> None:
    """Goal: one item of a bulk, however long, holds a gateway up no longer than a body of its own would."""
    for read, raw in (
        (READER.charges, f"[{long},{body().decode()}]"),
        (READER.charge_lines, f"{long}\n{body().decode()}"),
    ):
        assert BODY_BYTES_MAX < len(raw) < BULK_BYTES_MAX
        refused, taken = asyncio.run(read(raw.encode(), NOBODY))
        assert isinstance(refused, PayloadTooLarge)
        assert isinstance(taken, Charge)
    blank = " " * BODY_BYTES_MAX + body().decode()
    assert all(
        isinstance(item, Charge) for item in asyncio.run(READER.charges(f"[{blank}]".encode(), NOBODY))
    )
