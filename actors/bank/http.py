"""Calls to the bank over HTTP (docs/BANK.md). `actors.bank.replies` and `books` interpret its replies.

A call is *certainly not accepted* only if the bank can't have acted on a single byte of it.
"""

import ssl
from time import perf_counter
from urllib.parse import quote, urlsplit

import msgspec

from actors.bank.books import page_of
from actors.bank.login import authorization_of, proxy_of, tls_of
from actors.bank.protocol import (
    BOOKS_PAGE_ENTRIES_MAX,
    BooksPage,
    BooksUnreadable,
    CursorUnknown,
    PayoutOrder,
)
from actors.bank.replies import outcome_of_find_reply, outcome_of_pay_reply
from actors.bank.tunnel import Proxy
from actors.bank.wire import HttpClient, NoReply, NotSent
from runtime.activity import ACTIVITY
from runtime.bank_settings import BankSettings
from runtime.settings import SettingsError
from runtime.spans import Attributes, Span, spans
from runtime.telemetry import BANK_CALL_SECONDS, BANK_CALLS, start_at_zero
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
from wallet.traces import Trace

REPLY_BYTES_MAX = 64 * 1024
BOOKS_BYTES_MAX = 1024 * BOOKS_PAGE_ENTRIES_MAX

_encode = msgspec.json.Encoder().encode


class HttpBank:
    """A `Bank` over HTTP with pooled, kept-alive connections. Belongs to the event loop that uses it.

    `timeout_ms` bounds a call, `connect_timeout_ms` the part before the first byte is sent, `connections_max` the
    number of concurrent calls. `tls`, `proxy` and `headers` are the same as in `HttpClient`.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_ms: int,
        connect_timeout_ms: int,
        connections_max: int,
        tls: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        headers: str = "",
    ) -> None:
        self._client = HttpClient(
            url,
            timeout_s=timeout_ms / 1000,
            connect_timeout_s=connect_timeout_ms / 1000,
            connections_max=connections_max,
            tls=tls,
            proxy=proxy,
            headers=headers,
        )
        place = urlsplit(url)
        self._place = {"server.address": place.hostname, "server.port": place.port}

    async def pay(self, order: PayoutOrder) -> PayOutcome:
        """Order a payout: `POST /payouts` with the reference as idempotency key."""
        body = {"reference": order.reference, "amount": order.amount, "currency": order.currency}
        if order.destination is not None:
            body["destination"] = msgspec.Raw(order.destination.encode())
        headers = f"Idempotency-Key: {_visible(order.reference)}\r\nContent-Type: application/json\r\n"
        started = perf_counter()
        outcome: PayOutcome
        status = None
        with self._begin("POST", "/payouts", order.trace) as span:
            try:
                status, reply = await self._client.call(
                    "POST",
                    "/payouts",
                    headers=f"{headers}{_lines(span.trace)}",
                    body=_encode(body),
                    bytes_max=REPLY_BYTES_MAX,
                )
                outcome = outcome_of_pay_reply(order, status, reply)
            except (NotSent, NoReply) as error:
                outcome = outcome_of_error(error)
            _observe("pay", outcome, started, span, status)
        return outcome

    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        """Look up the outcome of an order: `GET /payouts/{reference}`."""
        started = perf_counter()
        outcome: FindOutcome
        status = None
        with self._begin("GET", "/payouts/{reference}", order.trace) as span:
            try:
                path = f"/payouts/{quote(order.reference, safe='')}"
                status, reply = await self._client.call(
                    "GET", path, headers=_lines(span.trace), bytes_max=REPLY_BYTES_MAX
                )
                outcome = outcome_of_find_reply(order, status, reply, compare_all=compare_all)
            except (NotSent, NoReply) as error:
                outcome = outcome_of_error(error)
            _observe("find", outcome, started, span, status)
        return outcome

    async def read_books(self, after: str | None) -> BooksPage:
        """Read a page: `GET /payouts?after=&limit=`. The cursor is the id of the last payout read."""
        path = f"/payouts?limit={BOOKS_PAGE_ENTRIES_MAX}"
        if after is not None:
            path += f"&after={quote(after, safe='')}"
        try:
            status, body = await self._client.call("GET", path, bytes_max=BOOKS_BYTES_MAX)
        except (NotSent, NoReply) as error:
            raise BooksUnreadable(str(error)) from error
        if after is not None and status in (400, 404, 422):
            raise CursorUnknown(f"http {status}")
        if status != 200:
            raise BooksUnreadable(f"http {status}")
        return page_of(body, after)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    def _begin(self, method: str, template: str, trace: Trace | None) -> Span:
        about: Attributes = {"http.request.method": method, "url.template": template, **self._place}
        return spans.call(f"{method} {template}", trace, about)


def outcome_of_error(error: NotSent | NoReply) -> BankUnavailable | OutcomeUnknown:
    """Map the error of a call without a complete reply to its outcome."""
    return BankUnavailable(str(error)) if isinstance(error, NotSent) else OutcomeUnknown(str(error))


def _lines(trace: Trace | None) -> str:
    """Return the headers that tell the bank which request a call comes from."""
    if trace is None:
        return ""
    return "".join(f"{name}: {_visible(value)}\r\n" for name, value in trace.headers().items())


def _visible(reference: str) -> str:
    """Return a reference that a header may contain. Ours consist of hexadecimal digits and hyphens."""
    if not (reference.isascii() and reference.isprintable()):
        raise ValueError("a reference is made of visible ASCII characters")
    return reference


def open_bank(settings: BankSettings) -> HttpBank:
    """Return the bank at `settings.url`. Raises SettingsError if a file of the credentials can't be used."""
    tls, proxy = tls_of(settings), proxy_of(settings)
    try:
        return HttpBank(
            settings.url,
            timeout_ms=settings.timeout_ms,
            connect_timeout_ms=settings.connect_timeout_ms,
            connections_max=settings.calls_max,
            tls=tls,
            proxy=proxy,
            headers=authorization_of(settings),
        )
    except ValueError as error:
        raise SettingsError(f"WBS_BANK_URL: {error}") from None


_OUTCOME_LABELS = {
    Paid: "paid",
    Declined: "declined",
    Accepted: "accepted",
    Returned: "returned",
    NotFound: "not_found",
    BankUnavailable: "unavailable",
    OutcomeUnknown: "unknown",
}
_OPERATIONS = ("pay", "find")
start_at_zero(BANK_CALLS, _OPERATIONS, _OUTCOME_LABELS.values())
start_at_zero(BANK_CALL_SECONDS, _OPERATIONS)


def _observe(operation: str, outcome: FindOutcome, started: float, span: Span, status: int | None) -> None:
    label, seconds = _OUTCOME_LABELS[type(outcome)], perf_counter() - started
    BANK_CALLS.labels(operation, label).inc()
    BANK_CALL_SECONDS.labels(operation).observe(seconds)
    ACTIVITY.count(f"bank {operation} {label}", 1, seconds)
    failed = isinstance(outcome, BankUnavailable | OutcomeUnknown)
    span.note({"http.response.status_code": status, "wbs.outcome": label}, error=label if failed else None)
