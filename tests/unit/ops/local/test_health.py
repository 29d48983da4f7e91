"""Waiting for a program ends if it exits again and again, but not if it was restarted long ago."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ops.errors import OpsError
from ops.local import health
from ops.local.progress import Progress
from ops.state import StateDir, write_json


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = StateDir(tmp_path)
    state.create()
    return state


def after(looks: int, meanwhile: Callable[[], None]) -> Callable[[], bool]:
    """Return a condition that becomes true at the last of this number of looks; `meanwhile` happens at each."""
    left = iter(range(looks - 1, -1, -1))

    def ready() -> bool:
        meanwhile()
        return next(left) == 0

    return ready


def started(state: StateDir, count: int) -> None:
    """Record this number of starts of the relay, as ops.local.launch does."""
    write_json(state.run / "relay.starts.json", {"at": 0.0, "count": count})


def test_earlier_starts_do_not_count(state: StateDir) -> None:
    """Goal: a program that was killed fifty times in a long run may still be waited for."""
    started(state, 50)
    health.wait_for_server(state, "relay", after(3, lambda: None), 10, Progress())


def test_a_program_that_keeps_ending_is_given_up(state: StateDir) -> None:
    """Goal: started five times while we wait, it does not come up by itself: say so, long before the time is up."""
    starts = iter(range(1, 100))
    with pytest.raises(OpsError, match="ends as soon as it is started"):
        health.wait_for_server(
            state, "relay", after(90, lambda: started(state, next(starts))), 60, Progress()
        )
