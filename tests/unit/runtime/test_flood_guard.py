"""An error that repeats itself a thousand times per second is told, and counted, and does not fill the disk."""

import logging

from runtime.throttle import FLOOD_EVENTS_MAX, FloodGuard


class Clock:
    """A clock that the test turns."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(event: str, level: int = logging.ERROR) -> logging.LogRecord:
    """Return a record as `EventLogger` makes them."""
    made = logging.LogRecord("wbs", level, "x.py", 1, event, (), None)
    made.ids = {"a": 1}
    return made


def test_the_first_ones_are_written_and_the_others_counted() -> None:
    """Goal: of a flood, some lines per second are written, and they say how many were not; others are as ever."""
    clock = Clock()
    guard = FloodGuard(3, clock=clock)
    assert [guard.filter(record("poison")) for _ in range(10)] == [True] * 3 + [False] * 7
    assert guard.filter(record("other"))
    assert guard.filter(record("poison", logging.WARNING)), "another level is another event"
    clock.now = 1.0
    told = record("poison")
    assert guard.filter(told)
    assert vars(told)["ids"] == {"a": 1, "not_logged": 7}
    again = record("poison")
    assert guard.filter(again)
    assert vars(again)["ids"] == {"a": 1}


def test_what_is_expected_always_passes() -> None:
    """Goal: only troubles are thinned out."""
    guard = FloodGuard(1, clock=Clock())
    assert all(guard.filter(record("started", logging.INFO)) for _ in range(5))


def test_its_memory_is_bounded() -> None:
    """Goal: messages with values in them, each of another text, don't fill the memory."""
    guard = FloodGuard(clock=Clock())
    for number in range(3 * FLOOD_EVENTS_MAX):
        guard.filter(record(f"library message {number}"))
    assert len(guard._seen) <= FLOOD_EVENTS_MAX
