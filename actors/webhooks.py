"""The actor of webhooks: a message says that an endpoint has something to do, and a turn is begun.

The message is done with when the turn has begun: if this process dies, the turn's lease ends, and the courier announces
it again.
"""

from typing import Any
from uuid import UUID

import dramatiq

from actors import messages
from actors.middleware.resources import Resources


def declare_webhooks(broker: dramatiq.Broker, resources: Resources) -> dramatiq.Actor[Any, Any]:
    """Make the actor known to the broker, and so its queue to the worker."""

    @dramatiq.actor(
        broker=broker, actor_name=messages.WEBHOOKS_ACTOR, queue_name=messages.WEBHOOKS_QUEUE, throws=()
    )
    async def deliver_webhooks(endpoint_id: str) -> None:
        resources.webhook_turns.begin(UUID(endpoint_id))

    return deliver_webhooks
