"""The operations of /webhooks, as the document has them."""

from typing import Any

from gateway.contract.bodies import JSON
from gateway.contract.operation import READ_ERRORS, WRITE_ERRORS, Operation, RequestBody, ResponseSpec
from gateway.contract.webhook_models import (
    CreateWebhookRequest,
    DeliveriesQuery,
    RedeliverRequest,
    Redelivery,
    TestedWebhook,
    UpdateWebhookRequest,
    Webhook,
    WebhookDeliveriesPage,
    WebhooksPage,
    WebhookWithSecret,
)
from wallet.scopes import Scope

_TAG = "Webhooks"
_EXAMPLE: dict[str, Any] = {
    "id": "0199d3c0-c4a1-7b62-8000-77aa00c0ffee",
    "url": "https://shop.example/wallet-events",
    "types": ["withdrawal"],
    "description": "the shop",
    "status": "enabled",
    "disabled_reason": None,
    "delivered_seq": 3,
    "parked": 0,
    "failing_since": None,
    "next_attempt_at": None,
    "old_secret_until": None,
    "created_at": "2026-11-22T12:00:05.123456Z",
}
_SECRET = {"secret": "whsec_" + "".join(("MfKQ9r8GKYqrTwjU", "PD8ILPZIo2LaLaSw"))}
_ID_DOC = {"webhook_id": "As `POST /webhooks` gave it."}
_ID: dict[str, Any] = {"webhook_id": _EXAMPLE["id"]}
_READ = (*READ_ERRORS, "webhook_not_found", "validation_failed")
_ACT = (*READ_ERRORS, "webhook_not_found")
_WRITE = (*WRITE_ERRORS, "webhook_not_found")
_TELLING_DOC = (
    "Each event is `POST`ed as `GET /events` has it, one after the other, in order of the sequence, signed as "
    "Standard Webhooks says (`webhook-id` is the event's id, `webhook-timestamp`, `webhook-signature`). 2xx within "
    "10 s is taken for received. An event that is refused again and again is parked and tried by itself for three "
    "days; without an answer (or with 429, 502, 503, 504) everything waits and is tried for three days, then the "
    "endpoint is disabled. 410 disables it at once. An event may come twice: by its id you know it again. An event of "
    "a withdrawal comes with `X-Request-Id` and `traceparent` of the request that made it, each call as a span of its "
    "own. "
)

CREATE = Operation(
    "POST",
    "/webhooks",
    _TAG,
    "Have events told to a URL",
    id="createWebhook",
    description=_TELLING_DOC
    + "A new endpoint is told what comes from now on. A key that is bound to users is told of "
    "events whose users are all its own. The secret is shown this once.",
    body=RequestBody(
        {
            JSON: (
                CreateWebhookRequest,
                {"url": _EXAMPLE["url"], "types": ["withdrawal"], "description": "the shop"},
            )
        }
    ),
    responses={
        201: ResponseSpec(
            "It is enabled.",
            WebhookWithSecret,
            {**_EXAMPLE, **_SECRET},
            headers={"Location": "Where it is."},
            gives={"webhook_id": "id"},
        )
    },
    errors=(*WRITE_ERRORS, "webhooks_limit_exceeded"),
    scope=Scope.EVENTS,
)
LIST = Operation(
    "GET",
    "/webhooks",
    _TAG,
    "All endpoints",
    id="listWebhooks",
    responses={
        200: ResponseSpec("All, oldest first.", WebhooksPage, {"items": [_EXAMPLE], "next_cursor": None})
    },
    errors=(*READ_ERRORS, "validation_failed"),
    scope=Scope.EVENTS,
)
WEBHOOK = Operation(
    "GET",
    "/webhooks/{webhook_id}",
    _TAG,
    "An endpoint",
    id="getWebhook",
    examples=_ID,
    path_parameters=_ID_DOC,
    responses={200: ResponseSpec("As it is now.", Webhook, _EXAMPLE)},
    errors=_READ,
    scope=Scope.EVENTS,
)
UPDATE = Operation(
    "PATCH",
    "/webhooks/{webhook_id}",
    _TAG,
    "Change an endpoint",
    id="updateWebhook",
    description="What is left out stays. It takes effect within seconds. An endpoint that is enabled again is told "
    "everything that came meanwhile.",
    examples=_ID,
    path_parameters=_ID_DOC,
    body=RequestBody({JSON: (UpdateWebhookRequest, {"description": "the shop", "status": "enabled"})}),
    responses={200: ResponseSpec("As it is now.", Webhook, _EXAMPLE)},
    errors=_WRITE,
    scope=Scope.EVENTS,
)
ROTATE = Operation(
    "POST",
    "/webhooks/{webhook_id}/rotate",
    _TAG,
    "Replace an endpoint's secret",
    id="rotateWebhookSecret",
    description="The new one is shown this once. For 24 hours calls are signed by both.",
    examples=_ID,
    path_parameters=_ID_DOC,
    responses={
        200: ResponseSpec(
            "With its new secret.",
            WebhookWithSecret,
            {**_EXAMPLE, "old_secret_until": "2026-11-23T12:00:06.123456Z", **_SECRET},
        )
    },
    errors=_ACT,
    scope=Scope.EVENTS,
)
TEST = Operation(
    "POST",
    "/webhooks/{webhook_id}/test",
    _TAG,
    "Call an endpoint now",
    id="testWebhook",
    description="With a signed message of type `webhook.test`, which is no event, whether or not the endpoint is "
    "enabled. The answer says what came of it.",
    examples=_ID,
    path_parameters=_ID_DOC,
    responses={
        200: ResponseSpec(
            "What came of it.",
            TestedWebhook,
            {"delivered": True, "status_code": 204, "error": None, "response": "", "took_ms": 83},
        )
    },
    errors=_ACT,
    scope=Scope.EVENTS,
)
DELIVERIES = Operation(
    "GET",
    "/webhooks/{webhook_id}/deliveries",
    _TAG,
    "What became of the calls",
    id="listWebhookDeliveries",
    description="Newest first; the newest 1,000 of each endpoint are kept.",
    examples=_ID,
    path_parameters=_ID_DOC,
    query=DeliveriesQuery,
    responses={
        200: ResponseSpec(
            "A page.",
            WebhookDeliveriesPage,
            {
                "items": [
                    {
                        "id": "0199d3c0-d8b2-7c10-8000-5be1c0ffee02",
                        "seq": 3,
                        "event_id": "7b0f3e0e-6a5e-5a2b-9a57-4f7f9a2c9f10",
                        "type": "withdrawal.completed",
                        "attempt": 1,
                        "status": "delivered",
                        "status_code": 204,
                        "error": None,
                        "response": "",
                        "took_ms": 41,
                        "at": "2026-11-22T12:00:06.123456Z",
                    }
                ],
                "next_cursor": None,
            },
        )
    },
    errors=_READ,
    scope=Scope.EVENTS,
)
REDELIVER = Operation(
    "POST",
    "/webhooks/{webhook_id}/redeliver",
    _TAG,
    "Have events delivered again",
    id="redeliverWebhookEvents",
    description="One (`seq`) or up to 1,000 (`from_seq`, `to_seq`) by themselves, while the others go on; or "
    "everything `after` a number, in order. What the endpoint's `types` leave out stays left out.",
    examples=_ID,
    path_parameters=_ID_DOC,
    body=RequestBody({JSON: (RedeliverRequest, {"after": 0})}),
    responses={
        202: ResponseSpec("They will be delivered.", Redelivery, {"from_seq": 1, "to_seq": 3}),
    },
    errors=(*_WRITE, "events_gone"),
    scope=Scope.EVENTS,
)
DELETE = Operation(
    "DELETE",
    "/webhooks/{webhook_id}",
    _TAG,
    "Remove an endpoint",
    id="deleteWebhook",
    examples=_ID,
    path_parameters=_ID_DOC,
    responses={204: ResponseSpec("It is gone.", media_types=())},
    errors=_ACT,
    scope=Scope.EVENTS,
)

_SIGNED = {
    "webhook-id": "The event's id: the same whenever it comes again.",
    "webhook-timestamp": "When it was sent: seconds since 1970.",
    "webhook-signature": "By each secret: `v1,` and base64, a blank between.",
}
_TRACED = {
    "traceparent": "W3C Trace Context: this call, in the trace of the request that made the withdrawal.",
    "X-Request-Id": "The id of that request.",
}
"""Of a withdrawal that was made with a trace; unlike the body, they are not signed."""


def delivery_headers(type: str) -> list[dict[str, Any]]:
    """Return the headers of a delivery of an event, as the document has them."""
    names = {**_SIGNED, **(_TRACED if type.startswith("withdrawal.") else {})}
    return [
        {
            "name": name,
            "in": "header",
            "required": name in _SIGNED,
            "description": meaning,
            "schema": {"type": "string"},
        }
        for name, meaning in names.items()
    ]
