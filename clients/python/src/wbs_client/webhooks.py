"""Deliveries of the service to an endpoint of yours: whether they are the service's, and what they say.

They are signed as Standard Webhooks say; the library of that standard checks them.
"""

from collections.abc import Mapping

import msgspec
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from wbs_client.errors import InvalidWebhook
from wbs_client.event_models import Event


class _Message(msgspec.Struct):
    type: str


def verify(secrets: str | list[str], headers: Mapping[str, str], body: bytes | str) -> Event | None:
    """Return the event of a delivery that was signed with one of the endpoint's secrets. Raises InvalidWebhook.

    None is a test (`test_webhook`), which is no event.

    `body` is what came, byte for byte: not what a framework has parsed. Deliveries come at least once, with the same
    `event.id` each time.
    """
    reason = "no secret was given"
    for secret in [secrets] if isinstance(secrets, str) else secrets:
        try:
            Webhook(secret).verify(body, dict(headers), json_parse=False)
            if msgspec.json.decode(body, type=_Message).type == "webhook.test":
                return None
            return msgspec.json.decode(body, type=Event)
        except (WebhookVerificationError, msgspec.MsgspecError, ValueError) as error:
            reason = str(error)
    raise InvalidWebhook(reason)
