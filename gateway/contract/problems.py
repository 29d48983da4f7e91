"""From an error to a problem (RFC 9457, problem details): the one place that knows HTTP statuses.

WalletError                      (wallet.errors)
└── HttpRefusal                  wrong use of HTTP
    ├── MalformedRequest         malformed_request
    ├── MalformedJson            malformed_json
    ├── Unauthorized             unauthorized
    ├── InvalidSignature         invalid_signature
    ├── Forbidden                forbidden
    ├── CrossSite                cross_site
    ├── PathNotFound             not_found
    ├── MethodNotAllowed         method_not_allowed
    ├── RequestTimeout           request_timeout
    ├── PayloadTooLarge          payload_too_large
    ├── UnsupportedMediaType     unsupported_media_type
    ├── ExpectationFailed        expectation_failed
    ├── HostNotAllowed           host_not_allowed
    └── RateLimited              rate_limited
"""

import math
from collections.abc import Mapping
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from wallet.errors import TryLater, ValidationFailed, WalletError

PROBLEM_JSON = "application/problem+json"


class HttpRefusal(WalletError):
    """Root of the refusals that have nothing to do with money. `headers` go with the response."""

    code = "malformed_request"

    def __init__(self, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.headers = dict(headers or {})


class MalformedRequest(HttpRefusal):
    """The bytes are not a readable HTTP request."""

    code = "malformed_request"


class MalformedJson(HttpRefusal):
    """The body is empty, not UTF-8 or not JSON."""

    code = "malformed_json"


class Unauthorized(HttpRefusal):
    """The API key is missing or unknown."""

    code = "unauthorized"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, {"www-authenticate": 'Bearer realm="wallet"'})


class InvalidSignature(HttpRefusal):
    """A callback was not signed by the bank, or is too old to be believed."""

    code = "invalid_signature"


class Forbidden(HttpRefusal):
    """The API key does not have the scope that this needs, or the request came in a way that needs a key."""

    code = "forbidden"


class CrossSite(HttpRefusal):
    """A page of another site had a browser send the request."""

    code = "cross_site"


class PathNotFound(HttpRefusal):
    """There is nothing at this path."""

    code = "not_found"


class MethodNotAllowed(HttpRefusal):
    """The path is right, the method is not."""

    code = "method_not_allowed"

    def __init__(self, method: str, allowed: list[str]) -> None:
        super().__init__(f"{method} is not allowed here", {"allow": ", ".join(sorted(allowed))})


class RequestTimeout(HttpRefusal):
    """The request did not arrive in time."""

    code = "request_timeout"


class PayloadTooLarge(HttpRefusal):
    """The body or the header is longer than the limit."""

    code = "payload_too_large"


class UnsupportedMediaType(HttpRefusal):
    """The body is declared as something else than JSON, or as nothing."""

    code = "unsupported_media_type"


class ExpectationFailed(HttpRefusal):
    """The client expects something else than 100-continue."""

    code = "expectation_failed"


class HostNotAllowed(HttpRefusal):
    """The request is for a name that is not ours."""

    code = "host_not_allowed"


class RateLimited(HttpRefusal):
    """The client is over its rate."""

    code = "rate_limited"

    def __init__(self, retry_after_s: float, detail: str = "too many requests from this client") -> None:
        seconds = max(1, math.ceil(retry_after_s))
        super().__init__(detail, {"retry-after": str(seconds)})


class ProblemKind(NamedTuple):
    """The meaning of a code: its HTTP status, a title that never changes, and an example of a detail."""

    status: int
    title: str
    example: str


KINDS: dict[str, ProblemKind] = {
    "malformed_request": ProblemKind(400, "Not a readable HTTP request", "bad content-length"),
    "malformed_json": ProblemKind(
        400, "The body is not JSON", "the body is not JSON: Input data was truncated"
    ),
    "unauthorized": ProblemKind(401, "A valid API key is needed", "send Authorization: Bearer <key>"),
    "invalid_signature": ProblemKind(401, "The signature is not the bank's", "No matching signature found"),
    "forbidden": ProblemKind(403, "This API key may not do that", "this key does not have the scope charge"),
    "cross_site": ProblemKind(
        403, "Pages of other sites may not do that", "pages of other sites may not do that (WBS_CORS_ORIGINS)"
    ),
    "not_found": ProblemKind(404, "Nothing at this path", "there is no /chargee"),
    "wallet_not_found": ProblemKind(404, "No such wallet", "no such wallet"),
    "charge_not_found": ProblemKind(404, "No such charge", "no such charge"),
    "transfer_not_found": ProblemKind(404, "No such transfer", "no such transfer"),
    "hold_not_found": ProblemKind(404, "No such hold", "no such hold"),
    "withdrawal_not_found": ProblemKind(404, "No such withdrawal", "no such withdrawal"),
    "webhook_not_found": ProblemKind(404, "No such webhook", "no such webhook"),
    "adjustment_not_found": ProblemKind(404, "No such adjustment", "no such adjustment"),
    "events_gone": ProblemKind(
        410,
        "Not a position in the sequence of events",
        "the sequence 5f0c1b2a-9d3e-4f60-8000-2d1f6b7a9c01 goes from 1 to 95288",
    ),
    "history_archived": ProblemKind(
        410,
        "That part of the books is archived",
        "what the wallet's books say begins at 2026-01-01T00:00:00Z: the rest is archived",
    ),
    "method_not_allowed": ProblemKind(405, "Method not allowed", "PUT is not allowed here"),
    "request_timeout": ProblemKind(
        408, "The request did not arrive in time", "the request did not arrive in time"
    ),
    "not_cancellable": ProblemKind(
        409,
        "Too late to cancel",
        "the withdrawal is processing; only a pending one can be cancelled",
    ),
    "idempotency_key_archived": ProblemKind(
        409,
        "The key was used long ago",
        "this request was accepted long ago, and what it made is archived",
    ),
    "hold_not_open": ProblemKind(409, "The hold has ended", "the hold is captured"),
    "not_confirmable": ProblemKind(409, "It can't be confirmed so", "another person must confirm it"),
    "illegal_move": ProblemKind(409, "The withdrawal can't go there", "failed → returned"),
    "payload_too_large": ProblemKind(413, "Too large", "the body is longer than 65536 bytes"),
    "unsupported_media_type": ProblemKind(
        415, "The body must be JSON", "Content-Type must be application/json"
    ),
    "expectation_failed": ProblemKind(
        417, "Nothing but 100-continue can be expected", "only 100-continue can be expected"
    ),
    "host_not_allowed": ProblemKind(
        421, "This host is not served here", "'wallet.example' is not served here (WBS_ALLOWED_HOSTS)"
    ),
    "validation_failed": ProblemKind(422, "The request is not valid", "amount: must be an integer >= 1"),
    "insufficient_funds": ProblemKind(
        422, "Not enough withdrawable money", "500 asked for, 120 can be withdrawn"
    ),
    "capture_exceeds_hold": ProblemKind(
        422, "More than the hold has set aside", "500 to be captured, 120 held"
    ),
    "exceeds_original": ProblemKind(422, "More than is left to reverse", "500 to be reversed, 120 left"),
    "amount_limit_exceeded": ProblemKind(
        422, "More than one request may be for", "500 asked for, a charge may be for 100 at most"
    ),
    "open_locks_limit_exceeded": ProblemKind(
        422, "The wallet has too many locks", "the wallet has 100 locks, and may not have more"
    ),
    "open_holds_limit_exceeded": ProblemKind(
        422, "The wallet has too many open holds", "the wallet has 10 open holds, and may not have more"
    ),
    "webhooks_limit_exceeded": ProblemKind(
        422, "There are too many webhooks", "there are 100 webhooks, and may not be more"
    ),
    "balance_limit_exceeded": ProblemKind(
        422, "The wallet would hold too much", "the wallet's total would pass 9007199254740991"
    ),
    "idempotency_key_reused": ProblemKind(
        422, "The key belongs to another request", "this idempotency key was used for another request"
    ),
    "rate_limited": ProblemKind(429, "Too many requests", "too many requests from this client"),
    "internal_error": ProblemKind(500, "Our mistake", "unexpected error; it was logged with this request_id"),
    "overloaded": ProblemKind(503, "Busy, try again", "the backlog is full"),
    "unavailable": ProblemKind(
        503, "The database can't be reached, try again", "the database can't be reached"
    ),
}
"""All codes. Clients branch on them: codes are added, never changed."""


_FIGURES = {
    "insufficient_funds": ("amount", "withdrawable"),
    "capture_exceeds_hold": ("amount", "held"),
    "exceeds_original": ("amount", "left"),
    "amount_limit_exceeded": ("amount", "limit"),
    "balance_limit_exceeded": ("limit",),
    "open_locks_limit_exceeded": ("limit",),
    "open_holds_limit_exceeded": ("limit",),
    "webhooks_limit_exceeded": ("limit",),
    "events_gone": ("epoch", "oldest_seq", "last_seq"),
}
"""Attributes of errors that are members of their problems, too."""


class FieldError(msgspec.Struct):
    """One bad field (`$` is the whole body) and the reason."""

    field: str
    reason: str


class Problem(msgspec.Struct, omit_defaults=True):
    """Why a request was refused (RFC 9457). Branch on `code`; `detail` is for people."""

    type: str
    title: str
    status: int
    code: Annotated[str, Meta(title="ProblemCode", extra_json_schema={"enum": list(KINDS)})]
    detail: str
    request_id: str | None = None
    errors: list[FieldError] | None = None
    """With `validation_failed` only: the bad fields."""
    amount: int | None = None
    """With refusals that are about amounts: what was asked for, in minor units, and what there is of it."""
    withdrawable: int | None = None
    held: int | None = None
    left: int | None = None
    limit: int | None = None
    """With refusals for a limit: minor units, or a number of locks or holds."""
    epoch: str | None = None
    """With `events_gone`: the present epoch, and its oldest and last numbers that can be read."""
    oldest_seq: int | None = None
    last_seq: int | None = None


_encode = msgspec.json.Encoder().encode


def problem_of(error: Exception, request_id: str | None) -> Problem:
    """Describe `error` to a client. An unexpected error is not described: its details are for the log."""
    code = error.code if isinstance(error, WalletError) and error.code in KINDS else "internal_error"
    kind = KINDS[code]
    detail = kind.example if code == "internal_error" else str(error)
    errors = None
    if isinstance(error, ValidationFailed):
        errors = [FieldError(field, reason) for field, reason in error.errors]
    figures = {name: getattr(error, name) for name in _FIGURES.get(code, ())}
    return Problem(f"/problems/{code}", kind.title, kind.status, code, detail, request_id, errors, **figures)


def headers_of(error: Exception) -> dict[str, str]:
    """Return the headers of the response to `error`."""
    headers = {"content-type": PROBLEM_JSON}
    if isinstance(error, HttpRefusal):
        headers.update(error.headers)
    elif isinstance(error, TryLater):
        headers["retry-after"] = str(error.retry_after_s)
    return headers


def encode_problem(problem: Problem) -> bytes:
    """Return the body of the response."""
    return _encode(problem)
