"""What the bank answers: payouts as JSON, refusals as problem+json (RFC 9457) with a stable `code`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from sanic import HTTPResponse

from .entries import Payout, rfc3339

_encode = msgspec.json.Encoder().encode


class Refusal(Exception):
    """The end of a request with a problem. `code` is what programs read, `detail` what people read."""

    def __init__(self, status: int, code: str, detail: str, members: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.members = members or {}


def problem(refusal: Refusal, headers: Mapping[str, str] | None = None) -> HTTPResponse:
    """Return the refusal as application/problem+json; 429 and 503 say when to come back."""
    sent = dict(headers or {})
    if refusal.status in (429, 503):
        sent["retry-after"] = "1"
    body = {
        "type": "about:blank",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "code": refusal.code,
        "detail": refusal.detail,
        **refusal.members,
    }
    return HTTPResponse(_encode(body), refusal.status, sent, content_type="application/problem+json")


def as_json(body: object, status: int = 200) -> HTTPResponse:
    """Return the body as application/json."""
    return HTTPResponse(_encode(body), status, content_type="application/json")


# --- payouts ---


class Line(msgspec.Struct, omit_defaults=True):
    """A payout as it stands in the listing. `amount` is what was ordered, also where less came back."""

    payout_id: str | None
    reference: str
    status: str
    amount: int
    currency: str
    created_at: str
    returned_at: str | None = None
    returned_amount: int | None = None
    code: str | None = None


class Receipt(Line):
    """A payout as its payer sees it: with its destination, as it came."""

    destination: msgspec.Raw | None = None


def receipt(books_id: str, payout: Payout, status: int) -> HTTPResponse:
    """Return the answer to an order: pending or paid, even if the money has come back since."""
    body = Receipt(
        payout_id(books_id, payout.seq),
        payout.reference,
        "pending" if payout.status == "pending" else "paid",
        payout.amount,
        payout.currency,
        rfc3339(payout.created_us),
        destination=_destination(payout),
    )
    return as_json(body, status)


def decline(payout: Payout) -> HTTPResponse:
    """Return the answer to an order that the bank will not pay: what became of it, and a problem.

    A problem's own `status` is a number and advice only (RFC 9457 has it ignored where it is anything else).
    """
    assert payout.decline_code is not None
    members = {
        "status": "declined",
        "reference": payout.reference,
        "amount": payout.amount,
        "currency": payout.currency,
        "destination": _destination(payout),
    }
    return problem(Refusal(422, payout.decline_code, "The bank will not pay this", members))


def line(books_id: str, payout: Payout) -> Line:
    """Return the payout as it stands in the listing, with its state now."""
    return Line(*_state(books_id, payout))


def found(books_id: str, payout: Payout) -> Receipt:
    """Return the payout as a look-up tells it, with its state now."""
    receipt = Receipt(*_state(books_id, payout))
    receipt.destination = _destination(payout)
    return receipt


def _state(books_id: str, payout: Payout) -> tuple[Any, ...]:
    never_left = payout.status == "declined" and payout.paid_us is None
    return (
        None if never_left else payout_id(books_id, payout.seq),
        payout.reference,
        payout.status,
        payout.amount,
        payout.currency,
        rfc3339(payout.created_us),
        rfc3339(payout.returned_us) if payout.returned_us else None,
        payout.returned_amount,
        payout.decline_code,
    )


def _destination(payout: Payout) -> msgspec.Raw | None:
    return None if payout.destination is None else msgspec.Raw(payout.destination.encode())


_PAYOUT_ID = re.compile(r"po_([0-9a-f]{8})_([0-9]{12})")


def payout_id(books_id: str, seq: int) -> str:
    """Return `po_<books>_<number>`: unique over all books ever begun, in booking order within one."""
    return f"po_{books_id}_{seq:012d}"


def seq_of(books_id: str, text: str) -> int | None:
    """Return the number in a payout id, None if it is none of these books."""
    match = _PAYOUT_ID.fullmatch(text)
    return int(match[2]) if match is not None and match[1] == books_id else None


def invalid(name: str, reason: str) -> Refusal:
    """Return the refusal of a value that can't be."""
    errors = [{"field": name, "reason": reason}]
    return Refusal(422, "validation_failed", f"{name}: {reason}", {"errors": errors})
