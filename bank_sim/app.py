"""A bank that pays, waits, declines, delays, fails and hangs: the stranger that wallets pay out through.

It shares no code with the wallet; HTTP is the contract. Errors are problem+json with a stable `code`.

`POST /payouts {reference, amount, currency, destination?}`, header `Idempotency-Key` (required)
    201 `{payout_id, reference, amount, currency, destination?, status, created_at}`, durable before the answer, with
    status `paid`, or `pending`: paid or declined later · 200 the same again, for the same reference and body · 409
    `payout_conflict`: the reference, or the key, stands for another payout · 422 `validation_failed`, or a decline:
    `{reference, status: "declined", code, amount, currency, destination}` (account_closed, account_not_found,
    payments_blocked, limit_exceeded).
    Declines are remembered: the same reference stays declined, whatever the faults are by then.
    400 `idempotency_key_missing`, `malformed_json` · 503 `busy`: nothing was taken.
    A payment that was taken is carried out even if the caller hangs up: a 404 now may be a payout in a second.
    What a `destination` that begins with `test:` does is in `destinations.py`; any other is kept as it came.
`GET /payouts/{reference}`
    200 with `status` pending, paid, returned (`returned_amount`) or declined (`code`; without payout_id if no
    money moved, with it if the bank took it back after paying) · 404 `payout_not_found`.
`GET /payouts?after=&limit=`
    The books: money that left the bank, whatever became of it since (paid, returned, declined), in the order in
    which it left; a pending payout stands where it was paid, not where it was ordered. `next` is null at the end.
    The cursor is the payout_id of the last payout read, so a reader goes on from there later and misses nothing.
`POST /payouts/{reference}/return {amount?}`
    200, also again · 404 · 409 `not_paid`. All of it comes back, or `amount`.
Callbacks
    `payout.paid` and `payout.declined` of what was pending, `payout.declined` of what was paid, `payout.returned`:
    to WBS_CALLBACK_URL, signed (Standard Webhooks), with the same webhook-id until a 2xx, over restarts; retried
    after 0.5 s doubling to 10 s. What the answer to the order told is not told again.
`GET | PUT | DELETE /faults`
    What goes wrong from now on; fields and drawing in `faults.py`. They are written in the books, so killing
    the bank does not heal it; WBS_BANK_FAULTS counts only while none were ever set. They strike POST /payouts
    and GET /payouts/{reference}, never the listing (audits must be able to run), /return, /faults or /health.
    - latency: a payment is booked just before its end, then answered.
    - decline_rate, pending_rate: by reference, remembered. settle_after_ms: how long it is pending, also over a kill.
    - error_rate: 40 % 500 before paying, 40 % 500 after paying, 10 % 503 and 10 % 429, both unpaid.
    - lost_reply_rate (payments): paid, then the connection is cut without a byte.
    - hang_rate: half before paying, half after; no answer for 90 s, then cut. More than 256 at a time are cut
      at once.
    - outage: 503 `outage` at once, nothing counted or taken. For refused connections kill the bank.
    - key_window_ms: orders and keys older than this are forgotten; ordered again, they are paid again, under
      another payout_id (real banks keep keys for hours or days). A look-up finds the last one.
    - callback_delay_ms, callback_shuffle_ms, callback_double_rate: callbacks late, in another order, twice.
`GET /health` · `GET /metrics`
Any call: 403 `cross_site` if another site's page orders it, 421 `host_not_allowed` for a name not in WBS_ALLOWED_HOSTS.

SIGTERM: no new connections; delayed payments are booked and answered now, hanging calls cut, exit 0.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from sanic import HTTPResponse, Request, Sanic
from sanic.exceptions import MethodNotAllowed, RequestCancelled, SanicException
from sanic.http.http1 import Http

from . import admission, telemetry
from .bank import Bank
from .beat import beat_for_ever
from .book_file import BookFile
from .books import BooksBusy, BooksFailed
from .replies import Refusal, problem
from .settings import Settings
from .supervision import keep_running

Handler = Callable[..., Coroutine[Any, Any, HTTPResponse]]


def create_app(settings: Settings, file: BookFile) -> Sanic[Any, Any]:
    """Return the bank as a Sanic application on these books. It closes them when it stops."""
    app = Sanic("bank_sim", configure_logging=False)
    app.config.update(
        AUTO_EXTEND=False,  # sanic-ext, should it be installed, has no work here
        ACCESS_LOG=False,
        FALLBACK_ERROR_FORMAT="json",
        KEEP_ALIVE_TIMEOUT=600,  # s; a connection closed while a request is on its way is an unknown outcome
        RESPONSE_TIMEOUT=300,  # s; above every hang and latency, as its 503 would claim that nothing was paid
        REQUEST_MAX_SIZE=64 * 1024,
        GRACEFUL_SHUTDOWN_TIMEOUT=10.0,
    )
    bank = Bank(settings, file)
    for method, path, handler in (
        ("POST", "/payouts", bank.pay),
        ("GET", "/payouts", bank.list),
        ("GET", "/payouts/<reference>", bank.find),
        ("POST", "/payouts/<reference>/return", bank.take_back),
        ("GET", "/faults", bank.get_faults),
        ("PUT", "/faults", bank.put_faults),
        ("DELETE", "/faults", bank.delete_faults),
        ("GET", "/health", bank.health),
        ("GET", "/metrics", bank.metrics),
    ):
        route = f"{method} {path.translate(str.maketrans('<>', '{}'))}"
        app.add_route(_answering(bank, route, handler), path, [method], name=handler.__name__, unquote=True)
    app.error_handler.add(Exception, _server_problem)

    @app.on_request
    async def admit(request: Request) -> None:
        admission.check(request, settings.allowed_hosts)

    @app.on_response  # type: ignore[untyped-decorator]
    async def protect(_request: Request, response: HTTPResponse) -> None:
        response.headers.update(admission.HEADERS)

    beating: list[asyncio.Task[None]] = []

    @app.before_server_start
    async def start(_app: Sanic[Any, Any]) -> None:
        bank.start()
        beating.append(keep_running("beat", beat_for_ever))
        telemetry.log("started", host=settings.host, port=settings.port, books=file.books_id)

    @app.before_server_stop
    async def stop_waiting(_app: Sanic[Any, Any]) -> None:
        bank.stop_waiting()

    @app.after_server_stop
    async def close(_app: Sanic[Any, Any]) -> None:
        await bank.close()
        for task in beating:
            task.cancel()
        telemetry.log("stopped")

    return app


def _answering(bank: Bank, route: str, handler: Handler) -> Handler:
    """Return the handler with its refusals turned into answers, and every answer counted."""
    counters: dict[int | str, Callable[[], None]] = {}

    def count(status: int | str) -> None:
        if status not in counters:
            counters[status] = telemetry.REQUESTS.labels(route, status).inc
        counters[status]()

    async def answering(request: Request, **path: str) -> HTTPResponse:
        try:
            answer = await handler(request, **path)
        except Refusal as refusal:
            answer = problem(refusal)
        except BooksBusy:
            answer = problem(Refusal(503, "busy", "Too many payments wait to be booked; nothing was taken"))
        except BooksFailed as error:
            telemetry.log("commit_failed", logging.ERROR, problem=str(error))
            answer = problem(Refusal(500, "internal_error", "The books could not be written"))
        except (asyncio.CancelledError, RequestCancelled):
            count("dropped")  # cut off by a fault, or by the caller
            raise
        count(answer.status)
        if bank.stopping and isinstance(request.stream, Http):
            request.stream.keep_alive = False  # or this connection would hold up the stop until it times out
        return answer

    return answering


async def _server_problem(_request: Request, error: Exception) -> HTTPResponse:
    """Answer what the server itself refuses (no such route, too large, no HTTP), and what nobody expected."""
    if isinstance(error, Refusal):
        refusal = error
    elif not isinstance(error, SanicException) or error.status_code >= 500:
        telemetry.log("request_failed", logging.ERROR, exc_info=True, problem=str(error))
        refusal = Refusal(500, "internal_error", "The bank failed at this")
    else:
        codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
        refusal = Refusal(error.status_code, codes.get(error.status_code, "bad_request"), str(error))
    telemetry.REQUESTS.labels("other", refusal.status).inc()
    allowed = {"allow": error.headers["Allow"]} if isinstance(error, MethodNotAllowed) else None
    return problem(refusal, allowed)
