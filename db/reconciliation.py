"""What the reconciler needs of the database: a session of its own, and the lease by which it leads or waits."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from db.connections import Reader, connect, transaction
from db.errors import DATABASE_ERRORS, Fault, fault_of
from db.leases import LAPSES_S, LEADS_S, Lease
from db.releases import release_matured
from db.sql import load
from db.strict import one, require_tag, rows_of, whole
from runtime.settings import Settings
from runtime.telemetry import log
from wallet.outcomes import reference_text

_SQL = load("reconciliation")
_WITHDRAWALS = load("withdrawals")
_OUTBOX = load("outbox")
_COMMAND_TIMEOUT_S = 5
_ONE_BY_ONE_MAX = 50
_ONE_WAITS_MS = 20
_NULLABLE = ("bank_reference", "reference", "destination", "accepted_at")
_LEASE = "reconciler"
_FOLLOWING_S = 4.0


class WithdrawalRow(NamedTuple):
    """A withdrawal as our books have it, to be compared with the bank's."""

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
    """False of what was adopted from the bank's books, until its client has asked for it again."""

    @property
    def reference_text(self) -> str:
        """What the bank knows it by."""
        return reference_text(self.reference, self.id)


class DueLookUp(NamedTuple):
    """A withdrawal about which the bank is to be asked, and since when."""

    known: WithdrawalRow
    due_at: datetime


class ReconcilerSession:
    """One connection, opened again when it breaks. Methods raise `db.errors.CONNECTION_ERRORS`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redrive_interval = timedelta(milliseconds=settings.redrive_after_ms)
        self._connection: Any = None
        # Renewed at each beat: where beats are far apart, so is everything else.
        self._lapses_s = max(LAPSES_S, 3 * settings.reconcile_interval_ms / 1000)
        self._lease = Lease(_LEASE, lapses_s=self._lapses_s, leads_s=self._lapses_s * LEADS_S / LAPSES_S)

    async def lead(self) -> bool:
        """Connect if needed and tell whether this process is the one that reconciles now. Ask before each step."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._settings.database, command_timeout_s=_COMMAND_TIMEOUT_S)
        return await self._lease.hold(self._connection)

    @property
    def is_unled(self) -> bool:
        """Whether nobody has led for longer than it takes to follow somebody who is gone."""
        return self._lease.unled_s > self._lapses_s + _FOLLOWING_S

    async def give_up(self) -> None:
        """Let another one lead at once: this process ends."""
        with suppress(*DATABASE_ERRORS):
            if self._connection is not None and not self._connection.is_closed():
                await self._lease.give_up(self._connection)

    async def close(self) -> None:
        """Give up the connection. The lead is kept, for as long as it lasts."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    @property
    def connection(self) -> Any:
        """The connection, once `lead` was called."""
        return self._connection

    async def bank_prefixes(self) -> frozenset[str]:
        """Return what the references of this stack begin with."""
        row = one(await self._connection.fetch(_SQL["bank_prefix"]))
        return frozenset(filter(None, (row["bank_prefix"], self._settings.bank_prefix)))

    async def redrive_due(self, limit: int) -> int:
        """Write outbox rows for up to `limit` withdrawals that should have been taken; return how many."""
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
        """Announce again all but those that somebody else is about to announce and does not commit.

        They can't be seen, only run into. So all are put off first, as if they had been announced: the next beat begins
        behind them.
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
                log.warning("not_rung", withdrawal_id=row["id"], user_id=row["user_id"])
            else:
                announced += rows_of(status, "INSERT 0")
        return announced

    async def release_matured(self) -> int:
        """Write the releases of some locks whose time has come; return how many."""
        return await release_matured(self._connection)

    async def count_open(self) -> dict[str, int]:
        """Return how many withdrawals have not ended, by status."""
        rows = await self._connection.fetch(_WITHDRAWALS["count_open"])
        return {row["status"]: row["withdrawals"] for row in map(whole, rows)}

    async def outbox_depth(self) -> tuple[int, float]:
        """Return how many messages wait to be published, and the age of the oldest in seconds."""
        row = one(await self._connection.fetch(_OUTBOX["depth"]))
        return row["depth"], row["age_s"]

    async def bank_cursor(self) -> str | None:
        """Return how far the bank's books have been read."""
        after: str | None = one(await self._connection.fetch(_SQL["cursor"]), ("after",))["after"]
        return after

    async def advance_bank_cursor(self, after: str | None) -> None:
        """Remember how far the bank's books have been read; None: read them from the start."""
        require_tag(await self._connection.execute(_SQL["advance"], after), "UPDATE 1")

    async def by_references(self, references: Sequence[UUID]) -> dict[str, WithdrawalRow]:
        """Return those of the withdrawals that we know, by the text of their reference."""
        rows = await self._connection.fetch(_SQL["by_references"], list(references))
        return {known.reference_text: known for known in map(_known, rows)}

    async def requiring_attention(self, after: UUID | None, limit: int) -> list[WithdrawalRow]:
        """Return a page of withdrawals that require attention, after an identifier."""
        rows = await self._connection.fetch(_SQL["requiring_attention"], after, limit)
        return [_known(row) for row in rows]

    async def looked_up(self, ids: Sequence[UUID]) -> None:
        """Write down that the bank was asked about these now, and has answered."""
        rows_of(await self._connection.execute(_SQL["looked_up"], list(ids)), "UPDATE")

    # --- Look-ups ---

    async def look_up_open(self, limit: int) -> int:
        """Have the bank asked about what is open and may be known to it: while payouts are paused, or history was lost.

        Returns how many that are now.
        """
        return rows_of(await self._connection.execute(_SQL["look_up_open"], limit), "INSERT 0")

    async def look_up_soon(self, withdrawals: Sequence[WithdrawalRow]) -> None:
        """Have the bank asked about these."""
        ids, users = zip(*((known.id, known.user_id) for known in withdrawals), strict=True)
        rows_of(await self._connection.execute(_SQL["look_up_soon"], ids, users), "INSERT 0")

    async def look_ups_due(self, limit: int) -> list[DueLookUp]:
        """Return some that are due, the oldest first."""
        rows = await self._connection.fetch(_SQL["look_ups_due"], limit)
        return [DueLookUp(WithdrawalRow(*whole(row, _NULLABLE)[:-1]), row[-1]) for row in rows]

    async def look_ups_done(self, done: Sequence[DueLookUp]) -> None:
        """Forget these, unless they have come due anew since they were read."""
        rows_of(await self._connection.execute(_SQL["look_ups_done"], *_rows(done)), "DELETE")

    async def look_ups_missed(self, missed: Sequence[DueLookUp]) -> None:
        """Have these asked about again later: the bank gave no answer, or it could not be written down."""
        rows_of(await self._connection.execute(_SQL["look_ups_missed"], *_rows(missed)), "UPDATE")


async def told(reader: Reader, reference: UUID) -> int:
    """Write down that the bank called back about a reference; return how many withdrawals have it.

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
