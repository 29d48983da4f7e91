"""/webhooks: the endpoints that are told of events by HTTP. They are managed here; the actors make the calls."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

from db import webhooks
from db.lists import LAST_ID
from gateway.contract.cursors import cursor_of, read_cursor
from gateway.contract.parameters import NoQuery, ParameterReader, read_id
from gateway.contract.responses import encode
from gateway.contract.webhook_models import (
    CreateWebhookRequest,
    DeliveriesQuery,
    RedeliverRequest,
    Redelivery,
    UpdateWebhookRequest,
    WebhookDeliveriesPage,
    WebhooksPage,
    change_of,
    delivery_of,
    range_of,
    read_webhook_body,
    tested_of,
    webhook_of,
    with_secret,
)
from gateway.contract.webhook_operations import (
    CREATE,
    DELETE,
    DELIVERIES,
    LIST,
    REDELIVER,
    ROTATE,
    TEST,
    UPDATE,
    WEBHOOK,
)
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response
from wallet.errors import Overloaded, WebhookNotFound
from wallet.events import VERSION
from wallet.ids import uuid7_sequence

TESTS_MAX = 8
"""Tests under way at once, per process."""


class WebhookRoutes:
    """Serves the endpoints of events."""

    def __init__(self, services: Services) -> None:
        self._reads = services.reads
        self._calls = services.webhook_calls
        self._private = bool(services.settings.webhooks_private)
        self._none = ParameterReader(NoQuery, services.user_ids)
        self._deliveries = ParameterReader(DeliveriesQuery, services.user_ids)
        self._testing = asyncio.Semaphore(TESTS_MAX)

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(CREATE, self.create)
        endpoints.add(LIST, self.listed)
        endpoints.add(WEBHOOK, self.webhook)
        endpoints.add(UPDATE, self.update)
        endpoints.add(ROTATE, self.rotate)
        endpoints.add(TEST, self.test)
        endpoints.add(DELIVERIES, self.deliveries)
        endpoints.add(REDELIVER, self.redeliver)
        endpoints.add(DELETE, self.delete)

    async def create(self, request: Request, caller: Caller) -> Response:
        """Make an endpoint, and show its secret."""
        asked = read_webhook_body(request.body, CreateWebhookRequest, private=self._private)
        id, secret = next(uuid7_sequence(datetime.now(UTC))), webhooks.new_secret()
        made = await self._reads.ask(
            webhooks.create,
            id,
            asked.url,
            asked.types,
            asked.description,
            secret,
            caller.user_prefix,
            caller.name,
        )
        return Response(encode(with_secret(made, secret)), 201, extra={"location": f"/webhooks/{id}"})

    async def listed(self, request: Request, caller: Caller) -> Response:
        """Return all endpoints."""
        self._none.read(request.query_string)
        found = await self._reads.ask(webhooks.listed, caller.user_prefix)
        return Response(encode(WebhooksPage([webhook_of(view) for view in found])))

    async def webhook(self, request: Request, caller: Caller, webhook_id: str) -> Response:
        """Return an endpoint as it is now."""
        self._none.read(request.query_string)
        found = await self._reads.ask(webhooks.get, caller.user_prefix, _id(webhook_id))
        return Response(encode(webhook_of(found)))

    async def update(self, request: Request, caller: Caller, webhook_id: str) -> Response:
        """Change an endpoint."""
        asked = read_webhook_body(request.body, UpdateWebhookRequest, private=self._private)
        changed = await self._reads.ask(
            webhooks.change, caller.user_prefix, _id(webhook_id), change_of(asked)
        )
        return Response(encode(webhook_of(changed)))

    async def delete(self, request: Request, caller: Caller, webhook_id: str) -> Response:
        """Remove an endpoint."""
        await self._reads.ask(webhooks.delete, caller.user_prefix, _id(webhook_id))
        return Response(b"", 204)

    async def rotate(self, request: Request, caller: Caller, webhook_id: str) -> Response:
        """Give an endpoint another secret, and show it."""
        secret = webhooks.new_secret()
        changed = await self._reads.ask(webhooks.rotate, caller.user_prefix, _id(webhook_id), secret)
        return Response(encode(with_secret(changed, secret)))

    async def test(self, request: Request, caller: Caller, webhook_id: str) -> Response:
        """Call an endpoint now, and return what came of it."""
        id = _id(webhook_id)
        endpoint = await self._reads.ask(webhooks.signed, caller.user_prefix, id)
        if self._testing.locked():
            raise Overloaded("too many webhooks are being tested")
        message_id = str(uuid4())
        body = encode(
            {
                "id": message_id,
                "type": "webhook.test",
                "version": VERSION,
                "at": datetime.now(UTC),
                "webhook_id": id,
            }
        )
        async with self._testing:
            answer = await self._calls.post(endpoint.url, endpoint.secrets, message_id, body)
        return Response(encode(tested_of(answer)))

    async def deliveries(self, request: Request, caller: Caller, webhook_id: str) -> Response:
        """Return calls of an endpoint, newest first."""
        query = self._deliveries.read(request.query_string)
        id = (await self._reads.ask(webhooks.get, caller.user_prefix, _id(webhook_id))).id
        before = LAST_ID if query.cursor is None else read_cursor(query.cursor)
        found = await self._reads.ask(webhooks.deliveries, id, before, query.status, query.limit)
        next = cursor_of(found[-1].id) if len(found) == query.limit else None
        return Response(encode(WebhookDeliveriesPage([delivery_of(one) for one in found], next)))

    async def redeliver(self, request: Request, caller: Caller, webhook_id: str) -> Response:
        """Have events delivered again."""
        asked = read_webhook_body(request.body, RedeliverRequest, private=self._private)
        id = (await self._reads.ask(webhooks.get, caller.user_prefix, _id(webhook_id))).id
        first, last = range_of(asked, await self._reads.event_span())
        if asked.after is None:
            await self._reads.ask(webhooks.deliver_again, id, first, last)
        else:
            await self._reads.ask(webhooks.rewind, id, first - 1)
        return Response(encode(Redelivery(first, last)), 202)


def _id(text: str) -> UUID:
    return read_id(text, WebhookNotFound("no such webhook"))
