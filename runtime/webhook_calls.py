"""Calls to webhook endpoints: signed as Standard Webhooks prescribes, and made only to permitted addresses."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from standardwebhooks import Webhook

from runtime.spans import NOTHING, Attributes, Span, spans
from runtime.webhook_addresses import check_webhook_url
from wallet.traces import Trace

if TYPE_CHECKING:
    from runtime.webhook_http import WebhookHttp

TIMEOUT_S = 10.0
"""Longest time of a call, from the look-up of the name to the end of the answer."""
_SHOWN_CHARS = 200
_GONE = 410
_LATER = (429, 502, 503, 504)
"""Statuses from something in front of the endpoint, or that ask for a later call, whatever the event."""


class Answer(NamedTuple):
    """What came of a call."""

    status_code: int | None
    """None if there was no answer."""
    error: str | None
    """Why there was none."""
    text: str | None
    """The beginning of the answer's body."""
    took_ms: int

    @property
    def delivered(self) -> bool:
        """Whether the endpoint has taken the event."""
        return self.status_code is not None and self.status_code // 100 == 2

    @property
    def gone(self) -> bool:
        """Whether the endpoint wants no more events at all."""
        return self.status_code == _GONE

    @property
    def unreachable(self) -> bool:
        """Whether the endpoint can't take any event now."""
        return self.status_code is None or self.status_code in _LATER

    @property
    def status(self) -> str:
        """Return `delivered`, `refused` or `unreachable`."""
        return "delivered" if self.delivered else "unreachable" if self.unreachable else "refused"


class WebhookCalls:
    """Makes the calls. `private`: http and private addresses may be called."""

    def __init__(self, *, private: bool, timeout_s: float = TIMEOUT_S) -> None:
        self._private = private
        self._timeout_s = timeout_s
        self._http: WebhookHttp | None = None

    async def post(
        self,
        url: str,
        secrets: Sequence[str],
        id: str,
        body: bytes,
        trace: Trace | None = None,
        about: Attributes = NOTHING,
    ) -> Answer:
        """Post a message with an identifier, signed by each of the secrets, and return what came of it.

        The call is a span of its own in `trace`; `about` is what is said of it.
        """
        with spans.call("POST", trace, about) as span:
            answer = await self._answer(url, secrets, id, body, span)
            span.note(
                {"http.request.method": "POST", "http.response.status_code": answer.status_code},
                error=None if answer.delivered else answer.status,
            )
        return answer

    async def _answer(self, url: str, secrets: Sequence[str], id: str, body: bytes, span: Span) -> Answer:
        began_at = monotonic()
        try:
            check_webhook_url(url, private=self._private)
            span.note({"server.address": urlsplit(url).hostname})
            async with asyncio.timeout(self._timeout_s):
                traced = {} if span.trace is None else span.trace.headers()
                status_code, text = await self._post(url, signed_headers(secrets, id, body) | traced, body)
        except TimeoutError:
            return Answer(None, f"no answer within {self._timeout_s:g} s", None, _ms_since(began_at))
        except ValueError as error:
            return Answer(None, f"ValueError: {error}"[:_SHOWN_CHARS], None, _ms_since(began_at))
        text = text.replace("\0", "")[:_SHOWN_CHARS]
        if status_code is None:
            return Answer(None, text, None, _ms_since(began_at))
        return Answer(status_code, None, text, _ms_since(began_at))

    async def close(self) -> None:
        """Close all connections."""
        if self._http is not None:
            await self._http.close()

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int | None, str]:
        if self._http is None:
            # In a thread, because it takes 0.2 s, and only with the first call, which most processes never make.
            module = await asyncio.to_thread(import_module, "runtime.webhook_http")
            self._http = self._http or module.WebhookHttp(private=self._private)
        return await self._http.post(url, headers, body)


def signed_headers(secrets: Sequence[str], id: str, body: bytes) -> dict[str, str]:
    """Return the headers of Standard Webhooks: one signature per secret."""
    at = datetime.now(UTC)
    signatures = (Webhook(secret).sign(id, at, body.decode()) for secret in secrets)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _ms_since(began_at: float) -> int:
    return round(1000 * (monotonic() - began_at))
