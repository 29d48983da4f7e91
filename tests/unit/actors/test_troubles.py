"""What a background process says that it can't do."""

import asyncpg

from actors.troubles import Troubles


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_lasts_is_told_and_over_once_it_goes_well() -> None:
    """Goal: what fails again and again for some seconds is told with its reason; once it goes well, or is forgotten,
    it is not."""
    clock = Clock()
    troubles = Troubles(clock=clock)
    locked = asyncpg.LockNotAvailableError("canceling statement due to lock timeout")
    troubles.failed("lead", locked)
    clock.now += 10
    assert troubles.detail() == {}, "once is no trouble"
    troubles.failed("lead", locked)
    assert troubles.detail() == {"trouble": "lead: database_locked"}
    troubles.went_well("measure")
    assert troubles.detail() != {}
    troubles.went_well("lead")
    assert troubles.detail() == {}
    for _ in range(3):
        troubles.failed("redrive", ZeroDivisionError("a secret"))
    assert troubles.detail() == {}, "not yet"
    clock.now += 3
    assert troubles.detail() == {"trouble": "redrive: own_fault"}
    troubles.forget()
    assert troubles.detail() == {}
