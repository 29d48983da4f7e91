"""A short attack on a stack of its own (docs/SECURITY.md has the figures of a long one)."""

from pathlib import Path

import pytest

from lab.attack import waves
from lab.attack.campaign import attack
from ops.local.progress import Progress

SEED = 20261127


@pytest.mark.thorough
@pytest.mark.slow
def test_a_short_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: hostile requests are answered, none with 500, nobody gets what is another's, all processes live on."""
    monkeypatch.setattr(waves, "ROUNDS", 1)  # it takes half the time; the shares are not looked at here
    report = attack(tmp_path / "attack", SEED, shots=700, slow=100, progress=Progress())
    assert report.faults() == []
    sent = {wave.name: sum(wave.statuses.values()) for wave in report.waves}
    assert all(number > 0 for number in sent.values())
    assert all(
        wave.bystander.get("200") for wave in report.waves[:-1]
    )  # the last one attacks through the bank
