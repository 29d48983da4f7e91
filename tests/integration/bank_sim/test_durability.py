"""The books survive kill -9, SIGTERM and restarts."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sized
from functools import partial
from typing import Any

import aiohttp
import pytest

from tests.polling import poll_until


async def test_acknowledged_payouts_survive_kill_9(bank: Any, bank_process: Any) -> None:
    """Goal: three kills under load lose nothing that was answered and double nothing."""
    acknowledged: dict[str, str] = {}
    references = iter(range(1_000_000))

    async def payer() -> None:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            while True:
                reference = f"w-{next(references)}"
                status, body = await bank.pay(reference)
                assert status == 201
                acknowledged[reference] = body["payout_id"]

    for round_number in range(3):
        payers = [asyncio.create_task(payer()) for _ in range(32)]
        enough = len(acknowledged) + random.randint(50, 300)
        await poll_until(partial(_at_least, acknowledged, enough))
        bank_process.kill()
        await asyncio.gather(*payers)
        await asyncio.to_thread(bank_process.start)
        lines = await bank.books()
        booked = {line["reference"]: line["payout_id"] for line in lines}
        assert len(booked) == len(lines) == len({line["payout_id"] for line in lines})
        missing = {reference for reference, number in acknowledged.items() if booked.get(reference) != number}
        assert not missing, f"round {round_number}"
        assert [line["payout_id"] for line in lines] == sorted(line["payout_id"] for line in lines)


async def test_sigterm_finishes_what_it_holds(bank: Any, bank_process: Any) -> None:
    """Goal: a delayed payment is booked and answered at the stop, a hanging one is cut, the exit is 0."""
    await bank.set_faults(latency_ms=30_000)
    paying = asyncio.create_task(bank.pay("w-1", timeout_s=60))
    await poll_until(partial(_counted, bank, "latency"))
    await bank.set_faults(hang_rate=1)
    hanging = asyncio.create_task(bank.pay("w-2", timeout_s=60))
    await poll_until(partial(_counted, bank, "hang"))
    # Within STOP_S_MAX (20 s), which is less than the latency and the hang.
    assert await asyncio.to_thread(bank_process.stop) == 0
    assert (await paying)[0] == 201
    with pytest.raises(aiohttp.ClientError):
        await hanging
    await asyncio.to_thread(bank_process.start)
    await bank.heal()
    assert (await bank.find("w-1"))[0] == 200


def _at_least(things: Sized, number: int) -> bool:
    return len(things) >= number


async def _counted(bank: Any, fault: str) -> bool:
    return f'bank_faults_total{{fault="{fault}"}} 1.0' in await bank.metrics()


async def test_faults_survive_kill_9(new_bank: Callable[..., Any], connect: Any) -> None:
    """Goal: a kill does not heal the bank, and the initial faults count only until others are set."""
    process = new_bank(WBS_BANK_FAULTS='{"seed": 7, "error_rate": 0.5}')
    await asyncio.to_thread(process.start)
    bank = connect(process)
    _, faults = await bank.call("GET", "/faults")
    assert (faults["seed"], faults["error_rate"]) == (7, 0.5)
    await bank.set_faults(outage=True)
    process.kill()
    await asyncio.to_thread(process.start)
    assert (await bank.call("GET", "/faults"))[1]["outage"] is True
    await bank.heal()
    process.kill()
    await asyncio.to_thread(process.start)
    _, faults = await bank.call("GET", "/faults")
    assert not any(faults.values())


def test_one_bank_a_file(bank_process: Any, new_bank: Callable[..., Any]) -> None:
    """Goal: a second bank on the same books says so in one line and exits 2."""
    second = new_bank(WBS_BANK_DATA=bank_process.env["WBS_BANK_DATA"])
    assert second.spawn().wait(20) == 2
    assert "another bank has the books open" in second.log.read_text()


def test_taken_port(bank_process: Any, new_bank: Callable[..., Any], tmp_path: Any) -> None:
    """Goal: a taken port is a clear sentence and exit 2."""
    second = new_bank(WBS_BANK_PORT=str(bank_process.port), WBS_BANK_DATA=str(tmp_path / "other.db"))
    assert second.spawn().wait(20) == 2
    assert "cannot listen on" in second.log.read_text()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WBS_BANK_PORT", "none"),
        ("WBS_BANK_FAULTS", '{"error_rate": 2}'),
        ("WBS_BANK_WEBHOOK_SECRET", "whsec_%%%"),
        ("WBS_BANK_WEBHOOK_SECRET", "whsec_AAAA,whsec_%%%"),
        ("WBS_BANK_WEBHOOK_SECRET_FILE", "/nowhere"),
        ("WBS_CALLBACK_URL", "http://127.0.0.1:1/"),
    ],
)
def test_bad_settings(new_bank: Callable[..., Any], name: str, value: str) -> None:
    """Goal: a setting that cannot be is named, and nothing starts."""
    process = new_bank(**{name: value})
    assert process.spawn().wait(20) == 2
    assert name in process.log.read_text()
