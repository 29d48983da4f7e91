"""The secrets that sign the bank's callbacks, in the form of the setting (the Standard Webhooks specification)."""

import base64
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.settings import Settings

SECRETS_MAX = 4
UNUSABLE = "WBS_BANK_WEBHOOK_SECRET must be `whsec_` and 24 to 64 bytes in base64, or several, comma between"
_KEY_BYTES_MIN, _KEY_BYTES_MAX = 24, 64


def webhook_secrets(text: str) -> tuple[str, ...]:
    """Return the secrets in a setting: one, or the new and the old one during a rotation, comma or blank between.

    A callback counts if any of them signed it.
    """
    return tuple(re.split(r"[\s,]+", text.strip(" ,"))) if text.strip(" ,") else ()


def webhook_secret_rules(settings: "Settings") -> list[tuple[bool, str]]:
    """Return the rules for these settings: whether each holds, and its sentence. No sentence contains a secret."""
    return [
        (
            not (settings.bank_webhook_secret and settings.bank_webhook_secret_file),
            "WBS_BANK_WEBHOOK_SECRET and WBS_BANK_WEBHOOK_SECRET_FILE exclude each other",
        ),
        (
            are_webhook_secrets(settings.bank_webhook_secrets),
            UNUSABLE,
        ),
    ]


def are_webhook_secrets(secrets: tuple[str, ...]) -> bool:
    """Return whether each is `whsec_` and the base64 of 24 to 64 bytes, as the specification requires."""
    return len(secrets) <= SECRETS_MAX and all(
        _KEY_BYTES_MIN <= _key_bytes(secret) <= _KEY_BYTES_MAX for secret in secrets
    )


def _key_bytes(secret: str) -> int:
    """Return the length of the key in bytes; 0 if it is not a key."""
    encoded = secret.removeprefix("whsec_")
    if encoded == secret:
        return 0
    try:
        return len(base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True))
    except ValueError:
        return 0
