"""The stable codes of problems: what each one means, with its HTTP status."""

from typing import NamedTuple


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
