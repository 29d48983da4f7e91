"""The meaning of a bank's reply: the only place where bytes become an outcome (docs/BANK.md).

One rule is behind every line: a reply counts only if it is certainly the bank's word about this order. It repeats our
reference, and everything else that it repeats is right; it is JSON that can be read in only one way; its words are such
as a person could have typed. A call is *certainly not accepted* only if the status says so, and *declined* only if the
reply says exactly that about our reference. Everything else is unknown. If we wrongly take an answer for unknown, it
costs a look-up later; if we wrongly take it for paid or declined, it costs the money.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from actors.bank.protocol import WORD_CHARACTERS_MAX, PayoutOrder
from runtime.telemetry import log
from wallet.canonical import canonical_json
from wallet.outcomes import (
    Accepted,
    BankUnavailable,
    Declined,
    FindOutcome,
    NotFound,
    OutcomeUnknown,
    Paid,
    PayOutcome,
    Returned,
)

ACCEPTED_STATUSES = frozenset({"pending", "accepted", "processing"})
_UNAVAILABLE = (429, 503)
_AMOUNT_MAX = 2**63 - 1

Amount = Annotated[int, Meta(ge=1, le=_AMOUNT_MAX)]
Word = Annotated[str, Meta(min_length=1, max_length=WORD_CHARACTERS_MAX)]


class Unreadable(ValueError):
    """These bytes are not a valid reply of a bank, or can be read in more than one way."""


class _PayoutReply(msgspec.Struct):
    """The members we rely on. A reply may omit amount, currency and destination; if it repeats them, they are right."""

    reference: Word
    status: Word
    payout_id: Word | None = None
    amount: Amount | None = None
    currency: Word | None = None
    destination: Any = None
    code: Word | None = None
    returned_amount: Amount | None = None


def outcome_of_pay_reply(order: PayoutOrder, status: int, body: bytes) -> PayOutcome:
    """Map a complete reply to `POST /payouts`."""
    if status in _UNAVAILABLE:
        return BankUnavailable(f"http {status}")
    if status == 409:
        # The bank knows our key with another body: some order exists under this reference and is perhaps paid.
        # A refund would be a guess.
        log.error("bank_conflict", reference=order.reference, amount=order.amount)
        return OutcomeUnknown("http 409: the bank knows this key with another body", conflict=True)
    if status not in (200, 201, 202, 422):
        # Other 4xx say that *this call* was not understood or not admitted, for example because a credential has
        # expired; they say nothing about an earlier call under the same key. A 5xx may come after the payment. A
        # redirect is not followed.
        return OutcomeUnknown(f"http {status}")
    said = _outcome_of_payout(order, body, compare_all=False)
    match said:
        case OutcomeUnknown():
            return OutcomeUnknown(f"http {status}: {said.reason}", said.conflict)
        case Declined() if status == 422:
            return said
        case Paid() if status in (200, 201):
            return said
        case Accepted() if status != 422:
            return said
    return OutcomeUnknown(f"http {status} does not go with {type(said).__name__.lower()!r}")


def outcome_of_find_reply(
    order: PayoutOrder, status: int, body: bytes, *, compare_all: bool = False
) -> FindOutcome:
    """Map a complete reply to `GET /payouts/{reference}`."""
    if status == 200:
        return _outcome_of_payout(order, body, compare_all=compare_all)
    if status == 404:
        return NotFound()
    if status in _UNAVAILABLE:
        return BankUnavailable(f"http {status}")
    return OutcomeUnknown(f"http {status}")


def _outcome_of_payout(
    order: PayoutOrder, body: bytes, *, compare_all: bool
) -> Paid | Declined | Accepted | Returned | OutcomeUnknown:
    try:
        reply = msgspec.convert(read_json(body), _PayoutReply)
        words = check_words(reply.reference, reply.status, reply.payout_id, reply.currency, reply.code)
    except (msgspec.ValidationError, Unreadable) as error:
        return OutcomeUnknown(f"unreadable reply: {error}")
    wrong, missing = _compare(order, reply)
    if wrong:
        log.error("bank_reply_mismatch", reference=order.reference, wrong=wrong, said=words)
        return OutcomeUnknown(f"wrong {' and '.join(wrong)} in the reply")
    if missing and compare_all:
        return OutcomeUnknown(f"no {' and '.join(missing)} in the reply to compare", conflict=True)
    if reply.status == "paid" and reply.payout_id is not None:
        return Paid(reply.payout_id)
    if reply.status == "returned" and reply.payout_id is not None:
        return Returned(reply.payout_id, reply.returned_amount or reply.amount or order.amount)
    if reply.status == "declined" and reply.code is not None:
        return Declined(reply.code)
    if reply.status in ACCEPTED_STATUSES:
        return Accepted(reply.payout_id)
    return OutcomeUnknown(f"the payout is {reply.status!r}, without what belongs to it or unheard of")


def _compare(order: PayoutOrder, reply: _PayoutReply) -> tuple[list[str], list[str]]:
    """Return the names of the fields in which the reply differs from the order, and of those that it omits."""
    wrong, missing = [], []
    if reply.reference != order.reference:
        wrong.append("reference")
    if reply.amount is None:
        missing.append("amount")
    elif reply.amount != order.amount and not _tells_what_came_back(order, reply):
        wrong.append("amount")
    if reply.returned_amount is not None and reply.returned_amount > order.amount:
        wrong.append("returned_amount")
    if reply.currency is None:
        missing.append("currency")
    elif reply.currency != order.currency:
        wrong.append("currency")
    if reply.destination is None:
        if order.destination is not None:
            missing.append("destination")
    elif order.destination_known and (
        order.destination is None or not _same_json(reply.destination, order.destination)
    ):
        wrong.append("destination")
    return wrong, missing


def _tells_what_came_back(order: PayoutOrder, reply: _PayoutReply) -> bool:
    """Return whether the amount is the returned part: some banks show a partly returned payout in this way."""
    return (
        reply.status == "returned"
        and reply.returned_amount is None
        and reply.amount is not None
        and reply.amount < order.amount
    )


# --- JSON that can be read in one way only ---


def read_json(body: bytes, on_twice: Callable[[], Any] | None = None) -> Any:
    """Return the document. Fractions become `Decimal`, so that comparisons use unrounded numbers.

    An object that names a member twice makes the document unreadable or, with `on_twice`, is replaced by its result.
    Raises Unreadable.
    """

    def members(pairs: list[tuple[str, Any]]) -> Any:
        read = dict(pairs)
        if len(read) == len(pairs):
            return read
        if on_twice is None:
            raise Unreadable("a member is named twice")
        return on_twice()

    try:
        return json.loads(
            body.decode(), object_pairs_hook=members, parse_float=_decimal, parse_constant=_no_constant
        )
    except Unreadable:
        raise
    except (
        ValueError,
        RecursionError,
        ArithmeticError,
    ) as error:  # no UTF-8, no JSON, too deep, too many digits
        raise Unreadable(f"not JSON ({type(error).__name__})") from None


def _decimal(text: str) -> Decimal | tuple[str]:
    """Return a fraction. If its exponent is too large for `Decimal`, return its canonical spelling in a tuple.

    A tuple equals no JSON text.
    """
    try:
        return Decimal(text)
    except ArithmeticError:
        return (canonical_json(text),)


def _no_constant(name: str) -> Any:
    raise Unreadable(f"{name} is not JSON")


def check_words(*words: str | None) -> list[str | None]:
    """Return the words if each consists of visible characters, without surrounding blanks. Raises Unreadable."""
    for word in words:
        if word is not None and (not word.isprintable() or word != word.strip()):
            raise Unreadable("a word with invisible characters")
    return list(words)


def _same_json(said: Any, ours: str) -> bool:
    """Return whether two documents have the same values, whatever the order of members and the spelling of numbers."""
    try:
        return bool(_typed(said) == _typed(read_json(ours.encode())))
    except (Unreadable, RecursionError):
        return False


def _typed(value: Any) -> Any:
    """Make values of different types unequal: in Python, True equals 1."""
    if isinstance(value, dict):
        return {name: _typed(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return (isinstance(value, bool), value)
