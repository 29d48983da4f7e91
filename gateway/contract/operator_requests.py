"""Bodies of what operators do. Members that are not known, or named twice, are refused."""

from datetime import datetime
from typing import Annotated, Literal, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

from gateway.contract.problems import MalformedJson
from gateway.contract.reasons import bad_field
from gateway.contract.request_errors import UNREADABLE
from gateway.contract.request_models import CURRENCY_PATTERN, WORD_PATTERN, Reason
from wallet.canonical import DuplicateMember, checked_json
from wallet.errors import ValidationFailed

REPLAYED_MAX = 500
"""Withdrawals that one request replays; `more` says whether there are others."""
CODE_CHARS_MAX = 255
PER_S_MIN = 0.001
"""Then the last of so many is due within a week; with much less, at no time that a calendar has."""


class ReplayRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Try withdrawals again: these, or all that require attention (of a reason, in a currency), the oldest first.

    `per_s`: so many a second at most. The first is due after `after_s`: the `after_s` of the answer before, to go on.
    """

    ids: Annotated[list[UUID], Meta(max_length=REPLAYED_MAX)] | None = None
    all: bool = False
    failure_code: Annotated[str, Meta(min_length=1, max_length=CODE_CHARS_MAX)] | None = None
    currency: Annotated[str, Meta(pattern=CURRENCY_PATTERN)] | None = None
    per_s: Annotated[float, Meta(ge=PER_S_MIN, le=10_000)] | None = None
    after_s: Annotated[float, Meta(ge=0, le=30 * 86_400)] = 0.0

    def check(self) -> None:
        """Raise ValidationFailed unless the members go together."""
        if (self.ids is None) != self.all:
            raise ValidationFailed([("ids", "name withdrawals, or say all: true")])
        if self.ids is not None and (self.failure_code or self.currency):
            raise ValidationFailed([("ids", "go with no failure_code and no currency")])


class SettleRequest(msgspec.Struct, forbid_unknown_fields=True):
    """End a withdrawal as people know it from the bank: `paid` under the bank's name for the payout, or `declined`."""

    outcome: Literal["paid", "declined"]
    reason: Reason
    bank_reference: Annotated[str, Meta(pattern=WORD_PATTERN)] | None = None

    def check(self) -> None:
        """Raise ValidationFailed unless the members go together."""
        if (self.outcome == "paid") != (self.bank_reference is not None):
            raise ValidationFailed([("bank_reference", "goes with the outcome paid, and is needed there")])


class ApproveRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Approve a proposal. With `proposed_at`, only the one of that instant, and none that has taken its place."""

    proposed_at: Annotated[datetime, Meta(tz=True)] | None = None


class PauseRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Pause payouts; everybody sees the reason."""

    reason: Reason


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """Nothing more is to be said."""


Body = TypeVar("Body", bound=msgspec.Struct)


def read_request(kind: type[Body], body: bytes) -> Body:
    """Return the body; an empty one is as if it were `{}`. Raises ValidationFailed, MalformedJson."""
    try:
        checked_json((body or b"{}").decode())
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise ValidationFailed([bad_field(error)]) from None
    except DuplicateMember as error:
        raise ValidationFailed([("$", str(error))]) from None
    except UNREADABLE:
        raise MalformedJson("the body can't be read") from None
