"""Frozen is dead: what does not beat is killed and started again, and nothing else is."""

import os
import signal
import time

import psutil
import pytest

from ops import processes
from tests.polling import keeps, poll_until
from tests.service import Service

BACK_MAX_S = 15.0
SLACK_S = 2.5  # the machine is shared
OURS = ("gateway", "relay", "actors", "reconciler", "bank_sim")


def pids_of_ours(service: Service) -> dict[str, list[int]]:
    return {kind: service.stack.pids(kind) for kind in OURS}


def watchdogs(service: Service) -> list[processes.Identity]:
    found = [processes.recorded(service.stack.state, f"watchdog_{number}") for number in (1, 2)]
    return [identity for identity in found if identity is not None]


async def test_all_frozen_at_once(service: Service) -> None:
    """Goal: SIGSTOP of every process of ours, and of a watchdog: others take their places within 15 s."""
    await service.charge(100)

    async def freeze_all() -> float:
        before = pids_of_ours(service)
        [watchdog, _] = watchdogs(service)
        started = time.monotonic()
        for pid in (watchdog.pid, *(pid for pids in before.values() for pid in pids)):
            os.kill(pid, signal.SIGSTOP)

        def all_new() -> bool:
            now = pids_of_ours(service)
            return all(
                len(now[kind]) == len(before[kind]) and not set(now[kind]) & set(before[kind])
                for kind in OURS
            )

        await poll_until(all_new, interval_s=0.2)
        took = time.monotonic() - started
        await poll_until(lambda: len(watchdogs(service)) == 2 and not watchdog.alive(), interval_s=0.2)
        return took

    await keeps(BACK_MAX_S + SLACK_S, freeze_all)
    id_ = await service.withdraw(10)
    assert await service.ends(id_) == "completed"
    await service.audit()


@pytest.mark.parametrize("server", ["postgres", "rabbitmq"])
async def test_who_waits_for_a_server_beats(service: Service, server: str) -> None:
    """Goal: with PostgreSQL or RabbitMQ away for longer than a silence may last, nobody is killed."""
    before = pids_of_ours(service)
    born = min(psutil.Process(pid).create_time() for pids in before.values() for pid in pids)
    await service.stop(server)
    away_since = time.monotonic()
    await poll_until(lambda: time.monotonic() - away_since > 13, interval_s=0.5)
    assert pids_of_ours(service) == before
    assert min(psutil.Process(pid).create_time() for pids in before.values() for pid in pids) == born
    await service.start(server)
