"""The bank behind HTTP (DESIGN section 6): how each way a call can end becomes one of the four outcomes.

The rule behind every line of the mapping: *certainly not accepted* only if the bank can't have acted on a
single byte; *declined* only if the bank says so in words we can read; everything else is unknown. Taking an
answer for unknown costs a question later, taking it for declined costs the money.
"""

from time import perf_counter
from urllib.parse import quote

import msgspec

from actors.bank.protocol import BookEntry, BooksPage, BooksUnreadable, CursorUnknown, PayoutOrder
from actors.bank.wire import HttpClient, NoReply, NotSent
from wallet.config import Settings
from wallet.outcomes import BankUnavailable, Declined, FindOutcome, NotFound, OutcomeUnknown, Paid, PayOutcome
from wallet.telemetry import BANK_CALL_SECONDS, BANK_CALLS, log

REPLY_BYTES_MAX = 64 * 1024
BOOKS_PAGE_SIZE = 1_000
BOOKS_BYTES_MAX = 1024 * BOOKS_PAGE_SIZE

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


def outcome_of_error(error: NotSent | NoReply) -> BankUnavailable | OutcomeUnknown:
    """Map the end of a call that has no whole reply."""
    return BankUnavailable(str(error)) if isinstance(error, NotSent) else OutcomeUnknown(str(error))


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
    """A `Bank` over HTTP with pooled, kept-alive connections. Belongs to the event loop that it is used on.

    `timeout_ms` bounds a call, `connect_timeout_ms` the part before the first byte is sent, `connections_max`
    the calls under way.
    """

    def __init__(self, url: str, *, timeout_ms: int, connect_timeout_ms: int, connections_max: int) -> None:
        self._client = HttpClient(
            url,
            timeout_s=timeout_ms / 1000,
            connect_timeout_s=connect_timeout_ms / 1000,
            connections_max=connections_max,
        )

    async def pay(self, order: PayoutOrder) -> PayOutcome:
        """Order a payout: `POST /payouts` with the reference as idempotency key."""
        body = {"reference": order.reference, "amount": order.amount, "currency": order.currency}
        if order.destination is not None:
            body["destination"] = msgspec.Raw(order.destination.encode())
        headers = f"Idempotency-Key: {_visible(order.reference)}\r\nContent-Type: application/json\r\n"
        started = perf_counter()
        outcome: PayOutcome
        try:
            status, reply = await self._client.call(
                "POST", "/payouts", headers=headers, body=_encode(body), bytes_max=REPLY_BYTES_MAX
            )
            outcome = outcome_of_pay_reply(order, status, reply)
        except (NotSent, NoReply) as error:
            outcome = outcome_of_error(error)
        _observe("pay", outcome, started)
        return outcome

    async def find(self, order: PayoutOrder) -> FindOutcome:
        """Ask what became of an order: `GET /payouts/{reference}`."""
        started = perf_counter()
        outcome: FindOutcome
        try:
            path = f"/payouts/{quote(order.reference, safe='')}"
            status, reply = await self._client.call("GET", path, bytes_max=REPLY_BYTES_MAX)
            outcome = outcome_of_find_reply(order, status, reply)
        except (NotSent, NoReply) as error:
            outcome = outcome_of_error(error)
        _observe("find", outcome, started)
        return outcome

    async def read_books(self, after: str | None) -> BooksPage:
        """Read a page: `GET /payouts?after=&limit=`. The cursor is the id of the last payout read."""
        path = f"/payouts?limit={BOOKS_PAGE_SIZE}"
        if after is not None:
            path += f"&after={quote(after, safe='')}"
        try:
            status, body = await self._client.call("GET", path, bytes_max=BOOKS_BYTES_MAX)
            if after is not None and status in (400, 404, 422):
                raise CursorUnknown(f"http {status}")
            if status != 200:
                raise BooksUnreadable(f"http {status}")
            reply = _decode_books(body)
        except (NotSent, NoReply, msgspec.MsgspecError) as error:
            raise BooksUnreadable(f"{type(error).__name__}: {error}") from error
        if reply.next is not None and (reply.next == after or not reply.payouts):
            raise BooksUnreadable("the books don't move on")  # else we would read the same page for ever
        last = reply.payouts[-1].payout_id if reply.payouts else after
        return BooksPage(reply.payouts, reply.next or last, more=reply.next is not None)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()


def _visible(reference: str) -> str:
    """Return a reference that may stand in a header. Ours are withdrawal ids."""
    if not (reference.isascii() and reference.isprintable()):
        raise ValueError("a reference is made of visible ASCII characters")
    return reference


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
