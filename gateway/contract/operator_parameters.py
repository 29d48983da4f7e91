"""Parameters of `/operator`: which withdrawals are asked for."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from db.lists import FIRST_ID, LAST_ID, Span
from db.operator_search import OPEN, Filters
from gateway.contract.cursors import read_cursor
from gateway.contract.list_parameters import CursorText, LimitNumber
from gateway.contract.operator_models import before
from gateway.contract.parameters import LIMIT_DEFAULT
from gateway.contract.request_models import CURRENCY_PATTERN
from gateway.contract.user_ids import UserIdText
from wallet.errors import ValidationFailed
from wallet.ids import first_id_of
from wallet.money import AMOUNT_MAX

CHARS_MAX = 255
AGE_S_MAX = 10 * 366 * 86_400

StatusFilter = Literal[
    "open",
    "stuck",
    "pending",
    "processing",
    "completed",
    "failed",
    "cancelled",
    "requires_attention",
    "returned",
]
_STATUSES: dict[str, tuple[str, ...]] = {"open": OPEN, "stuck": ("pending", "processing")}


class OperatorWithdrawalsQuery(msgspec.Struct, kw_only=True):
    """Names withdrawals: `q` is whatever somebody calls one or its user; the others are filters."""

    q: Annotated[str, Meta(min_length=1, max_length=CHARS_MAX)] | None = None
    status: StatusFilter | None = None
    older_than_s: Annotated[int, Meta(ge=0, le=AGE_S_MAX)] | None = None
    newer_than_s: Annotated[int, Meta(ge=1, le=AGE_S_MAX)] | None = None
    user_id: UserIdText | None = None
    currency: Annotated[str, Meta(pattern=CURRENCY_PATTERN)] | None = None
    amount: Annotated[int, Meta(ge=1, le=AMOUNT_MAX)] | None = None
    failure_code: Annotated[str, Meta(min_length=1, max_length=CHARS_MAX)] | None = None
    order: Literal["newest", "oldest"] = "newest"
    limit: LimitNumber = LIMIT_DEFAULT
    cursor: CursorText | None = None

    def filters(self) -> Filters:
        """Return the filters. Raises ValidationFailed if they don't go together."""
        statuses = () if self.status is None else _STATUSES.get(self.status, (self.status,))
        oldest = self.order == "oldest"
        if oldest and (not statuses or statuses == ("completed",) or self.user_id is not None):
            raise ValidationFailed(
                [("order", "oldest needs a status other than completed, and goes with no user_id")]
            )
        return Filters(statuses, self.user_id, self.currency, self.amount, self.failure_code, oldest)

    def span(self) -> Span:
        """Return the identifiers that the ages and the cursor let through. Raises ValidationFailed."""
        cursor = None if self.cursor is None else read_cursor(self.cursor)
        starts, ends = [FIRST_ID], [LAST_ID]
        if self.newer_than_s is not None:
            starts.append(first_id_of(before(self.newer_than_s)))
        if self.older_than_s is not None:
            ends.append(first_id_of(before(self.older_than_s)))
        if cursor is not None:
            (starts if self.order == "oldest" else ends).append(cursor)
        return Span(max(starts), min(ends))


class DeadLettersQuery(msgspec.Struct, kw_only=True):
    """Names withdrawals that require attention."""

    failure_code: Annotated[str, Meta(min_length=1, max_length=CHARS_MAX)] | None = None
    currency: Annotated[str, Meta(pattern=CURRENCY_PATTERN)] | None = None
    limit: LimitNumber = LIMIT_DEFAULT
    cursor: CursorText | None = None

    def filters(self) -> Filters:
        """Return the filters."""
        return Filters(
            ("requires_attention",),
            currency=self.currency,
            failure_code=self.failure_code,
            oldest_first=True,
        )

    def span(self) -> Span:
        """Return the identifiers that the cursor lets through. Raises ValidationFailed."""
        return Span(FIRST_ID if self.cursor is None else read_cursor(self.cursor))


class LocksQuery(msgspec.Struct, kw_only=True):
    """Names a wallet."""

    user_id: UserIdText
    currency: Annotated[str, Meta(pattern=CURRENCY_PATTERN)]


def ids_of(found: dict[UUID, str]) -> list[UUID]:
    """Return the withdrawals that a text names, newest first."""
    return sorted(found, reverse=True)
