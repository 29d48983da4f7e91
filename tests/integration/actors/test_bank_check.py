"""`wbs bank check` on the simulator as it is, on one with faults, and where there is no bank."""

import argparse
import asyncio
import dataclasses
import importlib
import pkgutil
from pathlib import Path

import pytest

import actors.bank
from actors.bank.conformance import Check
from actors.bank.protocol import PayoutOrder
from actors.bank.trial import Scope
from ops import bank as bank_command
from runtime.settings import Settings
from tests.integration.actors.pipeline import Pipeline
from tests.integration.actors.processes import BankProcess
from tests.integration.actors.wrong_bank import ENTRY, PAYOUT, WrongBank
from tests.ports import free_port


def arguments(**given: object) -> argparse.Namespace:
    """The given arguments, with defaults for the others."""
    usual = {"yes": False, "simulator": False, "amount": 1, "currency": None, "json": True, "patience": 60.0}
    return argparse.Namespace(**{**usual, **given})


def bank_modules() -> list[str]:
    """The modules that `WBS_BANK` may name."""
    names = [f"actors.bank.{module.name}" for module in pkgutil.iter_modules(actors.bank.__path__)]
    return [name for name in names if hasattr(importlib.import_module(name), "open_bank")]


@pytest.mark.parametrize("module", bank_modules())
@pytest.mark.parametrize(
    "faults", [{}, {"seed": 5, "error_rate": 0.2, "lost_reply_rate": 0.2, "latency_ms": 5}]
)
async def test_every_module_keeps_the_rules(tmp_path: Path, module: str, faults: dict[str, float]) -> None:
    """Goal: each module and our simulator do all that a bank must, also while it loses replies and fails."""
    process = BankProcess(tmp_path, {}).start()
    try:
        await process.faults(**faults)
        settings = Settings.from_env({"WBS_BANK": module, "WBS_BANK_PORT": str(process.port)})
        scope = bank_command.scope_of(settings, arguments())
        assert scope.pays
        checks = await bank_command.check_bank(settings, scope, quiet=True)
        assert not [check for check in checks if not check.passed]
        assert len(checks) == 25
    finally:
        process.ensure_gone()


def test_there_is_a_module_to_try() -> None:
    """Goal: the test before this one tries at least the module that is the default."""
    assert Settings().bank in bank_modules()


def hasty(url: str) -> tuple[Settings, Scope]:
    """A bank at this address that is not waited for: no rule is kept later."""
    environment = {"WBS_BANK_URL": url, "WBS_BANK_TIMEOUT_MS": "2000", "WBS_BANK_CONNECT_TIMEOUT_MS": "2000"}
    scope = Scope("USD", pays=True, simulates=False, patience_s=0.2, pause_s=0.01, call_s_max=2.0)
    return Settings.from_env(environment), scope


async def test_a_right_bank_behind_http() -> None:
    """Goal: what the wrong banks of the next tests are made of keeps all rules by itself."""
    async with WrongBank().serving() as url:
        settings, scope = hasty(url)
        scope = dataclasses.replace(scope, patience_s=30, simulates=True, later_ms=100)
        checks = await bank_command.check_bank(settings, scope, quiet=True)
        assert not [check for check in checks if not check.passed]


@pytest.mark.parametrize("kind", PAYOUT)
async def test_a_bank_that_says_it_wrongly(kind: str) -> None:
    """Goal: an answer that is not certainly the bank's word about the order is none, and no order is paid."""
    bank = WrongBank(payout=PAYOUT[kind])
    async with bank.serving() as url:
        checks = await bank_command.check_bank(*hasty(url), quiet=True)
        failed = {check.name: check.detail for check in checks if check.passed is False}
        assert "an order is paid" in failed
        assert len(failed["an order is paid"]) < 500
        assert not [check for check in checks if check.passed and "paid once" in check.name]


@pytest.mark.parametrize("kind", ENTRY)
async def test_a_bank_whose_books_are_wrong(kind: str) -> None:
    """Goal: an entry that differs from the order, or is unreadable, fails a rule about the books."""
    bank = WrongBank(entry=ENTRY[kind])
    bank.bank.take(PayoutOrder("before", 100, "USD"))
    async with bank.serving() as url:
        checks = await bank_command.check_bank(*hasty(url), quiet=True)
        assert [check for check in checks if check.passed is False and ("books" in check.name)], checks
        assert [check for check in checks if check.passed and check.name == "an order is paid"]


async def test_the_command_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Goal: one line for each rule, the reason behind those that are not kept, and exit code 1."""
    async with WrongBank(entry=ENTRY["another amount"]).serving() as url:
        monkeypatch.setattr(bank_command, "running_environment", lambda *_: {"WBS_BANK_URL": url})
        code = await asyncio.to_thread(bank_command.run, arguments(yes=True, json=False, patience=1.0))
    out = capsys.readouterr().out
    assert code == 1
    assert len(out.splitlines()) == 25 + 1
    assert "✗  the books tell what was ordered, to the minor unit: wbs-check-" in out
    assert "is 100 USD; 1 USD were ordered" in out
    assert out.endswith("16 of 17 passed; 8 not tried\n")


@pytest.mark.parametrize(("passed", "red"), [(True, False), (None, False), (False, True)])
def test_what_is_wrong_is_red(passed: bool | None, red: bool) -> None:
    """Goal: on a terminal, what fails stands out, and nothing else does."""
    check = Check("a rule", passed, "a reason")
    assert ("\033[31m" in bank_command.line_of(check, colour=True)) is red
    assert "\033" not in bank_command.line_of(check, colour=False)


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
