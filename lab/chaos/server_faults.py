"""Faults of the servers: locked tables, a database that is read-only or full of sessions, poison in the queue.

They strike the servers that the stack depends on, not its processes. A fault that could not be made (because the server
was down already) does not count.
"""

import asyncio
from random import Random
from typing import Any

import pika.exceptions

from db.errors import DATABASE_ERRORS
from lab.chaos import database
from lab.chaos.poison import POISON, publish
from lab.chaos.schedule import PlannedFault

HEAL_TRIES_MAX = 60
HEAL_WAIT_S = 0.5
CLOCK_STEPS_S = (2.0, 20.0, 3600.0)
CANCELS_A_SECOND = 5


class ServerFaults:
    """Makes and undoes these faults. Each method returns a description, or None if the fault was not possible."""

    def __init__(self, database_url: str, rabbitmq_url: str) -> None:
        self._database_url = database_url
        self._rabbitmq_url = rabbitmq_url
        self._one_at_a_time = asyncio.Lock()
        """For faults that change a setting of the server: each ends before the next begins."""

    async def hold(self, fault: PlannedFault, random: Random) -> str | None:
        """Keep a table locked, like a migration."""
        try:
            await database.hold_table(self._database_url, fault.target, fault.lasts_s)
        except DATABASE_ERRORS:
            return None
        return f"for {fault.lasts_s:.1f} s"

    async def database(self, fault: PlannedFault, random: Random) -> str | None:
        """Make the database fault that `fault.target` names."""
        act = getattr(self, f"_{fault.target}")
        try:
            detail: str | None = await act(fault, random)
        except DATABASE_ERRORS:
            return None
        return detail

    async def poison(self, fault: PlannedFault, random: Random) -> str | None:
        """Put a message into the queue that cannot be understood."""
        try:
            await asyncio.to_thread(publish, self._rabbitmq_url, POISON[fault.target])
        except (OSError, pika.exceptions.AMQPError):
            return None
        return ""

    async def heal(self) -> bool:
        """Undo all faults that still last. Return False if the database does not allow it."""
        async with self._one_at_a_time:
            return await self._undo(database.set_read_only, False) and await self._undo(
                database.set_clock_back, 0.0
            )

    async def _read_only(self, fault: PlannedFault, random: Random) -> str | None:
        async with self._one_at_a_time:
            await self._for_a_while(database.set_read_only, True, False, fault.lasts_s)
        return f"for {fault.lasts_s:.1f} s"

    async def _clock_back(self, fault: PlannedFault, random: Random) -> str | None:
        step_s = random.choice(CLOCK_STEPS_S)
        async with self._one_at_a_time:
            await self._for_a_while(database.set_clock_back, step_s, 0.0, fault.lasts_s)
        return f"by {step_s:.0f} s for {fault.lasts_s:.1f} s"

    async def _connections(self, fault: PlannedFault, random: Random) -> str | None:
        held = await database.use_up_connections(self._database_url, fault.lasts_s)
        return f"{held} held for {fault.lasts_s:.1f} s"

    async def _cancelled(self, fault: PlannedFault, random: Random) -> str | None:
        rounds = max(1, int(fault.lasts_s * CANCELS_A_SECOND))
        for _ in range(rounds):
            await database.cancel_queries(self._database_url)
            await asyncio.sleep(1 / CANCELS_A_SECOND)
        return f"{rounds} times"

    async def _ended(self, fault: PlannedFault, random: Random) -> str | None:
        return f"{await database.end_sessions(self._database_url)} sessions"

    async def _for_a_while(self, act: Any, trouble: bool | float, none: bool | float, seconds: float) -> None:
        """Make a fault and undo it. A fault that was only half made, because the server went away, is undone too."""
        try:
            await act(self._database_url, trouble)
            await asyncio.sleep(seconds)
        except DATABASE_ERRORS:
            pass
        finally:
            await self._undo(act, none)

    async def _undo(self, act: Any, argument: bool | float) -> bool:
        """Try until it succeeds: the server may be down for another reason."""
        for _ in range(HEAL_TRIES_MAX):
            try:
                await act(self._database_url, argument)
            except DATABASE_ERRORS:
                await asyncio.sleep(HEAL_WAIT_S)
            else:
                return True
        return False
