"""Response models: the bodies of responses, as types. The OpenAPI document is generated from them.

What a schema has to say for the document is said in openapi_schemas: a `title` makes it a schema of that name.
"""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from gateway.contract.request_models import DESTINATION_SCHEMA, METADATA_SCHEMA
from gateway.contract.user_ids import UserIdBack
from wallet.money import AMOUNT_MAX

StatusName = Annotated[
    Literal["pending", "processing", "completed", "failed", "cancelled", "requires_attention", "returned"],
    Meta(title="WithdrawalStatus"),
]
MetadataBack = Annotated[
    Any,
    Meta(extra_json_schema=METADATA_SCHEMA, description="An object as it came in the request, or null."),
]
DestinationBack = Annotated[
    Any, Meta(extra_json_schema=DESTINATION_SCHEMA, description="As it came in the request, or null.")
]
Money = Annotated[int, Meta(ge=0, le=AMOUNT_MAX, description="Minor units.")]


class Currency(msgspec.Struct, gc=False):
    """A currency or a unit of your own."""

    code: str
    exponent: Annotated[int, Meta(ge=0, description="Decimal places: with 2, an amount of 1234 is 12.34.")]


class CurrencyList(msgspec.Struct, gc=False):
    """The currencies that are taken."""

    currencies: list[Currency]
    default: Annotated[str, Meta(description="The currency of requests that name none.")]


class AcceptedWithdrawal(msgspec.Struct, gc=False):
    """A withdrawal as it was accepted. Ask `status_url` how it goes on."""

    withdrawal_id: UUID
    status: Literal["pending"]
    status_url: str
    user_id: UserIdBack
    currency: str
    amount: Money
    destination: DestinationBack
    metadata: MetadataBack
    created_at: datetime


class HistoryEntry(msgspec.Struct):
    """One step of a withdrawal from a state to the next."""

    status: StatusName
    at: datetime
    reason: str
    by: Annotated[
        str | None,
        Meta(
            description="Who moved it: `client`, `actor`, `reconciler`, `bank` or `operator`, then `:` and a "
            "name where there is one. Null in what was written before this was."
        ),
    ]


class Failure(msgspec.Struct):
    """The reason why a withdrawal failed, or why its last round of bank calls brought nothing."""

    code: str
    reason: str | None


class Withdrawal(msgspec.Struct):
    """A withdrawal as it is now."""

    withdrawal_id: UUID
    status: StatusName
    status_url: str
    user_id: UserIdBack
    currency: str
    amount: Money
    destination: DestinationBack
    metadata: MetadataBack
    created_at: datetime
    updated_at: datetime
    attempts: Annotated[int, Meta(description="Rounds of bank calls begun so far.")]
    next_attempt_at: Annotated[datetime | None, Meta(description="While processing: when it is due again.")]
    failure: Failure | None
    reference: Annotated[
        str,
        Meta(description="What the bank knows it by: 32 hexadecimal digits, the same if it is sent again."),
    ]
    bank_reference: Annotated[str | None, Meta(description="The bank's own name for the payout.")]
    history: list[HistoryEntry]


class Balance(msgspec.Struct, gc=False):
    """A wallet's money: total = withdrawable + locked + held."""

    user_id: UserIdBack
    currency: str
    total: Money
    withdrawable: Annotated[Money, Meta(description="Can be withdrawn now.")]
    locked: Annotated[Money, Meta(description="Charged with a release_at that has not come yet.")]
    held: Annotated[Money, Meta(description="Reserved for withdrawals that have not ended.")]


class Dependency(msgspec.Struct, omit_defaults=True):
    """The state of one dependency."""

    status: Literal["ok", "degraded", "down", "unknown"]
    detail: str | None = None


class Reason(msgspec.Struct, omit_defaults=True):
    """A reason why the service is not ok."""

    code: Annotated[str, Meta(description="Stable, for machines: `database_read_only`, `relay_down` ….")]
    detail: str | None = None


class Health(msgspec.Struct):
    """`degraded`: requests are taken, but something that they need later is away. `down`: writes fail."""

    status: Literal["ok", "degraded", "down"]
    queue_length: Annotated[int | None, Meta(description="Withdrawals waiting; null if it can't be known.")]
    dependencies: dict[str, Dependency]
    reasons: Annotated[list[Reason], Meta(description="All that is not well, the gravest first.")] = []


class Liveness(msgspec.Struct, omit_defaults=True):
    """The process answers, and its tasks run."""

    status: Literal["ok", "down"]
    failing: Annotated[list[str], Meta(description="Tasks that could not run for 30 s.")] = []
