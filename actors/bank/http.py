"""The bank behind HTTP (DESIGN section 6): how each way a call can end becomes one of the four outcomes.

The rule behind every line of the mapping: *certainly not accepted* only if the bank can't have acted on a
single byte; *declined* only if the bank says so in words we can read; everything else is unknown. Taking an
answer for unknown costs a question later, taking it for declined costs the money.
"""

from time import perf_counter
from urllib.parse import quote

import aiohttp
import msgspec

from actors.bank.protocol import BookEntry, BooksPage, BooksUnreadable, CursorUnknown, PayoutOrder
from wallet.config import Settings
from wallet.outcomes import BankUnavailable, Declined, FindOutcome, NotFound, OutcomeUnknown, Paid, PayOutcome
from wallet.telemetry import BANK_CALL_SECONDS, BANK_CALLS, log

REPLY_BYTES_MAX = 64 * 1024
BOOKS_PAGE_SIZE = 1_000
BOOKS_BYTES_MAX = 1024 * BOOKS_PAGE_SIZE
KEEPALIVE_S = 15.0
"""How long an idle connection is kept. Banks close idle ones too, and a POST that meets a closed one has an
unknown outcome: be the first to close."""

PAID_STATUSES = frozenset({"paid", "returned"})
"""A returned payout was paid first; that the money came back is told by the callback and by the books."""


class _PayoutReply(msgspec.Struct):
    """What we rely on. A reply need not repeat amount and currency, but if it does, they must be right."""

    reference: str
    status: str
    payout_id: str | None = None
    amount: int | None = None
    currency: str | None = None
    code: str | None = None


class _Refusal(msgspec.Struct):
    code: str


class _BooksReply(msgspec.Struct):
    payouts: list[BookEntry]
    next: str | None = None


_encode = msgspec.json.Encoder().encode
_decode_payout = msgspec.json.Decoder(_PayoutReply).decode
_decode_refusal = msgspec.json.Decoder(_Refusal).decode
_decode_books = msgspec.json.Decoder(_BooksReply).decode


# --- The mapping ---


def outcome_of_pay_reply(order: PayoutOrder, status: int, body: bytes) -> PayOutcome:
    """Map a whole reply to `POST /payouts`."""
    if status in (200, 201):
        return _outcome_of_payout(order, body)
    if status in (429, 503):
        return BankUnavailable(f"http {status}")
    if status == 422:
        try:
            code = _decode_refusal(body).code
        except (msgspec.MsgspecError, ValueError):
            code = ""
        # A 422 whose code can't be read may come from anything between us and the bank.
        return Declined(code) if code else OutcomeUnknown("http 422 without a readable code")
    if status == 409:
        # The bank knows our key with another body: something was ordered under this reference, perhaps paid.
        # To refund would be to guess. No retry mends it: the ladder ends in requires_attention, for a person.
        log.error("bank_conflict", withdrawal_id=order.reference, amount=order.amount)
        return OutcomeUnknown("http 409: the bank knows this key with another body")
    # Other 4xx (400, 401, 403, 404, 413, ...) say that *this call* was not understood or let in, as when a
    # credential has expired; about an earlier call under the same key they say nothing. A 5xx may come after
    # paying.
    return OutcomeUnknown(f"http {status}")


def outcome_of_find_reply(order: PayoutOrder, status: int, body: bytes) -> FindOutcome:
    """Map a whole reply to `GET /payouts/{reference}`."""
    if status == 200:
        return _outcome_of_payout(order, body)
    if status == 404:
        return NotFound()
    if status in (429, 503):
        return BankUnavailable(f"http {status}")
    return OutcomeUnknown(f"http {status}")


def outcome_of_error(error: Exception) -> BankUnavailable | OutcomeUnknown:
    """Map an error below HTTP, most specific first. `error` is what aiohttp raised."""
    match error:
        case aiohttp.ConnectionTimeoutError():  # no connection within the connect timeout: nothing was sent
            return BankUnavailable("connect timeout")
        case aiohttp.ClientConnectorError():  # refused, no route, unknown name, TLS: nothing was sent
            return BankUnavailable(f"not connected: {type(error.os_error).__name__}")
        case TimeoutError():
            return OutcomeUnknown("timeout")
        case aiohttp.ClientPayloadError():
            return OutcomeUnknown("half a reply")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            # Also when a kept-alive connection turns out to be closed. aiohttp repeats only idempotent
            # methods by itself, and POST is none: the repeating is ours to decide.
            return OutcomeUnknown("connection lost")
        case _:  # not HTTP at all, a reply too long, ...
            return OutcomeUnknown(f"unreadable reply: {type(error).__name__}")


def _outcome_of_payout(order: PayoutOrder, body: bytes) -> Paid | Declined | OutcomeUnknown:
    try:
        reply = _decode_payout(body)
    except (msgspec.MsgspecError, ValueError):
        return OutcomeUnknown("unreadable reply: not the JSON of a payout")
    wrong = [
        name
        for name, found, expected in (
            ("reference", reply.reference, order.reference),
            ("amount", reply.amount, order.amount),
            ("currency", reply.currency, order.currency),
        )
        if found is not None and found != expected
    ]
    if wrong:
        log.error(
            "bank_reply_mismatch", withdrawal_id=order.reference, wrong=wrong, payout_id=reply.payout_id
        )
        return OutcomeUnknown(f"wrong {' and '.join(wrong)} in the reply")
    if reply.status in PAID_STATUSES and reply.payout_id:
        return Paid(reply.payout_id)
    if reply.status == "declined" and reply.code:
        return Declined(reply.code)
    return OutcomeUnknown(f"the payout is {reply.status!r}")


# --- The calls ---


class HttpBank:
    """A `Bank` over HTTP with pooled, kept-alive connections. Belongs to the event loop that it was made on.

    `timeout_ms` bounds a whole call, `connect_timeout_ms` the part before the first byte is sent,
    `connections_max` the calls under way.
    """

    def __init__(self, url: str, *, timeout_ms: int, connect_timeout_ms: int, connections_max: int) -> None:
        assert connect_timeout_ms <= timeout_ms
        self._payouts_url = f"{url.rstrip('/')}/payouts"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections_max, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=60
            ),
            timeout=aiohttp.ClientTimeout(
                total=timeout_ms / 1000,
                connect=connect_timeout_ms / 1000,
                # aiohttp rounds timeouts above this up to whole seconds; ours are to mean what they say.
                ceil_threshold=3600,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
        )

    async def pay(self, order: PayoutOrder) -> PayOutcome:
        """Order a payout: `POST /payouts` with the reference as idempotency key."""
        body = {"reference": order.reference, "amount": order.amount, "currency": order.currency}
        if order.destination is not None:
            body["destination"] = msgspec.Raw(order.destination.encode())
        headers = {"Idempotency-Key": order.reference, "Content-Type": "application/json"}
        started = perf_counter()
        outcome: PayOutcome
        try:
            status, reply = await self._call("POST", self._payouts_url, headers=headers, data=_encode(body))
            outcome = outcome_of_pay_reply(order, status, reply)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            outcome = outcome_of_error(error)
        _observe("pay", outcome, started)
        return outcome

    async def find(self, order: PayoutOrder) -> FindOutcome:
        """Ask what became of an order: `GET /payouts/{reference}`."""
        started = perf_counter()
        outcome: FindOutcome
        try:
            status, reply = await self._call("GET", f"{self._payouts_url}/{quote(order.reference, safe='')}")
            outcome = outcome_of_find_reply(order, status, reply)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            outcome = outcome_of_error(error)
        _observe("find", outcome, started)
        return outcome

    async def read_books(self, after: str | None) -> BooksPage:
        """Read a page: `GET /payouts?after=&limit=`. The cursor is the id of the last payout read."""
        url = f"{self._payouts_url}?limit={BOOKS_PAGE_SIZE}"
        if after is not None:
            url += f"&after={quote(after, safe='')}"
        try:
            status, body = await self._call("GET", url, bytes_max=BOOKS_BYTES_MAX)
            if after is not None and status in (400, 404, 422):
                raise CursorUnknown(f"http {status}")
            if status != 200:
                raise BooksUnreadable(f"http {status}")
            reply = _decode_books(body)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as error:
            raise BooksUnreadable(f"{type(error).__name__}: {error}") from error
        if reply.next is not None and (reply.next == after or not reply.payouts):
            raise BooksUnreadable("the books don't move on")  # else we would read the same page for ever
        last = reply.payouts[-1].payout_id if reply.payouts else after
        return BooksPage(reply.payouts, reply.next or last, more=reply.next is not None)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def _call(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
        bytes_max: int = REPLY_BYTES_MAX,
    ) -> tuple[int, bytes]:
        async with self._session.request(
            method, url, headers=headers, data=data, allow_redirects=False
        ) as response:
            if response.content_length is not None and response.content_length <= bytes_max:
                return response.status, await response.read()
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > bytes_max:
                    raise aiohttp.ClientPayloadError(f"more than {bytes_max} bytes")
            return response.status, bytes(body)


def open_bank(settings: Settings) -> HttpBank:
    """Return the bank at `settings.bank_url`, with a connection for each actor thread at most."""
    return HttpBank(
        settings.bank_url,
        timeout_ms=settings.bank_timeout_ms,
        connect_timeout_ms=settings.bank_connect_timeout_ms,
        connections_max=settings.actor_threads,
    )


_OUTCOME_LABELS = {
    Paid: "paid",
    Declined: "declined",
    NotFound: "not_found",
    BankUnavailable: "unavailable",
    OutcomeUnknown: "unknown",
}


def _observe(operation: str, outcome: FindOutcome, started: float) -> None:
    BANK_CALLS.labels(operation, _OUTCOME_LABELS[type(outcome)]).inc()
    BANK_CALL_SECONDS.labels(operation).observe(perf_counter() - started)
