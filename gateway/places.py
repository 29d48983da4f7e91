"""Places for those who wait: bounded in all, and shared fairly."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Places:
    """The places of one process.

    No client may have more of them than are left, so however many one takes, there are some for another.
    """

    def __init__(self, places_max: int) -> None:
        self._places_max = places_max
        self._by_client: Counter[str | None] = Counter()
        self.taken = 0

    def has_room(self, client: str | None) -> bool:
        """Return whether there is a place for this client."""
        return self._by_client[client] < self._places_max - self.taken

    @contextmanager
    def take(self, client: str | None) -> Iterator[bool]:
        """Take a place for the length of the block, if there is one; yield whether there was."""
        if not self.has_room(client):
            yield False
            return
        self.taken += 1
        self._by_client[client] += 1
        try:
            yield True
        finally:
            self.taken -= 1
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]
