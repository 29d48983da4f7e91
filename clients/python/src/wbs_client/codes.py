"""A class per code of the service's problems. Made from the service's own table; not edited by hand."""

from typing import Any

from wbs_client.errors import ApiError
from wbs_client.models import Problem

__all__ = [
    "AdjustmentNotFound",
    "AmountLimitExceeded",
    "BalanceLimitExceeded",
    "CaptureExceedsHold",
    "ChargeNotFound",
    "CrossSite",
    "EventsGone",
    "ExceedsOriginal",
    "ExpectationFailed",
    "Forbidden",
    "HistoryArchived",
    "HoldNotFound",
    "HoldNotOpen",
    "HostNotAllowed",
    "IdempotencyKeyArchived",
    "IdempotencyKeyReused",
    "IllegalMove",
    "InsufficientFunds",
    "InternalError",
    "InvalidSignature",
    "MalformedJson",
    "MalformedRequest",
    "MethodNotAllowed",
    "NotCancellable",
    "NotConfirmable",
    "NotFound",
    "OpenHoldsLimitExceeded",
    "OpenLocksLimitExceeded",
    "Overloaded",
    "PayloadTooLarge",
    "RateLimited",
    "RequestTimeout",
    "TransferNotFound",
    "Unauthorized",
    "Unavailable",
    "UnsupportedMediaType",
    "ValidationFailed",
    "WalletNotFound",
    "WebhookNotFound",
    "WebhooksLimitExceeded",
    "WithdrawalNotFound",
]


class MalformedRequest(ApiError):
    """Not a readable HTTP request (400)."""

    code = "malformed_request"


class MalformedJson(ApiError):
    """The body is not JSON (400)."""

    code = "malformed_json"


class Unauthorized(ApiError):
    """A valid API key is needed (401)."""

    code = "unauthorized"


class InvalidSignature(ApiError):
    """The signature is not the bank's (401)."""

    code = "invalid_signature"


class Forbidden(ApiError):
    """This API key may not do that (403)."""

    code = "forbidden"


class CrossSite(ApiError):
    """Pages of other sites may not do that (403)."""

    code = "cross_site"


class NotFound(ApiError):
    """Nothing at this path (404)."""

    code = "not_found"


class WalletNotFound(ApiError):
    """No such wallet (404)."""

    code = "wallet_not_found"


class ChargeNotFound(ApiError):
    """No such charge (404)."""

    code = "charge_not_found"


class TransferNotFound(ApiError):
    """No such transfer (404)."""

    code = "transfer_not_found"


class HoldNotFound(ApiError):
    """No such hold (404)."""

    code = "hold_not_found"


class WithdrawalNotFound(ApiError):
    """No such withdrawal (404)."""

    code = "withdrawal_not_found"


class WebhookNotFound(ApiError):
    """No such webhook (404)."""

    code = "webhook_not_found"


class AdjustmentNotFound(ApiError):
    """No such adjustment (404)."""

    code = "adjustment_not_found"


class EventsGone(ApiError):
    """Not a position in the sequence of events (410)."""

    code = "events_gone"


class HistoryArchived(ApiError):
    """That part of the books is archived (410)."""

    code = "history_archived"


class MethodNotAllowed(ApiError):
    """Method not allowed (405)."""

    code = "method_not_allowed"


class RequestTimeout(ApiError):
    """The request did not arrive in time (408)."""

    code = "request_timeout"


class NotCancellable(ApiError):
    """Too late to cancel (409)."""

    code = "not_cancellable"


class IdempotencyKeyArchived(ApiError):
    """The key was used long ago (409)."""

    code = "idempotency_key_archived"


class HoldNotOpen(ApiError):
    """The hold has ended (409)."""

    code = "hold_not_open"


class NotConfirmable(ApiError):
    """It can't be confirmed so (409)."""

    code = "not_confirmable"


class IllegalMove(ApiError):
    """The withdrawal can't go there (409)."""

    code = "illegal_move"


class PayloadTooLarge(ApiError):
    """Too large (413)."""

    code = "payload_too_large"


class UnsupportedMediaType(ApiError):
    """The body must be JSON (415)."""

    code = "unsupported_media_type"


class ExpectationFailed(ApiError):
    """Nothing but 100-continue can be expected (417)."""

    code = "expectation_failed"


class HostNotAllowed(ApiError):
    """This host is not served here (421)."""

    code = "host_not_allowed"


class ValidationFailed(ApiError):
    """The request is not valid (422)."""

    code = "validation_failed"


class InsufficientFunds(ApiError):
    """Not enough withdrawable money (422)."""

    code = "insufficient_funds"


class CaptureExceedsHold(ApiError):
    """More than the hold has set aside (422)."""

    code = "capture_exceeds_hold"


class ExceedsOriginal(ApiError):
    """More than is left to reverse (422)."""

    code = "exceeds_original"


class AmountLimitExceeded(ApiError):
    """More than one request may be for (422)."""

    code = "amount_limit_exceeded"


class OpenLocksLimitExceeded(ApiError):
    """The wallet has too many locks (422)."""

    code = "open_locks_limit_exceeded"


class OpenHoldsLimitExceeded(ApiError):
    """The wallet has too many open holds (422)."""

    code = "open_holds_limit_exceeded"


class WebhooksLimitExceeded(ApiError):
    """There are too many webhooks (422)."""

    code = "webhooks_limit_exceeded"


class BalanceLimitExceeded(ApiError):
    """The wallet would hold too much (422)."""

    code = "balance_limit_exceeded"


class IdempotencyKeyReused(ApiError):
    """The key belongs to another request (422)."""

    code = "idempotency_key_reused"


class RateLimited(ApiError):
    """Too many requests (429)."""

    code = "rate_limited"


class InternalError(ApiError):
    """Our mistake (500)."""

    code = "internal_error"


class Overloaded(ApiError):
    """Busy, try again (503)."""

    code = "overloaded"


class Unavailable(ApiError):
    """The database can't be reached, try again (503)."""

    code = "unavailable"


BY_CODE = {kind.code: kind for kind in ApiError.__subclasses__()}


def error_of_problem(
    problem: Problem | None,
    members: dict[str, Any] | None = None,
    idempotency_key: str | None = None,
    retry_after_s: float | None = None,
) -> ApiError:
    """Return the error that a problem is, of the class of its code."""
    problem = problem or Problem(code="", status=500)
    kind = BY_CODE.get(problem.code, ApiError)
    return kind(problem, members, idempotency_key=idempotency_key, retry_after_s=retry_after_s)
