"""A bound on the bytes of bodies and responses that one gateway process holds in memory, over all connections.

What a connection holds up to FREE_BYTES is not counted: connections are bounded. Of the rest, no owner (an address or
an API key) may have more than what is left for the others, so there is always room for another one.
"""

from collections import Counter

from runtime.telemetry import MEMORY_REFUSALS, log
from runtime.throttle import Throttle

FREE_BYTES = 8 * 1024
"""Nearly all bodies and responses are shorter, and so is every head."""
BODY_COST = 4
"""A body costs so many times its length while it is worked on: itself, what was read from it, and the response."""


class MemoryBudget:
    """The bytes that may be held, and who holds how many."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._by_owner: Counter[str] = Counter()
        self.used = 0
        self._throttle = Throttle()

    def has_room(self, owner: str, size: int) -> bool:
        """Tell whether the owner may hold so many bytes more. If not, count that."""
        if self._by_owner[owner] + size <= self._bytes_max - self.used - size:
            return True
        MEMORY_REFUSALS.inc()
        if self._throttle.lets_through():
            log.warning("memory_refused", owner=owner, used=self.used, left_out=self._throttle.left_out)
        return False

    def add(self, owner: str, size: int) -> None:
        """Count bytes that are held, or were (`size` < 0)."""
        self.used += size
        self._by_owner[owner] += size
        if not self._by_owner[owner]:
            del self._by_owner[owner]


class Hold:
    """What one request or connection holds of the budget."""

    __slots__ = ("_budget", "_owner", "size")

    def __init__(self, budget: MemoryBudget, owner: str) -> None:
        self._budget = budget
        self._owner = owner
        self.size = 0

    def grow(self, size: int) -> bool:
        """Hold at least `size` bytes from now on. Return False if there is no room; then nothing has changed."""
        more = size - self.size
        if more > 0:
            if not self._budget.has_room(self._owner, more):
                return False
            self._budget.add(self._owner, more)
            self.size = size
        return True

    def shrink(self, size: int = 0) -> None:
        """Hold at most `size` bytes from now on."""
        if size < self.size:
            self._budget.add(self._owner, size - self.size)
            self.size = size
