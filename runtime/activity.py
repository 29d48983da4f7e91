"""What this process does, counted for the console's charts; its heartbeat adds the counts to the database."""

from collections.abc import Mapping
from typing import NamedTuple


class Done(NamedTuple):
    """How often something was done, and how many seconds it took in all."""

    number: int
    seconds: float = 0.0


class ActivityCounter:
    """Counts until somebody takes the counts."""

    def __init__(self) -> None:
        self._done: dict[str, Done] = {}

    def count(self, what: str, number: int = 1, seconds: float = 0.0) -> None:
        """Count something that was done `number` times and took `seconds` in all."""
        before = self._done.get(what)
        self._done[what] = (
            Done(number, seconds)
            if before is None
            else Done(before.number + number, before.seconds + seconds)
        )

    def take(self) -> Mapping[str, Done]:
        """Return the counts since the last call, and begin anew."""
        done, self._done = self._done, {}
        return done

    def put_back(self, done: Mapping[str, Done]) -> None:
        """Count again what was taken and could not be written."""
        for what, (number, seconds) in done.items():
            self.count(what, number, seconds)


ACTIVITY = ActivityCounter()
"""The counter of this process."""
