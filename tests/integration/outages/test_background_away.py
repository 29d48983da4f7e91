"""What withdrawals need later is away: they are accepted all the same, and end once it is back."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from ops.local.stack import Stack
from tests.polling import poll_until
from tests.service import INTERVAL_S, Service, Split


def rabbitmqctl(stack: Stack, *words: str) -> None:
    """Run rabbitmqctl on the stack's own node."""
    assert stack.servers is not None
    node = stack.servers.rabbitmq
    if node is None or node.container:
        pytest.skip("the node is not one whose rabbitmqctl we can call")
    environment = {**os.environ, **node.environment}
    environment.pop("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS")  # they are for the node
    command = Path(node.argv[0]).with_name("rabbitmqctl")
    ran = subprocess.run(
        [command, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


async def health(service: Service, part: str) -> str:
    """Return how /health finds a part of the service; the service itself must be taking requests."""
    answer = await service.call("GET", "/health")
    assert answer.status == 200
    return str(answer.json["dependencies"][part]["status"])


async def accept_and_end(service: Service, ids: list[str]) -> None:
    """Assert that withdrawals end, each paid once."""
    assert await service.all_end(ids) == ["completed"] * len(ids)
    paid = await service.paid(ids)
    assert all(paid[id_] == [10] for id_ in ids)
    await service.audit()


async def test_a_rabbitmq_that_takes_nothing(service: Service) -> None:
    """Goal: while RabbitMQ lacks memory and blocks publishers, withdrawals are accepted, and end after the alarm."""
    await service.charge(400)
    await asyncio.to_thread(rabbitmqctl, service.stack, "set_vm_memory_high_watermark", "0.00001")
    try:
        ids = [await service.withdraw(10) for _ in range(20)]

        async def is_noticed() -> bool:
            return await health(service, "rabbitmq") == "down"

        await poll_until(is_noticed, interval_s=INTERVAL_S)
        ids += [await service.withdraw(10) for _ in range(20)]
        assert await service.split() == Split(0, held=400)
    finally:
        await asyncio.to_thread(rabbitmqctl, service.stack, "set_vm_memory_high_watermark", "0.4")
    await accept_and_end(service, ids)


@pytest.mark.parametrize("kind", ["relay", "actors", "reconciler", "bank_sim"])
async def test_a_kind_of_process_away(service: Service, kind: str) -> None:
    """Goal: without relay, actors, reconciler or bank withdrawals are accepted; they end once it is back."""
    await service.charge(200)
    await service.stop(kind)
    ids = [await service.withdraw(10) for _ in range(20)]
    if kind != "reconciler":  # which is needed for what goes wrong only
        assert await service.split() == Split(0, held=200)
    await asyncio.to_thread(service.stack.start_kind, kind)
    await accept_and_end(service, ids)


async def test_everything_behind_the_gateway_away(service: Service) -> None:
    """Goal: with all four away at once, and started in the worst order, the same."""
    await service.charge(200)
    await service.stop("relay", "actors", "reconciler", "bank_sim")
    ids = [await service.withdraw(10) for _ in range(20)]
    for kind in ("actors", "relay", "reconciler", "bank_sim"):
        await asyncio.to_thread(service.stack.start_kind, kind)
    await accept_and_end(service, ids)
