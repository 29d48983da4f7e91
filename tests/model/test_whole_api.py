"""The whole service against a simple model, on a real stack: any calls in any order."""

import asyncio
import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from ops.local.stack import Stack
from tests.model.transfer_machine import TransferMachine
from tests.service import Service, make_whole

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_any_calls_in_any_order(stack: Stack) -> None:
    """Goal: whatever a client does, every answer and every balance is what the model says, and the audit agrees."""
    make_whole(stack)
    with asyncio.Runner() as runner:
        opened = Service.of(stack)
        service = runner.run(opened.__aenter__())
        runner.run(service.faults())

        class Machine(TransferMachine):
            """The machine on this stack."""

        Machine.runner, Machine.service = runner, service
        try:
            run_state_machine_as_test(
                Machine,
                settings=settings(
                    max_examples=200 if THOROUGH else 12,
                    stateful_step_count=60 if THOROUGH else 30,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
            report = runner.run(service.audit())
        finally:
            runner.run(opened.__aexit__(None, None, None))
    for what in ("withdrawals", "legs", "holds", "reversals"):
        assert report.findings.checked[what] > 0, what
