"""Adjustments: proposals that wait for a second person, and what is booked. (`db.follow_up_writer` books them.)"""

import json
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from db.sql import load
from db.strict import at_most_one, one, require, whole
from wallet.adjustments import CONFIRMED_WITHIN, Adjust, signed
from wallet.errors import AdjustmentNotFound, NotConfirmable
from wallet.receipts import AdjustmentReceipt, KeyRecord, repeat

_SQL = load("adjustments")


class Session(Protocol):
    """A connection or a reader."""

    async def fetch(self, query: str, *arguments: object) -> Any:
        """Return the rows."""


class Proposal(NamedTuple):
    """An adjustment that waits for a second person, or (`movement_id`) waited."""

    id: UUID
    user_id: str
    currency: str
    amount: int
    reason: str
    proposed_by: str
    proposed_at: datetime
    client: str
    """The space of its key."""
    key: str
    fingerprint: bytes
    movement_id: UUID | None
    now: datetime

    @property
    def status(self) -> str:
        """`proposed`, `expired` or `completed`."""
        if self.movement_id is not None:
            return "completed"
        return "expired" if self.now - self.proposed_at > CONFIRMED_WITHIN else "proposed"

    def confirmed(self, by: str) -> Adjust:
        """Return what is to be booked once this person confirms. Raises NotConfirmable."""
        if by == self.proposed_by:
            raise NotConfirmable(f"{by} proposed it: another person must confirm it")
        if self.status == "expired":
            raise NotConfirmable(
                f"it was proposed more than {CONFIRMED_WITHIN.days} days ago: propose it anew"
            )
        wallet = (self.user_id, self.currency)
        return Adjust(self.client, self.key, *wallet, self.amount, self.reason, by, self.proposed_by)


async def propose(session: Session, id: UUID, asked: Adjust) -> Proposal | None:
    """Write a proposal down, or find that which was made under its key; None if the key has made a movement.

    Raises IdempotencyKeyReused if the key has another proposal.
    """
    head = (id, asked.user_id, asked.currency, asked.amount, asked.reason, asked.by)
    key = (asked.space, asked.key)
    at_most_one(await session.fetch(_SQL["propose"], *head, *key, asked.fingerprint()))
    row = at_most_one(await session.fetch(_SQL["proposal_by_key"], *key), ("movement_id",))
    if row is None:
        # None lets one person book it, so it must be certain.
        used = one(await session.fetch(_SQL["key_has_moved"], *key))["has_moved"]
        require(used, "neither a proposal nor a movement under the key")
        return None
    found = Proposal(*row)
    unused = AdjustmentReceipt(
        found.id, found.user_id, found.currency, found.amount, found.reason, "", None, found.now
    )
    if isinstance(refusal := repeat(KeyRecord(found.fingerprint, unused), asked), Exception):
        raise refusal
    return found


async def proposal(session: Session, id: UUID) -> Proposal:
    """Return a proposal as it is now. Raises AdjustmentNotFound."""
    row = at_most_one(await session.fetch(_SQL["proposal"], id), ("movement_id",))
    if row is None:
        raise AdjustmentNotFound("no such adjustment")
    return Proposal(*row)


async def proposals(session: Session, before: UUID, limit: int, since: datetime) -> list[Proposal]:
    """Return a page of those that wait and were proposed after `since`, newest first."""
    rows = await session.fetch(_SQL["proposals"], before, limit, since)
    return [Proposal(*whole(row, ("movement_id",))) for row in rows]


async def booked(session: Session, id: UUID) -> AdjustmentReceipt | None:
    """Return an adjustment of the ledger; None if there is none with this identifier."""
    row = at_most_one(await session.fetch(_SQL["booked"], id), ("metadata", "made_by"))
    return None if row is None else _receipt(row)


async def all_booked(session: Session, before: UUID, limit: int) -> list[AdjustmentReceipt]:
    """Return a page of the ledger's adjustments, newest first."""
    rows = await session.fetch(_SQL["all_booked"], before, limit)
    return [_receipt(whole(row, ("metadata", "made_by"))) for row in rows]


def _receipt(row: Any) -> AdjustmentReceipt:
    told = json.loads(row["metadata"] or "{}")
    amount = signed(row["amount"], row["debit_account"])
    return AdjustmentReceipt(
        row["id"],
        row["user_id"],
        row["currency"],
        amount,
        told.get("reason", ""),
        row["made_by"] or "",
        told.get("proposed_by"),
        row["created_at"],
    )
