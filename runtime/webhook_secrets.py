"""The secrets that sign the bank's callbacks, as a setting holds them (the Standard Webhooks specification)."""

import base64
import re

SECRETS_MAX = 4
_KEY_BYTES_MIN, _KEY_BYTES_MAX = 24, 64


def webhook_secrets(text: str) -> tuple[str, ...]:
    """Return the secrets in a setting: one, or, while it is replaced, the new and the old one, comma or blank between.

    A callback that any of them signed counts.
    """
    return tuple(re.split(r"[\s,]+", text.strip(" ,"))) if text.strip(" ,") else ()


def are_webhook_secrets(text: str) -> bool:
    """Return whether each is `whsec_` and the base64 of 24 to 64 bytes, as the specification wants it."""
    secrets = webhook_secrets(text)
    return len(secrets) <= SECRETS_MAX and all(
        _KEY_BYTES_MIN <= _key_bytes(secret) <= _KEY_BYTES_MAX for secret in secrets
    )


def _key_bytes(secret: str) -> int:
    """Return how long the key is; 0 if it is none."""
    encoded = secret.removeprefix("whsec_")
    if encoded == secret:
        return 0
    try:
        return len(base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True))
    except ValueError:
        return 0
