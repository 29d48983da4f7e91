"""What all consumers of the sequence of events have in common: they follow it, and somebody may wait for them."""

import asyncio
from abc import ABC, abstractmethod
from typing import ClassVar

from lab.chaos.history import HistoryWriter


class Consumer(ABC):
    """Follows the sequence, and records what it is told."""

    name: ClassVar[str]

    def __init__(self, history: HistoryWriter) -> None:
        self._history = history
        self._moved = asyncio.Event()

    @property
    @abstractmethod
    def after(self) -> int | None:
        """The number up to which it has everything; None: it was told nothing yet."""

    @abstractmethod
    async def follow(self) -> None:
        """Follow the sequence for ever."""

    async def reach(self, number: int) -> None:
        """Wait until it has everything up to this number. For one who waits at a time."""
        while (self.after or 0) < number:
            self._moved.clear()
            await self._moved.wait()
