"""What /health makes of the heartbeats."""

from typing import Any

import pytest

from db.heartbeats import Heartbeat
from gateway.routes.health import judge


def beat(kind: str, age_s: float = 1.0, **detail: Any) -> Heartbeat:
    return Heartbeat(kind, f"host:{kind}", age_s, detail)


def statuses(*beats: Heartbeat) -> dict[str, str]:
    return {name: dependency.status for name, dependency in judge(list(beats)).items()}


def test_nothing_runs() -> None:
    """Goal: without heartbeats the processes are down, and of what only they know nothing is known."""
    assert statuses() == {
        "rabbitmq": "unknown",
        "relay": "down",
        "actors": "down",
        "reconciler": "down",
        "bank": "unknown",
    }


def test_all_well() -> None:
    """Goal: what the processes say well of is ok."""
    found = statuses(beat("relay", rabbitmq="ok"), beat("actors", bank="ok"), beat("reconciler"))
    assert set(found.values()) == {"ok"}


def test_a_silent_process() -> None:
    """Goal: a process that has not been heard of for three beats counts as gone, with all that it said."""
    found = statuses(beat("relay", age_s=11, rabbitmq="ok"), beat("actors", bank="ok"), beat("reconciler"))
    assert found["relay"] == "down"
    assert found["rabbitmq"] == "unknown"


@pytest.mark.parametrize("word", ["away", "down"])
def test_away(word: str) -> None:
    """Goal: what all who should know say is away is down; if one still reaches it, it is not."""
    assert statuses(beat("actors", bank=word))["bank"] == "down"
    assert statuses(beat("actors", bank=word), beat("actors", bank="ok"))["bank"] == "ok"
