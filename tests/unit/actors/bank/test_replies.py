"""What bytes from a bank mean: paid and declined only where they certainly say so about this order."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.bank.protocol import PayoutOrder
from actors.bank.replies import outcome_of_find_reply, outcome_of_pay_reply
from wallet.outcomes import Accepted, BankUnavailable, Declined, NotFound, OutcomeUnknown, Paid, Returned

REFERENCE = "5be1c0ff7c3b700080000000000000ab"
ORDER = PayoutOrder(REFERENCE, 1250, "USD", '{"iban": "DE00", "rate": 1.10, "first": true}')
PAID = {
    "payout_id": "po_1",
    "reference": REFERENCE,
    "status": "paid",
    "amount": 1250,
    "currency": "USD",
    "destination": {"rate": 1.1, "first": True, "iban": "DE00"},
}
DECLINED = {**PAID, "payout_id": None, "status": "declined", "code": "account_closed"}


def said(**members: object) -> bytes:
    """A payout, with some members otherwise."""
    return json.dumps({**PAID, **members}).encode()


def without(*names: str, **members: object) -> bytes:
    """A payout without some members."""
    return json.dumps(
        {name: value for name, value in {**PAID, **members}.items() if name not in names}
    ).encode()


NOT_PAID: dict[str, bytes] = {
    "another reference": said(reference="5be1c0ff7c3b700080000000000000ac"),
    "the reference in capitals": said(reference=REFERENCE.upper()),
    "the reference as a UUID": said(reference="5be1c0ff-7c3b-7000-8000-0000000000ab"),
    "a longer reference": said(reference=REFERENCE + "0"),
    "no reference": without("reference"),
    "another amount": said(amount=1251),
    "amount 0": said(amount=0),
    "amount below 0": said(amount=-1250),
    "amount beyond all books": said(amount=2**64),
    "amount of too many digits": said(amount=0).replace(b'"amount": 0', b'"amount": ' + b"9" * 5000),
    "amount as text": said(amount="1250"),
    "amount with a fraction": said(amount=1250.0),
    "amount with an exponent": said().replace(b"1250", b"125e1"),
    "amount as bool": said(amount=True),
    "amount in a list": said(amount=[1250]),
    "another currency": said(currency="EUR"),
    "the currency in lower case": said(currency="usd"),
    "an empty currency": said(currency=""),
    "another destination": said(destination={"iban": "DE01", "rate": 1.1, "first": True}),
    "a destination of more": said(destination={**PAID["destination"], "name": "x"}),  # type: ignore[dict-item]
    "a destination where true is 1": said(destination={"iban": "DE00", "rate": 1.1, "first": 1}),
    "a destination with another number": said().replace(b"1.1,", b"1.10000000000000000001,"),
    "status PAID": said(status="PAID"),
    "status with a blank": said(status="paid "),
    "status unknown": said(status="frozen"),
    "status empty": said(status=""),
    "status as number": said(status=201),
    "no status": without("status"),
    "no payout_id": without("payout_id"),
    "payout_id null": said(payout_id=None),
    "payout_id empty": said(payout_id=""),
    "payout_id blank": said(payout_id=" "),
    "payout_id as number": said(payout_id=12345),
    "payout_id with NUL": said(payout_id="po\0x"),
    "payout_id with a line break": said(payout_id="po\nx"),
    "payout_id with a bidirectional override": said(payout_id="po\u202ex"),
    "payout_id with half a character": said(payout_id="\ud800"),
    "payout_id of 256 characters": said(payout_id="p" * 256),
    "payout_id of 60 kB": said(payout_id="p" * 60_000),
    "code with NUL": said(code="a\0b"),
    "status twice": said().replace(b'"status"', b'"status": "declined", "status"'),
    "the same status twice": said().replace(b'"status"', b'"status": "paid", "status"'),
    "amount twice": said().replace(b'"amount"', b'"amount": 1, "amount"'),
    "a member of the destination twice": said().replace(b'"iban"', b'"iban": "XX", "iban"'),
    "a byte order mark": b"\xef\xbb\xbf" + said(),
    "UTF-16": json.dumps(PAID).encode("utf-16"),
    "no UTF-8": said().replace(b"po_1", b"po\xff"),
    "two documents": said() + said(),
    "something behind it": said() + b"x",
    "NUL behind it": said() + b"\0",
    "in a list": b"[" + said() + b"]",
    "as text": json.dumps(json.dumps(PAID)).encode(),
    "half of it": said()[:-1],
    "a comment": b"/* */" + said(),
    "single quotes": said().replace(b'"', b"'"),
    "NaN": said(note=float("nan")),
    "a page": b"<html>maintenance</html>",
    "nothing": b"",
    "null": b"null",
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("name", NOT_PAID)
def test_what_is_not_certainly_about_this_order_is_unknown(name: str) -> None:
    """Goal: a reply that differs from the order, or can be read in two ways, settles nothing, however it came."""
    for status in (200, 201):
        assert isinstance(outcome_of_pay_reply(ORDER, status, NOT_PAID[name]), OutcomeUnknown)
    for status in (202, 422):
        assert not isinstance(outcome_of_pay_reply(ORDER, status, NOT_PAID[name]), Paid | Declined)
    assert isinstance(outcome_of_find_reply(ORDER, 200, NOT_PAID[name]), OutcomeUnknown)


@pytest.mark.parametrize(
    "body",
    [
        said(),
        said(new_member={"of": "next year"}),
        said().replace(b"1.1,", b"1.10,"),
        without("destination"),
        without("amount", "currency", "destination"),
    ],
)
def test_a_reply_that_agrees_is_believed(body: bytes) -> None:
    """Goal: what the bank repeats must be right; what it leaves out, or adds, does no harm."""
    assert outcome_of_pay_reply(ORDER, 201, body) == Paid("po_1")
    assert outcome_of_find_reply(ORDER, 200, body) == Paid("po_1")


@pytest.mark.parametrize("missing", ["amount", "currency", "destination"])
@pytest.mark.parametrize("status", ["paid", "declined", "pending", "returned"])
def test_after_a_conflict_everything_must_be_there_to_compare(missing: str, status: str) -> None:
    """Goal: where the reference may stand for another order, an answer that leaves something out settles nothing."""
    conflict = outcome_of_pay_reply(ORDER, 409, said())
    assert isinstance(conflict, OutcomeUnknown)
    assert conflict.conflict
    body = without(missing, status=status, code="x")
    found = outcome_of_find_reply(ORDER, 200, body, compare_all=True)
    assert isinstance(found, OutcomeUnknown)
    assert found.conflict
    whole = outcome_of_find_reply(ORDER, 200, said(status=status, code="x"), compare_all=True)
    assert not isinstance(whole, OutcomeUnknown)


def test_an_order_without_destination_went_to_none() -> None:
    """Goal: a payout to a destination is not the one that we ordered without."""
    order = PayoutOrder(REFERENCE, 1250, "USD")
    assert outcome_of_find_reply(order, 200, without("destination"), compare_all=True) == Paid("po_1")
    assert isinstance(outcome_of_find_reply(order, 200, said()), OutcomeUnknown)


def test_declined_only_in_so_many_words() -> None:
    """Goal: a decline names our reference, says `declined` and why, in a 422 or in a look-up."""
    body = json.dumps(DECLINED).encode()
    assert outcome_of_pay_reply(ORDER, 422, body) == Declined("account_closed")
    assert outcome_of_find_reply(ORDER, 200, body) == Declined("account_closed")
    for status in (200, 201, 202, 204, 400, 401, 402, 403, 404, 410, 500, 502):
        assert isinstance(outcome_of_pay_reply(ORDER, status, body), OutcomeUnknown), status
    for otherwise in (
        {"status": 422},
        {"status": "refused"},
        {"reference": "x"},
        {"reference": None},
        {"amount": 1},
        {"currency": "EUR"},
        {"destination": "elsewhere"},
        {"code": None},
        {"code": ""},
        {"code": "no\0funds"},
        {"code": "ungültig \u202e"},
        {"code": "c" * 256},
        {"code": 51},
    ):
        assert isinstance(
            outcome_of_pay_reply(ORDER, 422, json.dumps({**DECLINED, **otherwise}).encode()), OutcomeUnknown
        ), otherwise
    for code in ("idempotency_key_in_use", "idempotency_key_reused", "validation_failed", "not_allowed"):
        refusal = {"type": "about:blank", "status": 422, "code": code, "reference": REFERENCE}
        assert isinstance(outcome_of_pay_reply(ORDER, 422, json.dumps(refusal).encode()), OutcomeUnknown)


@pytest.mark.parametrize("status", ["pending", "accepted", "processing"])
def test_the_bank_will_say_later(status: str) -> None:
    """Goal: an order that the bank has and has not ended is accepted, whatever the bank calls that."""
    for http in (200, 201, 202):
        assert outcome_of_pay_reply(ORDER, http, said(status=status)) == Accepted("po_1")
    assert outcome_of_pay_reply(ORDER, 202, without("payout_id", status=status)) == Accepted(None)
    assert outcome_of_find_reply(ORDER, 200, said(status=status)) == Accepted("po_1")
    assert isinstance(outcome_of_pay_reply(ORDER, 422, said(status=status)), OutcomeUnknown)


def test_what_came_back() -> None:
    """Goal: a look-up tells how much of a payout came back, in either way that banks tell it; never more than left."""
    assert outcome_of_find_reply(ORDER, 200, said(status="returned")) == Returned("po_1", 1250)
    assert outcome_of_find_reply(ORDER, 200, said(status="returned", returned_amount=400)) == Returned(
        "po_1", 400
    )
    assert outcome_of_find_reply(ORDER, 200, said(status="returned", amount=400)) == Returned("po_1", 400)
    for wrong in ({"amount": 1251}, {"returned_amount": 1251}, {"returned_amount": 0}, {"payout_id": None}):
        assert isinstance(outcome_of_find_reply(ORDER, 200, said(status="returned", **wrong)), OutcomeUnknown)
    assert isinstance(outcome_of_pay_reply(ORDER, 200, said(status="returned")), OutcomeUnknown)


def test_statuses_that_say_it_all() -> None:
    """Goal: 429 and 503 were not accepted; a look-up's 404 is not yet; any other word on the call is no answer."""
    for status in (429, 503):
        assert isinstance(outcome_of_pay_reply(ORDER, status, said()), BankUnavailable)
        assert isinstance(outcome_of_find_reply(ORDER, status, said()), BankUnavailable)
    assert isinstance(outcome_of_find_reply(ORDER, 404, b""), NotFound)
    for status in (201, 202, 204, 301, 307, 400, 401, 403, 409, 410, 422, 500, 502, 504):
        assert isinstance(outcome_of_find_reply(ORDER, status, said()), OutcomeUnknown), status


@given(at=st.integers(0, len(said()) - 1), byte=st.integers(0, 255))
def test_one_wrong_byte_never_settles_otherwise(at: int, byte: int) -> None:
    """Goal: whatever a byte on the way turns into, the order is paid as it is, or nothing is known."""
    body = bytearray(said())
    body[at] = byte
    outcome = outcome_of_pay_reply(ORDER, 201, bytes(body))
    if isinstance(outcome, Paid):
        read = json.loads(body)
        assert read["reference"] == REFERENCE
        assert read["status"] == "paid"
        assert (read.get("amount", 1250), read.get("currency", "USD")) == (1250, "USD")
        assert outcome.payout_id == read["payout_id"]
    else:
        assert isinstance(outcome, OutcomeUnknown)


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        ("1E400", "10e399", True),
        ("1E400", "1E401", False),
        ("1e99999999999999999999", "10e99999999999999999998", True),
        ("1e99999999999999999999", "1e99999999999999999998", False),
        ("1e-99999999999999999999", "0", False),
        ("1" * 4000, "1" * 4000 + ".0", True),
    ],
)
def test_a_destination_with_a_number_that_no_float_can_hold(ours: str, theirs: str, same: bool) -> None:
    """Goal: the bank's word about such a destination is compared as that about any other."""
    order = msgspec.structs.replace(ORDER, destination=f'{{"n":{ours}}}')
    reply = said(destination={"n": 0}).replace(b'"n": 0', f'"n": {theirs}'.encode())
    assert isinstance(outcome_of_find_reply(order, 200, reply), Paid) is same
