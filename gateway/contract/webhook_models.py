"""Requests and responses about webhook endpoints."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from db.events import Span, check_position
from db.webhooks import Change, Delivery, WebhookView
from gateway.contract.list_models import NextCursor
from gateway.contract.list_parameters import CursorText, LimitNumber
from gateway.contract.parameters import LIMIT_DEFAULT
from gateway.contract.request_errors import UNREADABLE, explain
from gateway.contract.request_models import REASON_PATTERN, URL_PATTERN
from runtime.webhook_addresses import URL_CHARS_MAX, check_webhook_url
from runtime.webhook_calls import Answer
from wallet.canonical import checked_json
from wallet.errors import ValidationFailed
from wallet.events import KINDS, TYPES, types_named

AGAIN_MAX = 1_000
"""Events that are delivered by themselves at one request. `after` has no limit."""
_SEQ_MAX = 2**62

Url = Annotated[
    str,
    Meta(
        pattern=URL_PATTERN,
        max_length=URL_CHARS_MAX,
        description="`https`, without login and fragment; the host's addresses must be public (unless "
        "`WBS_WEBHOOKS_PRIVATE` says otherwise). Redirects are not followed.",
    ),
]
EventName = Annotated[
    str, Meta(pattern=r"^[a-z_.]{1,64}\Z", extra_json_schema={"enum": [*KINDS, *TYPES]}, title="EventName")
]
EventNames = Annotated[
    list[EventName],
    Meta(
        min_length=1,
        max_length=64,
        description="Types (`withdrawal.completed`) or whole kinds (`withdrawal`); null or left out: all.",
    ),
]
Description = Annotated[
    str, Meta(pattern=REASON_PATTERN, description="For people: 1 to 255 characters on one line.")
]
WebhookStatus = Annotated[Literal["enabled", "disabled"], Meta(title="WebhookStatus")]
DeliveryStatus = Annotated[
    Literal["delivered", "refused", "unreachable"],
    Meta(
        title="DeliveryStatus",
        description="`refused`: answered with a status other than 2xx; `unreachable`: none, or 429, 502, 503, 504.",
    ),
]
Number = Annotated[int, Meta(ge=1, le=_SEQ_MAX, description="A number in the sequence of events.")]


class CreateWebhookRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Have events told to a URL."""

    url: Url
    types: EventNames | None = None
    description: Description | None = None


class UpdateWebhookRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Change what is given."""

    url: Url | UnsetType = UNSET
    types: EventNames | UnsetType | None = UNSET
    description: Description | UnsetType | None = UNSET
    status: WebhookStatus | UnsetType = UNSET


class RedeliverRequest(msgspec.Struct, forbid_unknown_fields=True):
    """One event (`seq`), a range (`from_seq`, `to_seq`), or everything `after` a number."""

    seq: Number | None = None
    from_seq: Number | None = None
    to_seq: Number | None = None
    after: Annotated[int, Meta(ge=0, le=_SEQ_MAX)] | None = None


class Webhook(msgspec.Struct, kw_only=True):
    """Who is told of events."""

    id: UUID
    url: str
    types: Annotated[list[str] | None, Meta(description="Null: all.")]
    description: str | None
    status: WebhookStatus
    disabled_reason: Annotated[
        str | None, Meta(description="Why it was disabled: by request, 410, or no answer for three days.")
    ]
    delivered_seq: Annotated[
        int, Meta(description="Events up to this number are dealt with: delivered, parked, or not wanted.")
    ]
    parked: Annotated[
        int,
        Meta(description="Events that were refused, or are to be delivered again: each is tried by itself."),
    ]
    failing_since: datetime | None
    next_attempt_at: Annotated[datetime | None, Meta(description="While it is failing.")]
    old_secret_until: Annotated[
        datetime | None, Meta(description="Until then, the secret before signs, too.")
    ]
    created_at: datetime


class WebhookWithSecret(Webhook, kw_only=True):
    """The same, with the secret, which is shown only this once."""

    secret: Annotated[str, Meta(description="`whsec_…`, for any library of Standard Webhooks.")]


class WebhooksPage(msgspec.Struct):
    """All there are, oldest first."""

    items: list[Webhook]
    next_cursor: Annotated[str | None, Meta(description="Always null: there are at most 100.")] = None


class TestedWebhook(msgspec.Struct):
    """What came of a test."""

    __test__ = False

    delivered: bool
    status_code: int | None
    error: Annotated[str | None, Meta(description="Why there was no answer.")]
    response: Annotated[str | None, Meta(description="The first 200 characters of the answer's body.")]
    took_ms: int


class WebhookDelivery(msgspec.Struct):
    """One call."""

    id: UUID
    seq: int
    event_id: UUID
    type: str
    attempt: Annotated[int, Meta(description="Of this event, from 1.")]
    status: DeliveryStatus
    status_code: int | None
    error: str | None
    response: Annotated[str | None, Meta(description="The first 200 characters of the answer's body.")]
    took_ms: int
    at: datetime


class WebhookDeliveriesPage(msgspec.Struct):
    """A part of an endpoint's calls, newest first; the newest 1,000 are kept."""

    items: list[WebhookDelivery]
    next_cursor: NextCursor


class Redelivery(msgspec.Struct):
    """The events that are delivered again, as far as the endpoint wants them."""

    from_seq: int
    to_seq: int


class DeliveriesQuery(msgspec.Struct, kw_only=True):
    """Names a part of an endpoint's calls."""

    status: DeliveryStatus | None = None
    limit: LimitNumber = LIMIT_DEFAULT
    cursor: CursorText | None = None


Asked = TypeVar("Asked", bound=msgspec.Struct)


def read_webhook_body(body: bytes, kind: type[Asked], *, private: bool) -> Asked:
    """Return the request in `body`. Raises ValidationFailed or MalformedJson."""
    try:
        asked = msgspec.json.decode(body, type=kind)
        checked_json(body.decode())
    except UNREADABLE:
        raise explain(body, kind, ()) from None
    errors = []
    for name, check in (("url", lambda url: check_webhook_url(url, private=private)), ("types", types_named)):
        value: Any = getattr(asked, name, None)
        try:
            if value not in (None, UNSET):
                check(value)
        except ValueError as error:
            errors.append((name, str(error)))
    if errors:
        raise ValidationFailed(errors)
    return asked


def change_of(asked: UpdateWebhookRequest) -> Change:
    """Return what is to be changed."""

    def given(value: Any) -> Any:
        return None if value is UNSET else value

    return Change(
        given(asked.url),
        asked.types is not UNSET,
        given(asked.types),
        asked.description is not UNSET,
        given(asked.description),
        given(asked.status),
    )


def range_of(asked: RedeliverRequest, span: Span) -> tuple[int, int]:
    """Return the first and the last number that are asked for. Raises ValidationFailed or EventsGone."""
    given = {name for name in asked.__struct_fields__ if getattr(asked, name) is not None}
    if asked.after is not None and given == {"after"}:
        return check_position(span, asked.after) + 1, span.last_seq
    if asked.seq is not None and given == {"seq"}:
        first = last = asked.seq
    elif asked.from_seq is not None and asked.to_seq is not None and given == {"from_seq", "to_seq"}:
        first, last = asked.from_seq, asked.to_seq
    else:
        raise ValidationFailed([("$", "must have seq, or from_seq and to_seq, or after")])
    if not 0 <= last - first < AGAIN_MAX:
        raise ValidationFailed([("to_seq", f"must be from_seq or up to {AGAIN_MAX - 1} more")])
    check_position(span, first - 1)
    check_position(span, last)
    return first, last


def webhook_of(view: WebhookView) -> Webhook:
    """Return the response about an endpoint."""
    return Webhook(**view._asdict())


def with_secret(view: WebhookView, secret: str) -> WebhookWithSecret:
    """Return the response with the secret."""
    return WebhookWithSecret(**view._asdict(), secret=secret)


def delivery_of(delivery: Delivery) -> WebhookDelivery:
    """Return the response about a call."""
    return WebhookDelivery(**delivery._asdict())


def tested_of(answer: Answer) -> TestedWebhook:
    """Return the response about a test."""
    return TestedWebhook(answer.delivered, answer.status_code, answer.error, answer.text, answer.took_ms)
