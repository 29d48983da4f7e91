"""Webhook endpoints and their calls, as types, with the names and members of the OpenAPI document's schemas."""

from datetime import datetime
from uuid import UUID

from wbs_client.enumerations import Open
from wbs_client.models import Model


class WebhookStatus(Open):
    """Whether an endpoint is called."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class DeliveryStatus(Open):
    """What became of a call. `refused`: not answered with 2xx; `unreachable`: not at all, or 429, 502, 503, 504."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


class Webhook(Model, frozen=True):
    """Who is told of events; `types` None: of all. Up to `delivered_seq` everything is dealt with."""

    id: UUID
    url: str
    types: list[str] | None
    description: str | None
    status: WebhookStatus
    disabled_reason: str | None
    delivered_seq: int
    parked: int
    failing_since: datetime | None
    next_attempt_at: datetime | None
    old_secret_until: datetime | None
    created_at: datetime


class WebhookWithSecret(Webhook, frozen=True):
    """The same with the secret, which is shown only this once."""

    secret: str


class TestedWebhook(Model, frozen=True):
    """What came of a test; `error`: why there was no answer."""

    delivered: bool
    status_code: int | None
    error: str | None
    response: str | None
    took_ms: int


class WebhookDelivery(Model, frozen=True):
    """One call of an endpoint; `attempt` counts those of this event."""

    id: UUID
    seq: int
    event_id: UUID
    type: str
    attempt: int
    status: DeliveryStatus
    status_code: int | None
    error: str | None
    response: str | None
    took_ms: int
    at: datetime


class Redelivery(Model, frozen=True):
    """The events that are delivered again, as far as the endpoint wants them."""

    from_seq: int
    to_seq: int
