"""What clients send, as types that validate. The OpenAPI document is generated from the same types.

Sources: amounts and ids within 2^53-1 are what every JSON reader keeps exact (RFC 7493, 2.2); times are
RFC 3339 with an offset.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from wallet.money import AMOUNT_MAX

METADATA_KEYS_MAX = 50
METADATA_BYTES_MAX = 4096
DESTINATION_BYTES_MAX = 4096
DESTINATION_CHARS_MAX = 255
NESTING_MAX = 32
"""Levels of objects and lists in metadata or a destination object."""

USER_ID_PATTERN = r"^[!-~]{1,128}\Z"
KEY_PATTERN = r"^[ -~]{1,255}\Z"
CURRENCY_PATTERN = r"^[A-Z]{3}\Z"
CURSOR_PATTERN = r"^[A-Za-z0-9_-]{22}\Z"

UserId = (
    Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
    | Annotated[
        str, Meta(pattern=USER_ID_PATTERN, description="1 to 128 printable ASCII characters, no space")
    ]
)
Amount = Annotated[
    int, Meta(ge=1, le=AMOUNT_MAX, description="Minor units (cents, pence, yen), never a float.")
]
IdempotencyKey = Annotated[
    str,
    Meta(
        pattern=KEY_PATTERN,
        description="Names this request among all of yours. The same key with the same request gets the "
        "first answer again; with another request, 422. May come in the `Idempotency-Key` header instead.",
    ),
]
Currency = Annotated[
    str, Meta(pattern=CURRENCY_PATTERN, description="ISO 4217 code. Left out, the configured default.")
]
ReleaseAt = Annotated[
    datetime,
    Meta(
        tz=True,
        description="RFC 3339 with an offset, in the future by the database's clock. Until then the money is "
        "`locked`. Left out, it can be withdrawn at once.",
    ),
]
Metadata = Annotated[
    dict[str, Any],
    Meta(
        max_length=METADATA_KEYS_MAX,
        description=f"Yours to use: up to {METADATA_KEYS_MAX} keys, {METADATA_BYTES_MAX} bytes as compact "
        f"JSON, {NESTING_MAX} levels. Given back as it came.",
    ),
]
Destination = (
    Annotated[str, Meta(min_length=1, max_length=DESTINATION_CHARS_MAX)]
    | Annotated[dict[str, Any], Meta(description=f"Up to {DESTINATION_BYTES_MAX} bytes as compact JSON.")]
)


class ChargeRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Put money into a wallet."""

    user_id: UserId
    amount: Amount
    idempotency_key: IdempotencyKey | None = None
    release_at: ReleaseAt | None = None
    currency: Currency | None = None
    metadata: Metadata | None = None


class WithdrawRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Pay money out of a wallet, through the bank."""

    user_id: UserId
    amount: Amount
    idempotency_key: IdempotencyKey | None = None
    destination: Annotated[
        Destination | None,
        Meta(description="Where the bank shall pay. Not read by us: handed to the bank as it came."),
    ] = None
    currency: Currency | None = None
    metadata: Metadata | None = None
