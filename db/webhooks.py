"""Webhook endpoints, which are told of events by HTTP, and what became of the calls. All functions raise Unavailable.

`user_prefix` is that of the caller's key: it sees and changes only endpoints that keys with the same one have made;
None sees all.
"""

import secrets
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from db.connections import Reader
from db.sql import load
from db.strict import at_most_one, whole
from wallet.errors import WebhookNotFound, WebhooksLimitExceeded

_SQL = load("webhooks")

ENDPOINTS_MAX = 100
OLD_SECRET_VALID = timedelta(hours=24)
"""How long calls are signed with the previous secret, too."""
_SECRET_BYTES = 32
_NULLABLE = (
    "types",
    "description",
    "disabled_reason",
    "failing_since",
    "next_attempt_at",
    "old_secret_until",
)
_DELIVERY_NULLABLE = ("status_code", "error", "response")


class WebhookView(NamedTuple):
    """An endpoint as it is now, without its secrets."""

    id: UUID
    url: str
    types: list[str] | None
    description: str | None
    status: str
    disabled_reason: str | None
    delivered_seq: int
    failing_since: datetime | None
    next_attempt_at: datetime | None
    old_secret_until: datetime | None
    created_at: datetime
    parked: int


class Signed(NamedTuple):
    """Where calls go, and the secrets that sign them."""

    url: str
    secrets: tuple[str, ...]


class Delivery(NamedTuple):
    """One call: what was told, and what came of it."""

    id: UUID
    seq: int
    event_id: UUID
    type: str
    attempt: int
    status: str
    status_code: int | None
    error: str | None
    response: str | None
    took_ms: int
    at: datetime


class Change(NamedTuple):
    """Changes to an endpoint. None leaves a field as it is, as False does for `types` and `description`."""

    url: str | None
    sets_types: bool
    types: Sequence[str] | None
    sets_description: bool
    description: str | None
    status: str | None


def new_secret() -> str:
    """Return a secret as the Standard Webhooks specification spells them."""
    return f"whsec_{b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


def secrets_of(row: Any) -> tuple[str, ...]:
    """Return the secrets that are valid now, the newest first."""
    return (row["secret"],) if row["old_secret"] is None else (row["secret"], row["old_secret"])


async def create(
    reader: Reader,
    id: UUID,
    url: str,
    types: Sequence[str] | None,
    description: str | None,
    secret: str,
    user_prefix: str | None,
    by: str | None,
) -> WebhookView:
    """Make an endpoint, which is told of events from now on. Raises WebhooksLimitExceeded."""
    rows = await reader.fetch(
        _SQL["create"], id, url, types, description, secret, user_prefix, by, ENDPOINTS_MAX
    )
    row = at_most_one(rows, _NULLABLE)
    if row is None:
        raise WebhooksLimitExceeded(ENDPOINTS_MAX)
    return WebhookView(*row)


async def listed(reader: Reader, user_prefix: str | None) -> list[WebhookView]:
    """Return all endpoints, oldest first."""
    rows = await reader.fetch(_SQL["listed"], user_prefix, None)
    return [WebhookView(*whole(row, _NULLABLE)) for row in rows]


async def get(reader: Reader, user_prefix: str | None, id: UUID) -> WebhookView:
    """Return an endpoint. Raises WebhookNotFound."""
    return WebhookView(*_found(await reader.fetch(_SQL["listed"], user_prefix, id), _NULLABLE))


async def change(reader: Reader, user_prefix: str | None, id: UUID, to: Change) -> WebhookView:
    """Change an endpoint, and return it. Raises WebhookNotFound."""
    _found(await reader.fetch(_SQL["change"], user_prefix, id, *to))
    return await get(reader, user_prefix, id)


async def delete(reader: Reader, user_prefix: str | None, id: UUID) -> None:
    """Remove an endpoint, with all that is known of it. Raises WebhookNotFound."""
    _found(await reader.fetch(_SQL["delete"], user_prefix, id))


async def rotate(reader: Reader, user_prefix: str | None, id: UUID, secret: str) -> WebhookView:
    """Sign with a new secret; the previous one stays valid for OLD_SECRET_VALID. Raises WebhookNotFound."""
    await reader.fetch(_SQL["rotate"], user_prefix, id, secret, OLD_SECRET_VALID)
    return await get(reader, user_prefix, id)


async def signed(reader: Reader, user_prefix: str | None, id: UUID) -> Signed:
    """Return where calls to an endpoint go and what signs them. Raises WebhookNotFound."""
    row = _found(await reader.fetch(_SQL["secrets"], user_prefix, id), ("old_secret",))
    return Signed(row["url"], secrets_of(row))


async def deliveries(
    reader: Reader, id: UUID, before: UUID, status: str | None, limit: int
) -> list[Delivery]:
    """Return the calls to an endpoint that precede one of them, newest first: all, or those with a status."""
    rows = await reader.fetch(_SQL["deliveries"], id, before, status, limit)
    return [Delivery(*whole(row, _DELIVERY_NULLABLE)) for row in rows]


async def deliver_again(reader: Reader, id: UUID, first: int, last: int) -> None:
    """Have the events from one number to another delivered again, each on its own, in order."""
    await reader.fetch(_SQL["again"], id, first, last)


async def rewind(reader: Reader, id: UUID, after: int) -> None:
    """Have all events after a number delivered again, in order. Raises WebhookNotFound."""
    _found(await reader.fetch(_SQL["rewind"], id, after))


def _found(rows: Sequence[Any], nullable: Sequence[str] = ()) -> Any:
    row = at_most_one(rows, nullable)
    if row is None:
        raise WebhookNotFound("no such webhook")
    return row
