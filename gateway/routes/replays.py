"""Responses to commands that took effect, now or when their idempotency keys were first used."""

from gateway.wire.response import Response
from runtime.telemetry import IDEMPOTENT_REPLAYS
from wallet.receipts import Recorded

_REPLAYED = {"idempotent-replayed": "true"}


def answer(body: bytes, recorded: Recorded) -> Response:
    """Return the response with this body, which says so if it is the answer to an earlier request."""
    if recorded.replayed:
        IDEMPOTENT_REPLAYS.inc()
        return Response(body, extra=_REPLAYED)
    return Response(body)
