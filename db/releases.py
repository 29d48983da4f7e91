"""Releases apart from requests: money whose `release_at` has come moves from locked to available in the ledger.

Correctness does not depend on this, because every read and every decision counts matured locks by itself. If a
withdrawal needs only a few releases, its batch writes them. If it needs many, it is set apart: the `ReleaseLane` writes
them on a connection of its own, step by step, while the ledger goes on with the other batches.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from db.completions import resolve
from db.connections import autocommit, connect
from db.errors import fault_of, translate
from db.sql import load
from db.strict import whole
from runtime.slices import DatabaseSettings
from runtime.tasks import SupervisedTask, SupervisedTasks
from runtime.telemetry import log
from wallet.commands import LedgerCommand
from wallet.decision import ReleasesNeeded
from wallet.errors import Overloaded, Unavailable
from wallet.follow_up_commands import FollowUp
from wallet.ledger import WalletId
from wallet.receipts import Recorded

_SQL = load("releases")

STEP_LOCKS = 1_000
"""Number of releases of one wallet per transaction, which locks the wallet for some 20 ms."""
STEP_LOCKS_MAX = 2**14
"""Number of identifiers that one instant has."""
WALLETS_MAX = 20
"""Number of wallets per background transaction."""

WAITING_MAX = 512
"""Number of requests that may be set apart at a time."""
GOALS_MAX = 4_096
"""Number of wallets with a goal at a time, whether or not a request still waits."""
PAUSE_S = 0.005
"""Pause before the next look if all wallets with a goal are locked."""


Waiting = LedgerCommand | FollowUp


class Step(NamedTuple):
    """The effect of one statement on one wallet."""

    locks: int
    """Number of locks that ended."""
    available: int
    """The resulting available balance, in minor units."""


async def release_oldest(
    connection: Any, ids: Sequence[WalletId], locks_max: int = STEP_LOCKS
) -> dict[WalletId, Step]:
    """Release the oldest matured locks of these wallets, up to a number per wallet, in a transaction of its own.

    Wallets that another session keeps locked are passed over and missing from the result.
    """
    assert locks_max <= STEP_LOCKS_MAX
    async with autocommit(connection):
        rows = await connection.fetch(_SQL["release_oldest"], *_columns(ids), locks_max)
    return {
        (row["user_id"], row["currency"]): Step(row["locks"], row["available"]) for row in map(whole, rows)
    }


async def release_matured(connection: Any, *, wallets_max: int = WALLETS_MAX) -> int:
    """Release the oldest matured locks of up to `wallets_max` wallets, up to a bound; return the number of ended locks.

    0 means that no lock has matured, except in wallets that another session keeps locked.
    """
    locked: set[WalletId] = set()
    while len(locked) < GOALS_MAX:
        rows = await connection.fetch(
            _SQL["wallets_with_matured_locks"], wallets_max, *_columns(sorted(locked))
        )
        ids = [(row["user_id"], row["currency"]) for row in map(whole, rows)]
        steps = await release_oldest(connection, ids, max(STEP_LOCKS // max(len(ids), 1), 1)) if ids else {}
        if released := sum(step.locks for step in steps.values()):
            return released
        locked.update(ids)
        if not ids:
            break
    return 0


class _Goal:
    """A wallet whose locks are released until `amount` is available or no matured lock is left."""

    __slots__ = ("amount", "waiting")

    def __init__(self) -> None:
        self.amount = 0
        self.waiting: list[tuple[Waiting, int, asyncio.Future[Recorded], float]] = []
        """Each with the amount that it needs, and with its deadline, of the event loop's clock."""


class ReleaseLane:
    """Writes the releases for withdrawals that were set apart, and hands these back to the ledger.

    Work on a goal continues until it is reached, even after the waiting requests have been refused. So every goal is
    reached, however long it takes.
    """

    def __init__(
        self,
        database: DatabaseSettings,
        tasks: SupervisedTasks,
        hand_back: Callable[[Waiting, "asyncio.Future[Recorded]"], None],
    ) -> None:
        self._database = database
        self._tasks = tasks
        self._hand_back = hand_back
        self._patience_s = database.write_timeout_ms / 1000
        self._goals: dict[WalletId, _Goal] = {}
        self._waiting = 0
        self._wake = asyncio.Event()
        self._connection: Any = None
        self._task: SupervisedTask | None = None

    def start(self) -> None:
        """Begin to work. Needs a running event loop, but no server yet."""
        self._task = self._tasks.start("release-lane", self._run)

    async def stop(self) -> None:
        """Stop; refuse the requests that still wait. Matured money stays withdrawable."""
        if self._task is not None:
            await self._task.stop()
            self._task = None
        self._give_up(Unavailable("the service is stopping", reason="stopping"))
        self._disconnect()

    def take(self, command: Waiting, needed: ReleasesNeeded, future: "asyncio.Future[Recorded]") -> None:
        """Let a request wait until the releases it needs are written. Raises Overloaded if too many wait."""
        if self._waiting >= WAITING_MAX or len(self._goals) >= GOALS_MAX:
            raise Overloaded("too many requests wait for matured locks")
        if self._task is None:
            raise Unavailable("the service is stopping", reason="stopping")
        goal = self._goals.setdefault(needed.wallet, _Goal())
        goal.amount = max(goal.amount, needed.amount)
        until = asyncio.get_running_loop().time() + self._patience_s
        goal.waiting.append((command, needed.amount, future, until))
        self._waiting += 1
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            if not self._goals:
                await self._wake.wait()
            try:
                worked = await self._step_each()
            except Exception as error:
                refusal = translate(error) or error
                log.warning(
                    "releases_failed", error=f"{type(error).__name__}: {error}", fault=fault_of(error).name
                )
                self._disconnect()
                self._give_up(refusal)
                raise
            self._answer_late()
            await asyncio.sleep(0 if worked else PAUSE_S)

    async def _step_each(self) -> bool:
        """Take a step for each goal, in turn. Return whether any wallet was not locked."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._database)
        worked = False
        for id in list(self._goals):
            async with asyncio.timeout(self._patience_s):
                steps = await release_oldest(self._connection, [id])
            if step := steps.get(id):
                worked = True
                self._advance(id, step)
        return worked

    def _advance(self, id: WalletId, step: Step) -> None:
        """Hand back the requests that can succeed now, or all if no matured lock is left."""
        goal = self._goals[id]
        waiting, goal.waiting = goal.waiting, []
        for command, amount, future, until in waiting:
            if step.available >= amount or step.locks == 0:
                self._waiting -= 1
                self._hand_back(command, future)
            else:
                goal.waiting.append((command, amount, future, until))
        if step.available >= goal.amount or step.locks == 0:
            del self._goals[id]

    def _answer_late(self) -> None:
        """Refuse the requests that have waited long enough as unavailable; their goals remain."""
        now = asyncio.get_running_loop().time()
        for goal in self._goals.values():
            late = [one for one in goal.waiting if one[3] <= now]
            if late:
                goal.waiting = [one for one in goal.waiting if one[3] > now]
                self._waiting -= len(late)
                for _, _, future, _ in late:
                    resolve(future, Unavailable("many locks have just matured", reason="releasing"))

    def _give_up(self, error: Exception) -> None:
        goals, self._goals, self._waiting = self._goals, {}, 0
        for goal in goals.values():
            for _, _, future, _ in goal.waiting:
                resolve(future, error)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _columns(ids: Sequence[WalletId]) -> tuple[list[str], list[str]]:
    return [user_id for user_id, _ in ids], [currency for _, currency in ids]
