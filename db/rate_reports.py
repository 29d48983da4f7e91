"""What the gateways tell each other about the usage of their clients: so rate limits hold for all of them together.

Each gateway has one row and replaces it about once per second. The table is unlogged: nothing is flushed for it, and
after a crash of the server it is empty, which does no harm.
"""

from typing import NamedTuple
from uuid import UUID

from db.connections import Reader
from db.sql import load
from db.strict import whole

_SQL = load("rate_reports")


class RateReport(NamedTuple):
    """The report of a gateway, made `age_s` seconds ago (by the database's clock)."""

    gateway: UUID
    age_s: float
    usage: str


async def exchange(reader: Reader, gateway: UUID, usage: str) -> list[RateReport]:
    """Replace this gateway's report; return those of the others in the last 3 s. Raises Unavailable."""
    rows = await reader.fetch(_SQL["exchange"], gateway, usage)
    return [RateReport(row["gateway"], row["age_s"], row["usage"]) for row in map(whole, rows)]


async def withdraw(reader: Reader, gateway: UUID) -> None:
    """Remove this gateway's report. Raises Unavailable."""
    await reader.fetch(_SQL["withdraw"], gateway)
