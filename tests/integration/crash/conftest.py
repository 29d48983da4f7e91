"""A stage for each test of a crash."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest_asyncio

from tests.integration.actors.conftest import make_pipeline as make_pipeline  # a fixture
from tests.integration.actors.pipeline import Pipeline
from tests.integration.actors.processes import BankProcess
from tests.integration.crash.processes import Gateway
from tests.integration.crash.stage import Stage
from tests.ports import free_port

SECRET = "whsec_" + "c2VjcmV0" * 4


@pytest_asyncio.fixture
async def make_stage(
    tmp_path: Path, make_pipeline: Callable[..., Pipeline], rabbitmq_url: str
) -> AsyncIterator[Callable[..., Stage]]:
    """`make_stage(WBS_RETRY_ROUNDS="1", …)`: the whole service, nothing of it started yet."""
    made: list[Stage] = []

    def make(**environment: str) -> Stage:
        port = free_port()
        callbacks = {
            "WBS_CALLBACK_URL": f"http://127.0.0.1:{port}/bank/callbacks",
            "WBS_BANK_WEBHOOK_SECRET": SECRET,
        }
        bank = BankProcess(tmp_path, callbacks)
        pipeline = make_pipeline(
            rabbitmq_url, WBS_BANK_URL=bank.url, WBS_HTTP_PORT=str(port), **callbacks, **environment
        )
        pipeline.bank = bank
        made.append(Stage(tmp_path, pipeline, Gateway(tmp_path, pipeline.environment, port)))
        return made[-1]

    yield make
    for stage in made:
        stage.ensure_gone()


PATIENT = {"WBS_BANK_TIMEOUT_MS": "8000", "WBS_ROUND_DEADLINE_MS": "9000", "WBS_LEASE_MS": "24500"}
"""A bank call ends by itself, however busy the machine is, and no second round begins."""


UNHURRIED = {
    "WBS_BANK_CONNECT_TIMEOUT_MS": "2500",
    "WBS_BANK_TIMEOUT_MS": "2500",
    "WBS_ROUND_DEADLINE_MS": "2600",
    "WBS_LEASE_MS": "7700",
}
"""A bank call outlasts a stall of the machine, and yet a test can wait for the end of a lease."""


@pytest_asyncio.fixture
async def patient_stage(make_stage: Callable[..., Stage]) -> Stage:
    """The whole service with the bank running, for tests in which nobody waits for the end of a lease."""
    stage = make_stage(**PATIENT)
    stage.bank.start()
    return stage


@pytest_asyncio.fixture
async def stage(make_stage: Callable[..., Stage]) -> Stage:
    """The whole service with the bank running, and no faults at the bank."""
    stage = make_stage(**UNHURRIED)
    stage.bank.start()
    return stage
