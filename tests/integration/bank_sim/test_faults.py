"""What goes wrong on purpose, through the real server."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import aiohttp
import pytest

from bank_sim.faults import FaultInjector, Faults
from tests.polling import poll_until


async def test_bad_faults_change_nothing(bank: Any) -> None:
    """Goal: a mistyped fault is refused and the faults stay as they were."""
    await bank.set_faults(seed=3)
    mistyped: tuple[object, ...] = (
        {"surprise": 1},
        {"error_rate": 1.01},
        {"decline_rate": -0.1},
        {"hang_rate": True},
        {"lost_reply_rate": "0.5"},
        {"latency_ms": -1},
        {"latency_ms": 1.5},
        {"latency_ms": 100, "latency_p99_ms": 50},
        {"seed": -1},
        {"outage": 1},
        {"pending_rate": 2},
        {"settle_after_ms": -1},
        {"key_window_ms": 0.5},
        {"callback_double_rate": "1"},
        [],
    )
    for faults in mistyped:
        status, problem = await bank.call("PUT", "/faults", json=faults)
        assert (status, problem["code"]) == (422, "validation_failed"), faults
    assert (await bank.call("GET", "/faults"))[1]["seed"] == 3


async def test_put_replaces_all(bank: Any) -> None:
    """Goal: a field left out means none of it, DELETE means no faults."""
    await bank.set_faults(seed=3, error_rate=0.5, latency_ms=5)
    await bank.set_faults(hang_rate=0.25)
    faults = {
        "seed": 0,
        "latency_ms": 0,
        "latency_p99_ms": 0,
        "decline_rate": 0,
        "error_rate": 0,
        "lost_reply_rate": 0,
        "hang_rate": 0.25,
        "pending_rate": 0,
        "settle_after_ms": 0,
        "outage": False,
        "key_window_ms": 0,
        "callback_delay_ms": 0,
        "callback_shuffle_ms": 0,
        "callback_double_rate": 0,
    }
    assert (await bank.call("GET", "/faults"))[1] == faults
    await bank.heal()
    assert (await bank.call("GET", "/faults"))[1] == {**faults, "hang_rate": 0}


async def test_a_decline_is_remembered(bank: Any) -> None:
    """Goal: a declined payment stays declined, moves no money and is not in the books."""
    await bank.set_faults(decline_rate=1)
    status, first = await bank.pay("w-1")
    assert status == 422
    told = (first["status"], first["reference"], first["amount"], first["currency"], first["destination"])
    assert told == ("declined", "w-1", 100, "USD", None)
    await bank.heal()
    assert await bank.pay("w-1") == (422, first)
    assert (await bank.pay("w-1", amount=7))[0] == 409
    status, line = await bank.find("w-1")
    assert (status, line["status"], line["code"]) == (200, "declined", first["code"])
    assert line["payout_id"] is None
    assert await bank.books() == []
    status, problem = await bank.call("POST", "/payouts/w-1/return")
    assert (status, problem["code"]) == (409, "not_paid")


async def _outcomes(bank: Any, references: list[str], seed: int) -> dict[str, tuple[str, ...]]:
    """How two attempts at each reference end, under a mix of faults."""
    await bank.set_faults(seed=seed, decline_rate=0.2, error_rate=0.3, lost_reply_rate=0.2)

    async def attempt(reference: str) -> str:
        try:
            status, _ = await bank.pay(reference)
        except aiohttp.ClientError:
            return "lost"
        return str(status).replace("201", "paid").replace("200", "paid")

    async def both(reference: str) -> tuple[str, tuple[str, ...]]:
        return reference, (await attempt(reference), await attempt(reference))

    return dict(await asyncio.gather(*map(both, references)))


async def test_a_seed_decides(bank: Any, bank_process: Any) -> None:
    """Goal: the same seed gives the same faults in any order and over restarts; another gives others."""
    references = [f"w-{number}" for number in range(80)]
    first = await _outcomes(bank, references, seed=1)
    assert len(set(first.values())) > 5
    await asyncio.to_thread(bank_process.stop)
    await asyncio.to_thread(bank_process.start)
    random.shuffle(references)
    assert await _outcomes(bank, references, seed=1) == first
    fresh = [f"x-{number}" for number in range(80)]
    one, two = [tuple((await _outcomes(bank, fresh, seed)).values()) for seed in (1, 2)]
    assert one != two


async def test_errors_pass(bank: Any) -> None:
    """Goal: an errored reference does not fail for ever, and is paid once whatever side the error was on."""
    await bank.set_faults(seed=5, error_rate=0.6)

    async def until_paid(reference: str) -> None:
        for _ in range(60):
            status, _ = await bank.pay(reference)
            if status in (200, 201):
                return
            assert status in (429, 500, 503)
        raise AssertionError(f"{reference} never paid")

    references = {f"w-{number}" for number in range(40)}
    await asyncio.gather(*map(until_paid, references))
    lines = await bank.books()
    assert len(lines) == len(references)
    assert {line["reference"] for line in lines} == references


async def test_an_error_tells_nothing_about_the_payment(bank: Any) -> None:
    """Goal: a 500 comes before paying and after it; 429 and 503 are never paid."""
    await bank.set_faults(seed=5, error_rate=1)
    references = [f"w-{number}" for number in range(100)]
    answers = await asyncio.gather(*map(bank.pay, references))
    paid = {line["reference"] for line in await bank.books()}
    seen = {(status, reference in paid) for reference, (status, _) in zip(references, answers, strict=True)}
    assert seen == {(500, True), (500, False), (503, False), (429, False)}


async def test_a_lost_reply_has_paid(bank: Any) -> None:
    """Goal: lost_reply pays durably, then drops the connection without an answer."""
    await bank.set_faults(lost_reply_rate=1)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await bank.pay("w-1")
    status, body = await bank.find("w-1")
    assert (status, body["status"]) == (200, "paid")


async def test_a_hang_gives_no_answer(bank: Any) -> None:
    """Goal: a hanging call is not answered, half have paid, and other calls go on."""
    await bank.set_faults(hang_rate=1)
    references = [f"w-{number}" for number in range(20)]
    calls = [asyncio.ensure_future(bank.pay(reference, timeout_s=80)) for reference in references]

    async def all_hang() -> bool:
        return f'bank_faults_total{{fault="hang"}} {len(references)}.0' in await bank.metrics()

    await poll_until(all_hang)
    assert 0 < len(await bank.books()) < len(references)
    await bank.heal()
    assert (await bank.pay("w-x"))[0] == 201
    assert not any(call.done() for call in calls)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_outage(bank: Any) -> None:
    """Goal: in an outage payout calls get 503 at once, while books, health and faults still work."""
    await bank.pay("w-1")
    await bank.set_faults(outage=True)
    for call, reference in ((bank.pay, "w-2"), (bank.find, "w-1")):
        status, problem = await call(reference)
        assert (status, problem["code"]) == (503, "outage")
    assert [line["reference"] for line in await bank.books()] == ["w-1"]
    assert (await bank.call("GET", "/health"))[0] == 200
    await bank.heal()
    assert (await bank.find("w-2"))[0] == 404
    assert (await bank.pay("w-2"))[0] == 201


async def test_latency(bank: Any) -> None:
    """Goal: each call takes what was drawn for it, payments and questions alike, and all of them wait at once.

    What is drawn, tests/unit/bank_sim/test_faults.py looks at.
    """
    await bank.set_faults(latency_ms=60, latency_p99_ms=200)
    injector = FaultInjector(Faults(latency_ms=60, latency_p99_ms=200))
    references = [f"w-{number}" for number in range(61)]

    async def timed(call: Any) -> float:
        started = time.perf_counter()
        await call
        return time.perf_counter() - started

    calls: list[tuple[Any, Any]] = [("pay", bank.pay), ("find", bank.find)]
    for name, call in calls:
        drawn = [injector.attempt(name, reference).delay_s for reference in references]
        started = time.perf_counter()
        times = await asyncio.gather(*(timed(call(reference)) for reference in references))
        in_all = time.perf_counter() - started
        assert all(took > delay * 0.95 for took, delay in zip(times, drawn, strict=True))
        assert in_all < sum(times) / 4, "one after the other"


async def test_hanging_up_does_not_stop_a_payment(bank: Any) -> None:
    """Goal: after a timeout, a 404 may become a payout: that is why it must never mean a refund."""
    await bank.set_faults(latency_ms=4000)
    with pytest.raises(TimeoutError):
        await bank.pay("w-1", timeout_s=1.5)
    await bank.heal()
    assert (await bank.find("w-1"))[0] == 404

    async def paid() -> bool:
        return bool((await bank.find("w-1"))[0] == 200)

    await poll_until(paid)
