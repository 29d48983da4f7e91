"""Request models: the bodies of requests, as types that validate. The OpenAPI document is generated from them.

Sources: every JSON reader keeps integers up to 2^53-1 exact (RFC 7493, 2.2), hence the limit on amounts and ids; times
are RFC 3339 with an offset.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from gateway.contract.idempotency_keys import KEY_PATTERN
from gateway.contract.user_ids import UserId
from wallet.commands import LEGS_MAX
from wallet.money import AMOUNT_MAX

METADATA_KEYS_MAX = 50
METADATA_BYTES_MAX = 4096
DESTINATION_BYTES_MAX = 4096
DESTINATION_CHARS_MAX = 255
NESTING_MAX = 32
"""Levels of objects and lists in metadata and destinations."""

RELEASE_AT_MAX = datetime(9000, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
"""Far enough for money that is locked for ever, and far from the end of every calendar that handles the time."""

REASON_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\ufffe\uffff]{1,255}\Z"
"""By what it may not hold: of a class with a million members, tools that generate requests make a list."""
EPOCH_PATTERN = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z"
URL_PATTERN = r"^https?://[!-~]{1,2040}\Z"
WORD_PATTERN = r"^[!-~]{1,255}\Z"
CURRENCY_PATTERN = r"^[A-Z]{3}\Z"
CURRENCY_OR_ALL_PATTERN = r"^([A-Z]{3}|all)\Z"
CURSOR_PATTERN = r"^[A-Za-z0-9_-]{22}\Z"
STATEMENT_CURSOR_PATTERN = r"^[A-Za-z0-9_-]{43}\Z"

Amount = Annotated[
    int, Meta(ge=1, le=AMOUNT_MAX, description="Minor units (cents, pence, yen), never a float.")
]
IdempotencyKey = Annotated[
    str,
    Meta(
        extra_json_schema={"pattern": KEY_PATTERN},
        description="Names this request among all of yours. The same key with the same request gets the "
        "first answer again; with another request, 422. May come in the `Idempotency-Key` header instead. Blanks "
        "around it are no part of it.",
    ),
]
Currency = Annotated[
    str,
    Meta(pattern=CURRENCY_PATTERN, description="One that `GET /currencies` lists. Left out, the default."),
]
ReleaseAt = Annotated[
    datetime,
    Meta(
        tz=True,
        description="RFC 3339 with an offset, in the future by the database's clock, up to 9000-12-31 (UTC). Until "
        "then the money is `locked`. Left out, it can be withdrawn at once.",
    ),
]
ExpiresAt = Annotated[
    datetime,
    Meta(
        tz=True,
        description="RFC 3339 with an offset, in the future by the database's clock, up to 9000-12-31 (UTC). From then "
        "on the money is withdrawable again. Left out, the hold stays until it is captured or voided.",
    ),
]
Reason = Annotated[
    str, Meta(pattern=REASON_PATTERN, description="For people: 1 to 255 characters on one line.")
]
METADATA_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {
            "title": "Metadata",
            "type": "object",
            "maxProperties": METADATA_KEYS_MAX,
            "additionalProperties": True,
        },
        {"type": "null"},
    ]
}
DESTINATION_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": DESTINATION_CHARS_MAX},
        {"title": "DestinationObject", "type": "object", "additionalProperties": True},
        {"type": "null"},
    ]
}
Metadata = Annotated[
    Raw | UnsetType,
    Meta(
        extra_json_schema=METADATA_SCHEMA,
        description=f"Yours to use: up to {METADATA_KEYS_MAX} keys, {METADATA_BYTES_MAX} bytes as compact "
        f"JSON, {NESTING_MAX} levels, no member twice. Given back as it came, white space apart.",
    ),
]
"""Left unread here; `gateway.contract.kept_json` checks it."""
Destination = Annotated[
    Raw | UnsetType,
    Meta(
        extra_json_schema=DESTINATION_SCHEMA,
        description="Where the bank shall pay. Not read by us: handed to the bank as it came, white space apart. "
        f"An object may have {DESTINATION_BYTES_MAX} bytes as compact JSON, {NESTING_MAX} levels, no member twice.",
    ),
]


class ChargeRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Put money into a wallet."""

    user_id: UserId
    amount: Amount
    idempotency_key: IdempotencyKey | None = None
    release_at: ReleaseAt | None = None
    currency: Currency | None = None
    metadata: Metadata = UNSET


class WithdrawRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Pay money out of a wallet, through the bank."""

    user_id: UserId
    amount: Amount
    idempotency_key: IdempotencyKey | None = None
    destination: Destination = UNSET
    currency: Currency | None = None
    metadata: Metadata = UNSET


class LegRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One payee's share."""

    to_user_id: UserId
    amount: Amount
    release_at: ReleaseAt | None = None


Legs = Annotated[
    list[LegRequest],
    Meta(min_length=1, max_length=LEGS_MAX, description="All of them take effect, or none does."),
]


class TransferRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Move money to another wallet (`to_user_id`, `amount`), or to several (`legs`)."""

    from_user_id: UserId
    to_user_id: UserId | UnsetType = UNSET
    amount: Amount | None = None
    legs: Legs | None = None
    idempotency_key: IdempotencyKey | None = None
    release_at: ReleaseAt | None = None
    currency: Currency | None = None
    metadata: Metadata = UNSET


class HoldRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Set money aside for a later transfer."""

    user_id: UserId
    amount: Amount
    idempotency_key: IdempotencyKey | None = None
    expires_at: ExpiresAt | None = None
    currency: Currency | None = None
    metadata: Metadata = UNSET


class CaptureRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Transfer a hold's money: `amount` of it (left out: all) to `to_user_id`, or `legs`. The rest is voided."""

    to_user_id: UserId | UnsetType = UNSET
    amount: Amount | None = None
    legs: Legs | None = None
    idempotency_key: IdempotencyKey | None = None
    release_at: ReleaseAt | None = None


class ReverseChargeRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Undo `amount` of a charge (left out: all that is left)."""

    amount: Amount | None = None
    idempotency_key: IdempotencyKey | None = None
    reason: Reason | None = None


class ReversedLegRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """How much is to be taken back of one leg."""

    leg: Annotated[int, Meta(ge=1, le=LEGS_MAX, description="Its number in the transfer, from 1.")]
    amount: Amount


class ReverseTransferRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Take a transfer back: `amount` of its only leg, `legs`, or (neither) all that is left of each leg."""

    amount: Amount | None = None
    legs: Annotated[list[ReversedLegRequest], Meta(min_length=1, max_length=LEGS_MAX)] | None = None
    idempotency_key: IdempotencyKey | None = None
    reason: Reason | None = None
