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
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.contract.problem_kinds import KINDS
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
