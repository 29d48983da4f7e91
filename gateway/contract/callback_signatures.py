"""Whether a callback is the bank's: signed by a secret that we share, lately (the Standard Webhooks specification).

A message may carry several signatures, and we may hold several secrets: while a secret is replaced, both sides go
through a time with two. One good signature is enough, whatever else stands beside it.
"""

import base64
import re
from collections.abc import Sequence

from standardwebhooks import Webhook, WebhookVerificationError

from gateway.contract.problems import InvalidSignature

_SIGNATURE = re.compile(r"v1,([A-Za-z0-9+/]+={0,2})", re.ASCII)


class CallbackSignatures:
    """Verifies callbacks by any of some secrets (`whsec_…`); without one, none is believed."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._webhooks = [Webhook(secret) for secret in secrets]

    def __bool__(self) -> bool:
        """Return whether there is a secret to verify by."""
        return bool(self._webhooks)

    def verify(
        self, body: bytes, ids: Sequence[str], timestamps: Sequence[str], signatures: Sequence[str]
    ) -> None:
        """Check the body by the values of the headers `webhook-id`, `-timestamp` and `-signature`.

        Raises InvalidSignature: none of the signatures is right, it is older than five minutes, or it is not said for
        certain which message this is.
        """
        if len(ids) != 1 or len(timestamps) != 1:
            raise InvalidSignature("webhook-id and webhook-timestamp are required, once")
        # The library gives up at the first that it can't read.
        readable = [signature for line in signatures for signature in line.split() if _is_readable(signature)]
        if not readable:
            raise InvalidSignature("webhook-signature is required: v1, a comma, and base64")
        headers = {
            "webhook-id": ids[0],
            "webhook-timestamp": timestamps[0],
            "webhook-signature": " ".join(readable),
        }
        reason = "no secret to verify by"
        for webhook in self._webhooks:
            try:
                webhook.verify(body, headers, json_parse=False)
            except WebhookVerificationError as error:
                reason = str(error)
            except ValueError:
                reason = "the body is not UTF-8"
            else:
                return
        raise InvalidSignature(reason)


def _is_readable(signature: str) -> bool:
    match = _SIGNATURE.fullmatch(signature)
    if match is None:
        return False
    try:
        base64.b64decode(match[1], validate=True)
    except ValueError:
        return False
    return True
