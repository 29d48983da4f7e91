"""Parameters of the reads of events, and what they answer."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from gateway.contract.parameters import WAIT_S_MAX
from gateway.contract.request_models import EPOCH_PATTERN
from gateway.contract.user_ids import UserIdText
from wallet.errors import ValidationFailed
from wallet.events import MODELS, types_named

EVENTS_MAX = 1_000
EVENTS_DEFAULT = 100

TypesText = Annotated[
    str,
    Meta(
        description="Only these: types (`withdrawal.completed`) or whole kinds (`withdrawal`), comma between. The "
        "numbers then have gaps.",
        max_length=512,
    ),
]
AfterNumber = Annotated[
    int, Meta(ge=0, le=2**62, description="Only events with a greater number. Left out: from the oldest on.")
]
EpochText = Annotated[
    str,
    Meta(
        pattern=EPOCH_PATTERN,
        description="The epoch that `after` is a number of, to be sure. Another one is refused.",
    ),
]


class StreamQuery(msgspec.Struct, kw_only=True):
    """Names a part of the sequence, from a place on."""

    after: AfterNumber | None = None
    epoch: EpochText | None = None
    type: TypesText | None = None
    user_id: UserIdText | None = None

    def types(self) -> tuple[str, ...] | None:
        """Return the types that are asked for, None for all. Raises ValidationFailed."""
        if self.type is None:
            return None
        try:
            return types_named(item.strip().removesuffix(".*") for item in self.type.split(","))
        except ValueError as error:
            raise ValidationFailed([("type", str(error))]) from None


class EventsQuery(StreamQuery, kw_only=True):
    """Names a page of the sequence."""

    limit: Annotated[int, Meta(ge=1, le=EVENTS_MAX, description="Events on a page, at most.")] = (
        EVENTS_DEFAULT
    )
    wait: Annotated[
        float,
        Meta(ge=0, le=WAIT_S_MAX, description="Seconds to wait for an event, if there is none yet."),
    ] = 0.0


AnyEvent = Annotated[
    Any,
    Meta(
        title="Event",
        extra_json_schema={
            "anyOf": [{"$ref": f"#/components/schemas/{model.__name__}"} for model in MODELS.values()]
        },
    ),
]


class EventsPage(msgspec.Struct):
    """A part of the sequence, in its order."""

    epoch: UUID
    events: list[AnyEvent]
    last_seq: Annotated[int, Meta(description="The number of the last event there is, whatever the filters.")]
    next_after: Annotated[
        int,
        Meta(
            description="Go on with it as `after`. It is the number of the last event here or, with a filter, how far "
            "was looked: a page may have fewer events than `limit`, or none, though more follow."
        ),
    ]
