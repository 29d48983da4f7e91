"""The held lane: requests that need rows locked by another session wait here, so that no batch waits for them.

If a batch waited for a lock, it goes on without the requests that need held rows. Those come here, and later requests
for the same rows do too. The lane checks, on a connection of its own and without waiting, whether the rows are free
again. Requests for free rows go back to the batches; requests that have waited long enough are refused as unavailable.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from db.completions import resolve
from db.connections import autocommit, connect
from db.errors import LOCKED, fault_of, translate
from db.last_writes import LastWrites
from db.sql import load
from db.strict import whole
from runtime.slices import BatchSettings, DatabaseSettings
from runtime.tasks import SupervisedTask, SupervisedTasks
from runtime.telemetry import log
from wallet.adjustments import Adjust
from wallet.commands import LedgerCommand, wallets_of
from wallet.errors import Overloaded, Unavailable
from wallet.follow_up_commands import CaptureHold, FollowUp, VoidHold, subject_of, subjects_of
from wallet.ledger import WalletId

Request = TypeVar("Request")
Answer = TypeVar("Answer")

HeldElsewhere = Callable[[Any, Sequence[Request]], Awaitable[Sequence[Collection[Hashable]]]]
"""Returns for each request, without waiting, the locks among those it needs that another session has."""

NamesOf = Callable[[Request], tuple[Sequence[Hashable], Hashable]]
"""The locks that a request needs: those that a query can check, and one that only an attempt meets (a key in use)."""


class _Move(Protocol):
    @property
    def withdrawal_id(self) -> UUID:
        """The withdrawal concerned."""


HELD_MAX = 1_024
"""Number of locks remembered as held."""
LOOK_INTERVAL_S = 0.025
IDLE_LOOK_INTERVAL_S = 0.5
"""Interval between looks while no request waits."""
KNOWN_PATIENCE_S = 0.1
"""Time that a request waits for a lock held for long: several looks, because working sessions lock the row too."""
BARRED_S_MIN = 2.0
BARRED_S_MAX = 30.0
"""Time for which requests are refused whose lock no query can check; then one batch tries it again."""


class _Held(Generic[Request, Answer]):
    __slots__ = ("one_of_them", "since", "waiting")

    def __init__(self, one_of_them: Request, since: float) -> None:
        self.one_of_them = one_of_them
        self.since = since
        self.waiting: list[tuple[Request, asyncio.Future[Answer], float]] = []
        """Each with its deadline, of the event loop's clock."""


class HeldLane(Generic[Request, Answer]):
    """The waiting room for requests that need rows locked by another session."""

    def __init__(
        self,
        kind: str,
        database: DatabaseSettings,
        batches: BatchSettings,
        tasks: SupervisedTasks,
        names_of: NamesOf[Request],
        held_elsewhere: HeldElsewhere[Request],
        hand_back: Callable[[Request, "asyncio.Future[Answer]"], None],
        last_writes: LastWrites,
    ) -> None:
        self._kind = kind
        self._database = database
        self._backlog_max = batches.backlog_max
        self._tasks = tasks
        self._names_of = names_of
        self._held_elsewhere = held_elsewhere
        self._hand_back = hand_back
        self._last_writes = last_writes
        self._patience_s = database.lock_timeout_ms / 1000
        self._held: dict[Hashable, _Held[Request, Answer]] = {}
        self._barred: dict[Hashable, tuple[float, float]] = {}
        """The end of each bar, and the length of the next one."""
        self._waiting = 0
        self._wake = asyncio.Event()
        self._connection: Any = None
        self._task: SupervisedTask | None = None

    def start(self) -> None:
        """Begin to look. Needs a running event loop, but no server yet."""
        self._task = self._tasks.start(f"held-{self._kind}", self._run)

    async def stop(self) -> None:
        """Stop; refuse the requests that still wait."""
        if self._task is not None:
            await self._task.stop()
            self._task = None
        self._forget_all(Unavailable("the service is stopping", reason="stopping"))
        self._disconnect()

    @property
    def is_empty(self) -> bool:
        """True if no lock is known to be held, which is nearly always so."""
        return not self._held and not self._barred

    def takes(self, request: Request, future: "asyncio.Future[Answer]") -> bool:
        """Let a request wait here, or refuse it, if it needs a lock known to be held. Raises Overloaded.

        Return False if it needs none.
        """
        seen, met = self._names_of(request)
        for name in seen:
            if name in self._held:
                self.add(name, request, future)
                return True
        until, _ = self._barred.get(met, (0.0, 0.0))
        if until > asyncio.get_running_loop().time():
            resolve(future, _refusal())
            return True
        return False

    def add(self, name: Hashable, request: Request, future: "asyncio.Future[Answer]") -> None:
        """Let a request wait here for the lock `name`, found held. Raises Overloaded if too many requests wait."""
        now = asyncio.get_running_loop().time()
        held = self._held.get(name)
        if self._waiting >= self._backlog_max or (held is None and len(self._held) >= HELD_MAX):
            raise Overloaded("too many requests wait for what is locked")
        if held is None:
            held = self._held[name] = _Held(request, now)
            log.warning("held_elsewhere", kind=self._kind, what=name)
        known = now - held.since > self._patience_s
        held.waiting.append((request, future, now + (KNOWN_PATIENCE_S if known else self._patience_s)))
        self._waiting += 1
        self._wake.set()

    def bar(self, request: Request) -> None:
        """Refuse requests like this one for a while: a batch had to wait for a lock that no query can check."""
        now = asyncio.get_running_loop().time()
        self._barred = {name: bar for name, bar in self._barred.items() if bar[0] + BARRED_S_MAX > now}
        if len(self._barred) < HELD_MAX:
            _, name = self._names_of(request)
            _, pause_s = self._barred.get(name, (0.0, BARRED_S_MIN))
            self._barred[name] = (now + pause_s, min(2 * pause_s, BARRED_S_MAX))
            log.warning("barred", kind=self._kind, what=name, for_s=pause_s)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            if not self._held:
                await self._wake.wait()
            try:
                async with asyncio.timeout(self._database.write_timeout_ms / 1000):
                    await self._look()
            except Exception as error:
                log.warning("held_not_looked_at", kind=self._kind, fault=fault_of(error).name)
                self._disconnect()
                self._forget_all(translate(error) or error)
                raise
            await self._pause()

    async def _pause(self) -> None:
        if self._waiting:
            await asyncio.sleep(LOOK_INTERVAL_S)
            return
        try:
            async with asyncio.timeout(IDLE_LOOK_INTERVAL_S):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _look(self) -> None:
        """Hand back the requests whose lock is free again, and refuse those that have waited long enough."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._database)
        names = list(self._held)
        async with autocommit(self._connection):
            still = await self._held_elsewhere(
                self._connection, [self._held[name].one_of_them for name in names]
            )
        now = asyncio.get_running_loop().time()
        for name, held_names in zip(names, still, strict=True):
            is_held = name in held_names
            held = self._held[name]
            if not is_held:
                del self._held[name]
            waiting, held.waiting = held.waiting, []
            for request, future, until in waiting:
                if is_held and until > now and not future.done():
                    held.waiting.append((request, future, until))
                    continue
                self._waiting -= 1
                if is_held:
                    refusal = _refusal()
                    self._last_writes.failed_alone(type(request), name, refusal)
                    resolve(future, refusal)
                else:
                    self._hand_back(request, future)

    def _forget_all(self, error: Exception) -> None:
        held, self._held, self._waiting = self._held, {}, 0
        for one in held.values():
            for _, future, _ in one.waiting:
                resolve(future, error)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _refusal() -> Unavailable:
    return Unavailable("somebody else keeps a lock; send the same request again", reason=LOCKED)


async def held_wallets(connection: Any, commands: Sequence[LedgerCommand]) -> list[set[Hashable]]:
    """Return for each command those of its wallets that another session has locked."""
    wanted = [set(wallets_of(command)) for command in commands]
    held = await _held_of_wallets(connection, set().union(*wanted))
    return [{id for id in ids if id in held} for ids in wanted]


async def held_follow_ups(connection: Any, commands: Sequence[FollowUp]) -> list[set[Hashable]]:
    """Return for each command what it is about, if another session has locked a wallet of that."""
    return [await _held_subject(connection, command) for command in commands]


async def _held_subject(connection: Any, command: FollowUp) -> set[Hashable]:
    holds, charges, transfers = subjects_of([command])
    rows = await connection.fetch(load("follow_ups")["find"], holds, charges, transfers)
    ids = {(row["user_id"], row["currency"]) for row in rows}
    if isinstance(command, Adjust):
        ids.add(command.wallet)
    if isinstance(command, CaptureHold):
        ids |= {(user_id, currency) for user_id in command.payees() for _, currency in list(ids)}
    return {subject_of(command)} if ids and await _held_of_wallets(connection, ids) else set()


async def _held_of_wallets(connection: Any, ids: Collection[WalletId]) -> set[WalletId]:
    rows = await connection.fetch(load("ledger")["held_elsewhere"], *zip(*ids, strict=True))
    free = {(row["user_id"], row["currency"]) for row in rows if whole(row)["free"]}
    return {(row["user_id"], row["currency"]) for row in rows} - free


async def held_withdrawals(connection: Any, moves: Sequence[_Move]) -> list[set[Hashable]]:
    """Return for each transition its withdrawal, if another session has locked that."""
    return await _held_of(load("withdrawals")["held_elsewhere"], connection, moves)


async def held_withdrawals_or_wallets(connection: Any, moves: Sequence[_Move]) -> list[set[Hashable]]:
    """Return for each transition its withdrawal, if another session has locked that, or the withdrawal's wallet."""
    return await _held_of(load("withdrawals")["held_elsewhere_with_wallets"], connection, moves)


async def _held_of(statement: str, connection: Any, moves: Sequence[_Move]) -> list[set[Hashable]]:
    rows = await connection.fetch(statement, [move.withdrawal_id for move in moves])
    held = {whole(row)["id"] for row in rows}
    return [held & {move.withdrawal_id} for move in moves]


def names_of_command(command: LedgerCommand) -> tuple[Sequence[Hashable], Hashable]:
    """Return the locks that a command needs: its wallets, and its key, which no other sees before the commit."""
    return wallets_of(command), (command.space, command.key)


def names_of_follow_up(command: FollowUp) -> tuple[Sequence[Hashable], Hashable]:
    """Return the locks that a command needs: what it is about (its wallets are checked with it), and its key."""
    subject = subject_of(command)
    return (subject,), subject if isinstance(command, VoidHold) else (command.space, command.key)


def names_of_transition(move: _Move) -> tuple[Sequence[Hashable], Hashable]:
    """Return the lock that a transition needs: its withdrawal. (Its wallet, unknown here, is checked with it.)"""
    return (move.withdrawal_id,), move.withdrawal_id
