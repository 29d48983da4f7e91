"""The reconciler's access to the database: a session of its own, and the lease by which it leads or waits."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from db.connections import Reader, transaction
from db.errors import DATABASE_ERRORS, Fault, fault_of
from db.leases import LAPSES_S, LEADS_S, Lease
from db.led_session import LedSession
from db.releases import release_matured
from db.sql import load
from db.strict import one, require, require_tag, rows_of, whole
from runtime.settings import Settings
from runtime.telemetry import log
from wallet.outcomes import reference_text
from wallet.traces import Trace, kept_trace

_SQL = load("reconciliation")
_WITHDRAWALS = load("withdrawals")
_OUTBOX = load("outbox")
_ONE_BY_ONE_MAX = 50
_ONE_WAITS_MS = 20
_NULLABLE = ("bank_reference", "reference", "destination", "accepted_at", "request_id", "traceparent")


class WithdrawalRow(NamedTuple):
    """A withdrawal as our ledger has it, for comparison with the bank's books."""

    id: UUID
    user_id: str
    currency: str
    amount: int
    status: str
    attempts: int
    bank_reference: str | None
    reference: UUID | None = None
    destination: str | None = None
    accepted_at: datetime | None = None
    conflict: bool = False
    """The bank knows the reference with another body."""
    destination_known: bool = True
    """False for a withdrawal adopted from the bank's books, until its client sends the request again."""
    request_id: str | None = None
    traceparent: str | None = None
    """Of the request that it was made by."""

    @property
    def trace(self) -> Trace | None:
        """The trace of the request that it was made by."""
        return kept_trace(self.request_id, self.traceparent)

    @property
    def reference_text(self) -> str:
        """The reference by which the bank knows the withdrawal."""
        return reference_text(self.reference, self.id)


class DueLookUp(NamedTuple):
    """A withdrawal to look up at the bank, and the time since which the look-up is due."""

    known: WithdrawalRow
    due_at: datetime


class ReconcilerSession(LedSession):
    """What the reconciler asks and writes, as a LedSession."""

    def __init__(self, settings: Settings) -> None:
        # The lease is renewed at each beat, so with long beats it must last longer too.
        lapses_s = max(LAPSES_S, 3 * settings.reconcile_interval_ms / 1000)
        lease = Lease("reconciler", lapses_s=lapses_s, leads_s=lapses_s * LEADS_S / LAPSES_S)
        super().__init__(settings.database, lease)
        self._settings = settings
        self._redrive_interval = timedelta(milliseconds=settings.redrive_after_ms)

    @property
    def connection(self) -> Any:
        """The connection, once `lead` was called."""
        return self._connection

    async def bank_prefixes(self) -> frozenset[str]:
        """Return the prefixes of this stack's references."""
        row = one(await self._connection.fetch(_SQL["bank_prefix"]))
        return frozenset(filter(None, (row["bank_prefix"], self._settings.bank_prefix)))

    async def redrive_due(self, limit: int) -> int:
        """Write outbox rows for up to `limit` overdue withdrawals; return their number."""
        try:
            status = await self._connection.execute(
                _WITHDRAWALS["redrive_due"], limit, self._redrive_interval
            )
        except DATABASE_ERRORS as error:
            if fault_of(error) is not Fault.LOCKED:
                raise
            return await self._redrive_one_by_one(min(limit, _ONE_BY_ONE_MAX))
        return rows_of(status, "INSERT 0")

    async def _redrive_one_by_one(self, limit: int) -> int:
        """Announce the withdrawals one by one, except those that another session is announcing without committing.

        No query shows these; only an attempt meets them. So all are postponed first, by one interval, and the next beat
        begins after them.
        """
        connection, announced = self._connection, 0
        rows = await connection.fetch(_WITHDRAWALS["postpone_due"], limit, self._redrive_interval)
        for row in map(whole, rows):
            try:
                async with transaction(connection):
                    await connection.execute(f"set local lock_timeout = {_ONE_WAITS_MS}")
                    status = await connection.execute(_OUTBOX["announce"], row["id"], row["user_id"])
            except DATABASE_ERRORS as error:
                if fault_of(error) is not Fault.LOCKED:
                    raise
                log.warning("not_announced", withdrawal_id=row["id"], user_id=row["user_id"])
            else:
                announced += rows_of(status, "INSERT 0")
        return announced

    async def release_matured(self) -> int:
        """Write the releases of some matured locks; return their number."""
        return await release_matured(self._connection)

    async def count_open(self) -> dict[str, int]:
        """Return the number of open withdrawals, by status."""
        rows = await self._connection.fetch(_WITHDRAWALS["count_open"])
        return {row["status"]: row["withdrawals"] for row in map(whole, rows)}

    async def outbox_depth(self) -> tuple[int, float]:
        """Return the number of unpublished messages, and the age of the oldest in seconds."""
        row = one(await self._connection.fetch(_OUTBOX["depth"]))
        return row["depth"], row["age_s"]

    async def bank_cursor(self) -> str | None:
        """Return the cursor up to which the bank's books have been read."""
        after: str | None = one(await self._connection.fetch(_SQL["cursor"]), ("after",))["after"]
        return after

    async def advance_bank_cursor(self, after: str | None) -> None:
        """Store the cursor up to which the bank's books have been read; None: read them from the start."""
        require_tag(await self._connection.execute(_SQL["advance"], after), "UPDATE 1")

    async def by_references(self, references: Sequence[UUID]) -> dict[str, WithdrawalRow]:
        """Return the withdrawals that have one of these references, by the text of the reference."""
        rows = await self._connection.fetch(_SQL["by_references"], list(references))
        return {known.reference_text: known for known in map(_known, rows)}

    async def requiring_attention(self, after: UUID | None, limit: int) -> list[WithdrawalRow]:
        """Return a page of withdrawals that require attention, those after an identifier."""
        rows = await self._connection.fetch(_SQL["requiring_attention"], after, limit)
        return [_known(row) for row in rows]

    async def looked_up(self, ids: Sequence[UUID]) -> None:
        """Record that the bank has just answered look-ups of these withdrawals."""
        rows_of(await self._connection.execute(_SQL["looked_up"], list(ids)), "UPDATE")

    async def note_discrepancies(self, seen: Sequence[tuple[str, str, str, str | None]]) -> None:
        """Write down where the bank's books differ from ours: kind, reference, the bank's word and ours.

        Those that were not seen for 30 days go.
        """
        if seen:
            noted = await self._connection.execute(_SQL["note_discrepancies"], *zip(*seen, strict=True))
            require(rows_of(noted, "INSERT 0") > 0, "no discrepancy was written")
        rows_of(await self._connection.execute(_SQL["forget_discrepancies"]), "DELETE")

    # --- Look-ups ---

    async def look_up_open(self, limit: int) -> int:
        """Schedule look-ups of open withdrawals that the bank may know, while payouts are paused or history was lost.

        Return the number of new look-ups.
        """
        return rows_of(await self._connection.execute(_SQL["look_up_open"], limit), "INSERT 0")

    async def look_up_soon(self, withdrawals: Sequence[WithdrawalRow]) -> None:
        """Schedule look-ups of these withdrawals."""
        ids, users = zip(*((known.id, known.user_id) for known in withdrawals), strict=True)
        rows_of(await self._connection.execute(_SQL["look_up_soon"], ids, users), "INSERT 0")

    async def look_ups_due(self, limit: int) -> list[DueLookUp]:
        """Return some due look-ups, the oldest first."""
        rows = await self._connection.fetch(_SQL["look_ups_due"], limit)
        return [DueLookUp(WithdrawalRow(*whole(row, _NULLABLE)[:-1]), row[-1]) for row in rows]

    async def look_ups_done(self, done: Sequence[DueLookUp]) -> None:
        """Remove these look-ups, unless they became due anew after they were read."""
        rows_of(await self._connection.execute(_SQL["look_ups_done"], *_rows(done)), "DELETE")

    async def look_ups_missed(self, missed: Sequence[DueLookUp]) -> None:
        """Postpone these look-ups: the bank gave no answer, or the answer could not be recorded."""
        rows_of(await self._connection.execute(_SQL["look_ups_missed"], *_rows(missed)), "UPDATE")


async def told(reader: Reader, reference: UUID) -> int:
    """Record that the bank called back about a reference; return the number of withdrawals that have it.

    Raises Unavailable.
    """
    return int(one(await reader.fetch(_SQL["told"], reference))["told"])


def _known(row: Any) -> WithdrawalRow:
    return WithdrawalRow(*whole(row, _NULLABLE))


def _rows(due: Sequence[DueLookUp]) -> tuple[list[UUID], list[str], list[datetime]]:
    return (
        [one.known.id for one in due],
        [one.known.user_id for one in due],
        [one.due_at for one in due],
    )
