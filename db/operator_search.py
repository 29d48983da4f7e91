"""Searching withdrawals for operators: by filters, or by whatever a ticket, a log or the bank calls one."""

import asyncio
import re
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from db.connections import Reader
from db.lists import EVER, LOOKED_AT_MAX, Page, Span
from db.reads import WithdrawalView, withdrawals
from db.sql import load
from db.strict import one, whole

_SQL = load("operator")
_IDENTIFIER = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

BANK_REFERENCES_LOOKED_AT_MAX = 20_000
"""Newest withdrawals among which the bank's own name of a payout is sought: there is no index of these names."""

OPEN = ("pending", "processing", "requires_attention")


class Filters(NamedTuple):
    """What withdrawals are asked for; None and () leave it open. `amount` in minor units."""

    statuses: tuple[str, ...] = ()
    user_id: str | None = None
    currency: str | None = None
    amount: int | None = None
    failure_code: str | None = None
    oldest_first: bool = False
    """Only for statuses other than `completed`, and for all users."""


class Found(NamedTuple):
    """Withdrawals, and where the next page begins; None if nothing is left."""

    items: list[WithdrawalView]
    next: UUID | None


class Named(NamedTuple):
    """What a text names: withdrawals, each with how it was found; and whether there is a user called so."""

    found_by: dict[UUID, str]
    is_user: bool


async def search(reader: Reader, filters: Filters, limit: int, span: Span = EVER) -> Found:
    """Return a page of withdrawals, newest first (or the oldest). A page may be short, or empty, though more follow.

    Raises Unavailable.
    """
    page = await ids(reader, filters, limit, span)
    items = await withdrawals(reader, page.ids) if page.ids else []
    return Found(
        [view for view in items if not filters.statuses or view.status in filters.statuses], page.next
    )


async def ids(reader: Reader, filters: Filters, limit: int, span: Span = EVER) -> Page:
    """Return a page as `search` does, identifiers only. Raises Unavailable."""
    statuses = list(filters.statuses) or None
    arguments = (span.end, span.first, LOOKED_AT_MAX, statuses, *filters[2:5])
    if filters.user_id is not None:
        rows = await reader.fetch(_SQL["walk_of_user"], *arguments, filters.user_id)
    elif statuses is None or "completed" in statuses:
        rows = await reader.fetch(_SQL["walk_of_all"], *arguments)
    elif filters.oldest_first:
        rows = await reader.fetch(_SQL["walk_of_statuses_oldest_first"], *arguments)
    else:
        rows = await reader.fetch(_SQL["walk_of_statuses"], *arguments)
    return _page(rows, limit)


def _page(rows: Sequence[object], limit: int) -> Page:
    """Return the page: it ends where it is full, or where the first of the walks ended that had not come to its end."""
    found: list[UUID] = []
    at: UUID
    for at, id, matches, number in map(whole, rows):
        if matches:
            if len(found) == limit:
                return Page(found, found[-1])
            found.append(id)
        if number == LOOKED_AT_MAX:
            return Page(found, at)
    return Page(found, None)


async def named(reader: Reader, text: str) -> Named:
    """Return what a text names: an id, our reference or the bank's, an idempotency key, a user. Raises Unavailable."""
    questions = [
        reader.fetch(_SQL["by_idempotency_key"], text),
        reader.fetch(_SQL["by_bank_reference"], text, BANK_REFERENCES_LOOKED_AT_MAX),
    ]
    if _IDENTIFIER.fullmatch(text):
        questions.append(reader.fetch(_SQL["by_identifier"], UUID(text)))
    is_user, *answers = await asyncio.gather(reader.fetch(_SQL["is_user"], text), *questions)
    found_by = {row["id"]: row["found_by"] for rows in answers for row in map(whole, rows)}
    return Named(found_by, one(is_user)["is_user"])
