"""Events: what was changed, told once, in one order without gaps (docs/adr/0028).

A body never changes, however often and wherever it is read: it says what is written once, and a withdrawal's status as
it was at the time of the event.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal, get_args
from uuid import UUID, uuid5

import msgspec
from msgspec import Meta

from wallet.traces import Trace, kept_trace

VERSION = 1
"""Of the bodies. Members may be added to one; a change of what is there makes another version."""

EventType = Literal[
    "charge.completed",
    "charge.released",
    "charge.reversed",
    "transfer.completed",
    "transfer.released",
    "transfer.reversed",
    "hold.opened",
    "hold.captured",
    "hold.voided",
    "hold.expired",
    "adjustment.completed",
    "withdrawal.pending",
    "withdrawal.processing",
    "withdrawal.completed",
    "withdrawal.failed",
    "withdrawal.cancelled",
    "withdrawal.requires_attention",
    "withdrawal.returned",
]
TYPES: tuple[str, ...] = get_args(EventType)
KINDS = tuple(dict.fromkeys(type.partition(".")[0] for type in TYPES))
ALWAYS_MADE = "withdrawal"
"""The kind of events that WBS_EVENTS can't leave out."""

MEANINGS: dict[str, str] = {
    "charge.completed": "Money came in.",
    "charge.released": "The money of a charge is not locked any more.",
    "charge.reversed": "A charge was undone, in whole or in part.",
    "transfer.completed": "Money has moved from one wallet to others.",
    "transfer.released": "A payee's share is not locked any more.",
    "transfer.reversed": "A transfer was taken back, in whole or in part.",
    "hold.opened": "Money is set aside.",
    "hold.captured": "It was transferred, in whole or in part; the rest went back.",
    "hold.voided": "It went back.",
    "hold.expired": "Its time is over: it went back.",
    "adjustment.completed": "An operator has put money in, or taken it out.",
    "withdrawal.pending": "A withdrawal was accepted; its money is held.",
    "withdrawal.processing": "The bank is about to be called.",
    "withdrawal.completed": "The bank paid.",
    "withdrawal.failed": "The bank declined; the money is back.",
    "withdrawal.cancelled": "Cancelled before the bank was called; the money is back.",
    "withdrawal.requires_attention": "All retries are used up, and the money is still held.",
    "withdrawal.returned": "The bank has sent the money back after paying.",
}

UserId = Annotated[int | str, Meta(title="UserId")]
Kept = Annotated[
    Any,
    Meta(extra_json_schema={"type": ["object", "null"]}, description="As it came in the request, or null."),
]
Instant = datetime | None


class EventReversal(msgspec.Struct):
    """What was undone by this event."""

    id: UUID
    amount: Annotated[int, Meta(description="Minor units.")]
    reason: str | None


class EventLeg(msgspec.Struct):
    """One payee's share: of the transfer, or of what was taken back."""

    to_user_id: UserId
    amount: Annotated[int, Meta(description="Minor units.")]
    release_at: Instant


class ChargeObject(msgspec.Struct):
    """A charge."""

    id: UUID
    user_id: UserId
    currency: str
    amount: Annotated[int, Meta(description="Minor units.")]
    release_at: Instant
    metadata: Kept
    created_at: datetime
    reversal: Annotated[EventReversal | None, Meta(description="With `charge.reversed`.")] = None


class TransferObject(msgspec.Struct):
    """A transfer."""

    id: UUID
    from_user_id: UserId
    currency: str
    amount: Annotated[int, Meta(description="Minor units.")]
    legs: Annotated[
        list[EventLeg],
        Meta(
            description="With `transfer.reversed`: what was taken back; with `transfer.released`: the share."
        ),
    ]
    metadata: Kept
    created_at: datetime
    reversal: Annotated[EventReversal | None, Meta(description="With `transfer.reversed`.")] = None


class HoldObject(msgspec.Struct):
    """A hold."""

    id: UUID
    user_id: UserId
    currency: str
    amount: Annotated[int, Meta(description="Minor units.")]
    captured: Annotated[int, Meta(description="Minor units that were transferred.")]
    transfer_id: Annotated[UUID | None, Meta(description="The transfer that its capture made.")]
    status: Annotated[Literal["open", "captured", "voided", "expired"], Meta(title="HoldStatus")]
    expires_at: Instant
    metadata: Kept
    created_at: datetime


class AdjustmentObject(msgspec.Struct):
    """What an operator has put in or taken out."""

    id: UUID
    user_id: UserId
    currency: str
    amount: Annotated[int, Meta(description="Minor units; negative if it was taken out.")]
    metadata: Kept
    created_at: datetime


class WithdrawalObject(msgspec.Struct):
    """A withdrawal, with its status at the time of the event."""

    withdrawal_id: UUID
    status: Annotated[
        Literal[
            "pending", "processing", "completed", "failed", "cancelled", "requires_attention", "returned"
        ],
        Meta(title="WithdrawalStatus"),
    ]
    user_id: UserId
    currency: str
    amount: Annotated[int, Meta(description="Minor units.")]
    metadata: Kept
    reason: Annotated[str, Meta(description="Why it has this status, in words.")]
    failure_code: Annotated[str | None, Meta(description="With `failed`: the bank's code.")]
    reference: Annotated[str, Meta(description="What the bank knows it by.")]
    bank_reference: Annotated[
        str | None, Meta(description="The bank's own name for the payout, once it paid.")
    ]
    created_at: datetime
    request_id: Annotated[str | None, Meta(description="The id of the request that it was made by.")] = None
    traceparent: Annotated[
        str | None, Meta(description="That request's place in a trace (W3C Trace Context).")
    ] = None


EventObject = ChargeObject | TransferObject | HoldObject | AdjustmentObject | WithdrawalObject


class EventBody(msgspec.Struct):
    """One change of one object."""

    epoch: Annotated[
        UUID,
        Meta(
            description="Numbers ascend without gaps within it. A database that was restored begins another."
        ),
    ]
    seq: Annotated[int, Meta(ge=1, description="Its place in the sequence.")]
    id: Annotated[UUID, Meta(description="The same wherever and however often it is told.")]
    type: Annotated[EventType, Meta(title="EventType")]
    version: int
    at: Annotated[datetime, Meta(description="When it took effect.")]
    user_ids: Annotated[list[UserId], Meta(description="Everybody whose wallet it has changed.")]
    currency: str
    by: Annotated[
        str | None,
        Meta(
            description="Who did it: the API key's name; of a withdrawal's moves, who made them (`actor`, `bank`, "
            "`operator:ann` …). Null: nobody, or logins were off."
        ),
    ]
    object: Any


class ChargeEvent(EventBody):
    """A charge was made, released or reversed."""

    object: ChargeObject


class TransferEvent(EventBody):
    """A transfer was made, released or reversed."""

    object: TransferObject


class HoldEvent(EventBody):
    """A hold was opened, captured or voided, or has expired."""

    object: HoldObject


class AdjustmentEvent(EventBody):
    """An operator has adjusted a wallet."""

    object: AdjustmentObject


class WithdrawalEvent(EventBody):
    """A withdrawal has another status."""

    object: WithdrawalObject


MODELS: dict[str, type[EventBody]] = {
    "charge": ChargeEvent,
    "transfer": TransferEvent,
    "hold": HoldEvent,
    "adjustment": AdjustmentEvent,
    "withdrawal": WithdrawalEvent,
}
"""By kind of event."""


class Event(msgspec.Struct, frozen=True):
    """An event, with what its readers need beside its body."""

    seq: int
    type: str
    user_ids: tuple[str, ...]
    """As they are kept."""
    numbered_at: datetime
    body: EventBody

    @property
    def trace(self) -> Trace | None:
        """The trace of the request that it comes from; None: nobody has kept one."""
        told = self.body.object
        if not isinstance(told, WithdrawalObject):
            return None
        return kept_trace(told.request_id, told.traceparent)

    def json(self) -> bytes:
        """Return the body as JSON: the same bytes wherever it is told."""
        return _encode(self.body)


_encode = msgspec.json.Encoder().encode


def event_id(epoch: UUID, seq: int) -> UUID:
    """Return the identifier of an event."""
    return uuid5(epoch, str(seq))


def types_of_kinds(kinds: frozenset[str]) -> list[str] | None:
    """Return the types of these kinds of events and of those that are always made; None: all types there are."""
    wanted = kinds | {ALWAYS_MADE}
    return None if wanted >= set(KINDS) else [type for type in TYPES if type.partition(".")[0] in wanted]


def types_named(names: Iterable[str]) -> tuple[str, ...]:
    """Return the types that types and kinds (`withdrawal`) name. Raises ValueError for another name."""
    found: list[str] = []
    for name in names:
        if name not in TYPES and name not in KINDS:
            raise ValueError(f"must be one of {', '.join((*KINDS, *TYPES))}")
        found += [type for type in TYPES if name in (type, type.partition(".")[0])]
    return tuple(dict.fromkeys(found))


def read_event_kinds(text: str) -> frozenset[str]:
    """Return the kinds of events that WBS_EVENTS names; `all` stands for all. Raises ValueError, naming a bad one."""
    named = frozenset(filter(None, (item.strip() for item in text.split(","))))
    if unknown := named - {*KINDS, "all"}:
        raise ValueError(f"{sorted(unknown)[0]!r} is none of {', '.join(KINDS)}, all")
    return frozenset(KINDS) if "all" in named else named
