"""Responses to commands that took effect, now or when their idempotency keys were first used."""

from typing import Any

from gateway.wire.response import Response
from runtime.telemetry import IDEMPOTENT_REPLAYS
from wallet.receipts import Receipt, Recorded

_REPLAYED = {"idempotent-replayed": "true"}


def answer(body: bytes, recorded: Recorded) -> Response:
    """Return the response with this body, which says so if it is the answer to an earlier request."""
    if recorded.replayed:
        IDEMPOTENT_REPLAYS.inc()
    response = Response(body, extra=_REPLAYED if recorded.replayed else None)
    response.wrote = written(recorded.receipt, recorded.replayed)
    return response


def written(receipt: Receipt, replayed: bool, id_name: str = "id") -> dict[str, Any]:
    """Return what the log says of a command that took effect."""
    ids: dict[str, Any] = {id_name: receipt.id, "amount": receipt.amount, "currency": receipt.currency}
    if replayed:
        ids["replayed"] = True
    return ids
