"""`wbs bank check` on the simulator as it is, on one with faults, and where there is no bank."""

import argparse
from pathlib import Path

import pytest

from ops import bank as bank_command
from runtime.settings import Settings
from tests.integration.actors.pipeline import Pipeline
from tests.integration.actors.processes import BankProcess
from tests.ports import free_port


def arguments(**given: object) -> argparse.Namespace:
    """What was typed, with the defaults for the rest."""
    usual = {"yes": False, "simulator": False, "amount": 1, "currency": None, "json": True}
    return argparse.Namespace(**{**usual, **given})


@pytest.mark.parametrize(
    "faults", [{}, {"seed": 5, "error_rate": 0.2, "lost_reply_rate": 0.2, "latency_ms": 5}]
)
async def test_the_simulator_passes(tmp_path: Path, faults: dict[str, float]) -> None:
    """Goal: our simulator does all that a bank must, also while it loses replies and fails."""
    process = BankProcess(tmp_path, {}).start()
    try:
        await process.faults(**faults)
        settings = Settings.from_env({"WBS_BANK_PORT": str(process.port)})
        scope = bank_command.scope_of(settings, arguments())
        assert scope.pays
        checks = await bank_command.check_bank(settings, scope, quiet=True)
        assert not [check for check in checks if not check.passed]
        assert len(checks) == 16
    finally:
        process.ensure_gone()


async def test_payouts_of_checks_are_no_discrepancy(pipeline: Pipeline) -> None:
    """Goal: the books are right after a check: its payouts belong to no withdrawal, and are known to be such."""
    pipeline.start(pipeline.bank)
    scope = bank_command.scope_of(pipeline.settings, arguments(yes=True))
    checks = await bank_command.check_bank(pipeline.settings, scope, quiet=True)
    assert any(check.passed for check in checks)
    assert await pipeline.bank.books()
    await pipeline.audit()


def test_only_the_own_simulator_is_paid_at_unasked() -> None:
    """Goal: a bank at any other address is asked to pay only where that was said."""
    settings = Settings.from_env({"WBS_BANK_URL": "https://bank.example", "WBS_BANK_PORT": "8999"})
    scope = bank_command.scope_of(settings, arguments())
    assert (scope.pays, scope.simulates) == (False, False)
    scope = bank_command.scope_of(settings, arguments(yes=True, amount=7, currency="EUR"))
    assert (scope.pays, scope.simulates, scope.amount, scope.currency) == (True, False, 7, "EUR")
    assert bank_command.scope_of(settings, arguments(simulator=True)).simulates


def test_a_bank_that_is_away(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Goal: a bank that can't be reached is exit code 2 and one sentence."""
    environment = {"WBS_BANK_URL": f"http://127.0.0.1:{free_port()}"}
    monkeypatch.setattr(bank_command, "running_environment", lambda *_: environment)
    assert bank_command.run(arguments()) == 2
    assert "not connected" in capsys.readouterr().err
