"""What operators do beside transitions of withdrawals: proposals for a second person, look-ups, and who did what."""

from uuid import UUID

from db.connections import Reader
from db.sql import load
from db.strict import at_most_one, one

_SQL = load("operator")


async def note_action(
    reader: Reader,
    made_by: str,
    action: str,
    withdrawal_id: UUID | None = None,
    reason: str | None = None,
    withdrawals: int = 1,
) -> None:
    """Write down who did what, to how many withdrawals. Raises Unavailable."""
    one(await reader.fetch(_SQL["note_action"], made_by, action, withdrawal_id, reason, withdrawals))


async def redrive(reader: Reader, withdrawal_id: UUID) -> bool:
    """Have the bank asked about an open withdrawal, and the actors told of it. Return whether it is open.

    Raises Unavailable.
    """
    return bool(one(await reader.fetch(_SQL["redrive"], withdrawal_id))["redriven"])


async def propose(
    reader: Reader, withdrawal_id: UUID, outcome: str, bank_reference: str | None, reason: str, made_by: str
) -> bool:
    """Propose how a withdrawal is to be settled. Return False if there is a proposal, or it requires no attention.

    Raises Unavailable.
    """
    rows = await reader.fetch(_SQL["propose"], withdrawal_id, outcome, bank_reference, reason, made_by)
    return at_most_one(rows) is not None


async def drop_proposal(reader: Reader, withdrawal_id: UUID) -> bool:
    """Remove the proposal for a withdrawal. Return whether there was one. Raises Unavailable."""
    return at_most_one(await reader.fetch(_SQL["drop_proposal"], withdrawal_id)) is not None
