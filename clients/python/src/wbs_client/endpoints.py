"""Webhook endpoints: each function returns the request. They are the methods of both clients.

What an endpoint of yours does with a delivery: `wbs_client.webhooks`.
"""

from typing import TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from wbs_client.call import Call, Listing, as_json, body, listing, params, segment
from wbs_client.models import Page
from wbs_client.reads import PAGE
from wbs_client.webhook_models import (
    DeliveryStatus,
    Redelivery,
    TestedWebhook,
    Webhook,
    WebhookDelivery,
    WebhookStatus,
    WebhookWithSecret,
)

T = TypeVar("T")
Id = UUID | str

TEST_S = 10.0
"""How long the service waits for an endpoint's answer."""


def _path(webhook_id: Id, more: str = "") -> str:
    return f"/webhooks/{segment(webhook_id)}{more}"


def create_webhook(
    url: str, *, types: list[str] | None = None, description: str | None = None
) -> Call[WebhookWithSecret]:
    """Have events told to a URL, from now on: these types ("withdrawal.completed") or kinds ("withdrawal"), or all.

    Keep `secret`: it is shown this once. It is not sent again by itself once the service may have it: after Unanswered,
    look at `webhooks()`. Raises ValidationFailed, WebhooksLimitExceeded.
    """
    return Call(
        operation="createWebhook",
        method="POST",
        path="/webhooks",
        read=as_json(WebhookWithSecret),
        body=body(url=url, types=types, description=description),
        repeatable=False,
    )


def webhooks() -> Listing[Webhook]:
    """Iterate over the endpoints, the oldest first."""
    return listing("listWebhooks", "/webhooks", Page[Webhook], {})


def get_webhook(webhook_id: Id) -> Call[Webhook]:
    """Return an endpoint as it is now. Raises WebhookNotFound."""
    return Call(operation="getWebhook", method="GET", path=_path(webhook_id), read=as_json(Webhook))


def update_webhook(
    webhook_id: Id,
    *,
    url: str | UnsetType = UNSET,
    types: list[str] | UnsetType | None = UNSET,
    description: str | UnsetType | None = UNSET,
    status: WebhookStatus | str | UnsetType = UNSET,
) -> Call[Webhook]:
    """Change what is given; `types` None: all. One that is enabled again is told what came meanwhile."""
    given = {"url": url, "types": types, "description": description, "status": status}
    content = msgspec.json.encode({name: value for name, value in given.items() if value is not UNSET})
    path = _path(webhook_id)
    return Call(operation="updateWebhook", method="PATCH", path=path, read=as_json(Webhook), body=content)


def delete_webhook(webhook_id: Id) -> Call[None]:
    """Remove an endpoint. Raises WebhookNotFound, also where an earlier try has removed it."""
    return Call(
        operation="deleteWebhook", method="DELETE", path=_path(webhook_id), read=lambda response: None
    )


def rotate_webhook_secret(webhook_id: Id) -> Call[WebhookWithSecret]:
    """Replace an endpoint's secret; for a day both sign. Not sent again by itself once the service may have it."""
    return Call(
        operation="rotateWebhookSecret",
        method="POST",
        path=_path(webhook_id, "/rotate"),
        read=as_json(WebhookWithSecret),
        repeatable=False,
    )


def test_webhook(webhook_id: Id) -> Call[TestedWebhook]:
    """Call an endpoint now, with a message that is no event, and return what came of it."""
    return Call(
        operation="testWebhook",
        method="POST",
        path=_path(webhook_id, "/test"),
        read=as_json(TestedWebhook),
        waits_s=TEST_S,
    )


def webhook_deliveries(
    webhook_id: Id, *, status: DeliveryStatus | str | None = None
) -> Listing[WebhookDelivery]:
    """Iterate over the calls of an endpoint, the newest first; the service keeps the newest 1,000."""
    path = _path(webhook_id, "/deliveries")
    query = params(status=status, limit=PAGE)
    return listing("listWebhookDeliveries", path, Page[WebhookDelivery], query)


def redeliver(
    webhook_id: Id,
    *,
    seq: int | None = None,
    from_seq: int | None = None,
    to_seq: int | None = None,
    after: int | None = None,
) -> Call[Redelivery]:
    """Have events delivered again: one (`seq`), up to 1,000 (`from_seq`, `to_seq`), or all `after` a number."""
    return Call(
        operation="redeliverWebhookEvents",
        method="POST",
        path=_path(webhook_id, "/redeliver"),
        read=as_json(Redelivery),
        body=body(seq=seq, from_seq=from_seq, to_seq=to_seq, after=after),
    )
