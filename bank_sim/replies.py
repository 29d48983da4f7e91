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
    """Ends a request with a problem. `code` is what programs read, `detail` what people read."""

    def __init__(self, status: int, code: str, detail: str, members: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.members = members or {}


def problem(refusal: Refusal, headers: Mapping[str, str] | None = None) -> HTTPResponse:
    """The refusal as application/problem+json; 429 and 503 say when to come back."""
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
    """The body as application/json."""
    return HTTPResponse(_encode(body), status, content_type="application/json")


# --- payouts ---


class Receipt(msgspec.Struct):
    """The answer to a payment, the same however often it is made."""

    payout_id: str | None
    reference: str
    status: str
    amount: int
    currency: str
    created_at: str


class Line(Receipt, omit_defaults=True):
    """A payout as it stands in the books. One that was declined has a `code` and no payout_id."""

    returned_at: str | None = None
    code: str | None = None


def receipt(books_id: str, payout: Payout, status: int) -> HTTPResponse:
    """What the payer gets: `paid`, even if the money has come back since."""
    body = Receipt(
        payout_id(books_id, payout.seq),
        payout.reference,
        "paid",
        payout.amount,
        payout.currency,
        rfc3339(payout.created_us),
    )
    return HTTPResponse(_encode(body), status, content_type="application/json")


def line(books_id: str, payout: Payout) -> Line:
    """The payout with its state now: paid, returned or declined."""
    return Line(
        None if payout.decline_code else payout_id(books_id, payout.seq),
        payout.reference,
        payout.status,
        payout.amount,
        payout.currency,
        rfc3339(payout.created_us),
        returned_at=rfc3339(payout.returned_us) if payout.returned_us else None,
        code=payout.decline_code,
    )


_PAYOUT_ID = re.compile(r"po_([0-9a-f]{8})_([0-9]{12})")


def payout_id(books_id: str, seq: int) -> str:
    """`po_<books>_<number>`: unique over all books ever begun, and in booking order within one."""
    return f"po_{books_id}_{seq:012d}"


def seq_of(books_id: str, text: str) -> int:
    """The place of a payout id in these books; it serves as the cursor. Raises Refusal 422."""
    match = _PAYOUT_ID.fullmatch(text)
    if match is None or match[1] != books_id:
        raise Refusal(
            422,
            "validation_failed",
            "after: not a cursor of these books",
            {"errors": [{"field": "after", "reason": "not a cursor of these books"}]},
        )
    return int(match[2])
