"""The circuit breaker: when it opens, who may probe, and how those who wait are let go."""

import asyncio
import time

from actors.bank.breaker import Breaker, WatchedBank
from actors.bank.protocol import PayoutOrder
from tests.fakes import ScriptedBank
from tests.polling import poll_until
from wallet.outcomes import BankUnavailable, Declined, NotFound, OutcomeUnknown, Paid

AWAY = BankUnavailable("refused")


def opened(probe_interval_s: float = 60.0) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker(failures_to_open=3, probe_interval_s=probe_interval_s)
    for _ in range(3):
        breaker.learn(AWAY)
    return breaker


async def test_it_opens_after_failures_in_a_row() -> None:
    """Goal: single failures among answers change nothing, a row of them opens the circuit."""
    breaker = Breaker(failures_to_open=3)
    for answer in (AWAY, AWAY, Declined("closed"), AWAY, OutcomeUnknown("timeout")):
        breaker.learn(answer)
        assert breaker.closed
    assert breaker.bank_state == "ok"
    breaker.learn(AWAY)
    assert not breaker.closed
    assert breaker.bank_state == "away: refused"


async def test_while_open_callers_wait_and_give_up_in_time() -> None:
    """Goal: no caller calls a bank that is away, and none waits longer than its limit."""
    assert not await opened().admit(wait_s=0.02)


async def test_one_probe_an_interval() -> None:
    """Goal: of fifty that wait, one is let through at each interval."""
    interval_s = 0.05
    started = time.monotonic()
    breaker = opened(probe_interval_s=interval_s)
    waiting = [asyncio.create_task(breaker.admit(wait_s=60)) for _ in range(50)]
    for number in (1, 2, 3):
        await poll_until(lambda number=number: sum(task.done() for task in waiting) >= number)  # type: ignore[misc]
        assert sum(task.done() for task in waiting) <= 1 + (time.monotonic() - started) / interval_s
    breaker.stop()
    admitted = await asyncio.gather(*waiting)
    assert 3 <= sum(admitted) < 50


async def test_an_answer_lets_all_go() -> None:
    """Goal: the first answer of the bank frees everybody who waits, at once."""
    breaker = opened()
    waiting = [asyncio.create_task(breaker.admit(wait_s=60)) for _ in range(50)]
    await asyncio.sleep(0)
    breaker.learn(Paid("p"))
    async with asyncio.timeout(30):
        assert all(await asyncio.gather(*waiting))


async def test_not_found_is_no_sign_that_payments_work() -> None:
    """Goal: a bank that answers questions but refuses payments stays shut off."""
    breaker = opened()
    breaker.learn(NotFound())
    assert not breaker.closed


async def test_it_opens_again_after_a_recovery() -> None:
    """Goal: waiting works the second time too."""
    breaker = opened()
    breaker.learn(Paid("p"))
    for _ in range(3):
        breaker.learn(AWAY)
    assert not await breaker.admit(wait_s=0.02)


async def test_a_stopping_process_waits_for_nobody() -> None:
    """Goal: graceful shutdown is not held up by a bank outage."""
    breaker = opened()
    waiting = asyncio.create_task(breaker.admit(wait_s=60))
    await asyncio.sleep(0)
    breaker.stop()
    async with asyncio.timeout(30):
        assert not await waiting


async def test_the_watched_bank_tells_the_breaker() -> None:
    """Goal: every payment's and question's answer counts, and is passed on unchanged."""
    breaker = Breaker(failures_to_open=2)
    bank = WatchedBank(ScriptedBank(pays=[AWAY, Paid("p")], finds=[AWAY]), breaker)
    order = PayoutOrder("w", 1, "USD")
    assert await bank.pay(order) is AWAY
    assert await bank.find(order) is AWAY
    assert not breaker.closed
    assert isinstance(await bank.pay(order), Paid)
    assert breaker.closed
