"""The actor's steps in this process, when it is cancelled, called twice, or gets nonsense."""

import asyncio
from collections.abc import AsyncIterator, Callable
from time import monotonic
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from actors.bank.breaker import Breaker, WatchedBank
from actors.bank.http import HttpBank
from actors.bank.protocol import PayoutOrder
from actors.errors import Requeue, Undeliverable
from actors.payouts import Payouts
from db.connections import Reader
from db.ledger import Ledger
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from tests.fakes import HANG, ScriptedBank
from tests.integration.actors import fault_server as ending
from tests.integration.actors.fault_server import FaultServer
from tests.integration.actors.pipeline import COMPRESSED
from tests.polling import poll_until
from wallet.commands import Charge, Withdraw
from wallet.outcomes import BankUnavailable, Declined, FindOutcome, Paid, PayOutcome


class OpenGate:
    """Payouts are allowed."""

    open = True

    async def wait(self, timeout_s: float) -> bool:
        return True


class Scene:
    """One accepted withdrawal, and actors that pay through whatever bank a test gives them."""

    def __init__(
        self, settings: Settings, withdrawals: Withdrawals, reader: Reader, sql: Any, id_: UUID
    ) -> None:
        self.settings, self.withdrawals, self.reader, self.id = settings, withdrawals, reader, id_
        self._sql: asyncpg.Connection = sql

    async def pay(self, bank: Any, breaker: Breaker | None = None) -> None:
        breaker = breaker or Breaker()
        resources = SimpleNamespace(
            settings=self.settings,
            withdrawals=self.withdrawals,
            reader=self.reader,
            bank=WatchedBank(bank, breaker),
            breaker=breaker,
            gate=OpenGate(),
        )
        await Payouts(resources).pay(self.id, "user")  # type: ignore[arg-type]

    async def row(self) -> Any:
        return await self._sql.fetchrow("select * from withdrawals where id = $1", self.id)

    async def is_due(self) -> bool:
        return bool(await self._sql.fetchval("select next_attempt_at <= now() from withdrawals"))


@pytest_asyncio.fixture
async def scene(
    make_settings: Callable[..., Settings], reader: Reader, connection: asyncpg.Connection
) -> AsyncIterator[Scene]:
    """A withdrawal of 1250 that no actor has started; two rounds, short leases."""
    settings = make_settings(**COMPRESSED | {"WBS_RETRY_ROUNDS": "2", "WBS_LEASE_MS": "4000"})
    ledger, withdrawals = Ledger(settings), Withdrawals(settings)
    ledger.start()
    withdrawals.start()
    await ledger.submit(Charge("test", "c", "user", "USD", 1250))
    recorded = await ledger.submit(Withdraw("test", "w", "user", "USD", 1250))
    yield Scene(settings, withdrawals, reader, connection, recorded.receipt.id)
    await withdrawals.stop()
    await ledger.stop()


async def test_cancelled_in_the_middle_of_a_call_it_writes_nothing(
    scene: Scene, bank: HttpBank, fault_server: FaultServer
) -> None:
    """Goal: a payout cut off by its time limit is unknown: after its lease the bank is asked first."""
    fault_server.script.append(ending.hang)
    task = asyncio.create_task(scene.pay(bank))
    await poll_until(lambda: fault_server.requests)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    row = await scene.row()
    assert (row["status"], row["attempts"], row["rounds"]) == ("processing", 1, 0)

    await scene.pay(bank)
    assert len(fault_server.requests) == 1, "the lease still runs: nobody else may call"
    await poll_until(scene.is_due)
    paid = {
        "payout_id": "po_1",
        "reference": (await scene.row())["reference"].hex,
        "status": "paid",
        "amount": 1250,
    }
    fault_server.script.append(ending.answer(200, paid))
    await scene.pay(bank)
    assert [request.method for request in fault_server.requests] == ["POST", "GET"]
    assert (await scene.row())["status"] == "completed"


async def test_two_at_once_make_one_call(scene: Scene) -> None:
    """Goal: the same message delivered to two actors at once: one pays, the other does nothing."""
    bank = ScriptedBank(pays=[Paid("po_1")])
    await asyncio.gather(*(scene.pay(bank) for _ in range(5)))
    assert bank.calls == ["pay"]
    assert (await scene.row())["attempts"] == 1


async def test_a_fault_of_our_own_uses_up_its_round(scene: Scene) -> None:
    """Goal: a bug in a bank module neither refunds nor tries for ever: it uses up the ladder."""

    class Broken(ScriptedBank):
        async def pay(self, order: PayoutOrder) -> PayOutcome:
            raise ZeroDivisionError

        async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
            raise ZeroDivisionError

    await scene.pay(Broken())
    assert (await scene.row())["status"] == "processing"
    await poll_until(scene.is_due)
    with pytest.raises(Undeliverable):
        await scene.pay(Broken())
    row = await scene.row()
    assert (row["status"], row["failure_code"]) == ("requires_attention", "outcome_unknown")


async def test_a_bank_that_contradicts_itself_changes_nothing(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Goal: if a decline comes after the payment was recorded, the ledger keeps the payment, and the log reports it."""
    hanging = ScriptedBank(pays=[HANG])
    task = asyncio.create_task(scene.pay(hanging))
    await poll_until(lambda: hanging.calls)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await poll_until(scene.is_due)
    attempt = await scene.withdrawals.begin_attempt(scene.id, "user")
    assert attempt is not None
    await scene.withdrawals.settle(attempt, Paid("po_1"))
    payouts = Payouts(SimpleNamespace(settings=scene.settings, withdrawals=scene.withdrawals))  # type: ignore[arg-type]
    assert await payouts._settle(attempt, Declined("account_closed"), monotonic() + 60, 5) is None
    assert (await scene.row())["status"] == "completed"
    assert "bank_contradicts_itself" in caplog.text


async def test_an_outcome_that_can_not_be_written_uses_its_rung(scene: Scene) -> None:
    """Goal: whatever a bank module lets through, a round ends: words that no column takes are an unknown outcome."""
    await scene.pay(ScriptedBank(pays=[Paid("po\0x")]))
    row = await scene.row()
    assert (row["status"], row["rounds"], row["failure_code"]) == ("processing", 1, "outcome_unknown")
    assert "could not be written" in row["failure_reason"]


async def test_with_the_circuit_open_nothing_is_begun(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: while the bank is away a message goes back, and its withdrawal stays pending."""
    monkeypatch.setattr("actors.payouts.ADMISSION_WAIT_S", 0.01)
    breaker = Breaker(failures_to_open=1, probe_interval_s=60)
    breaker.learn(BankUnavailable("refused"))
    with pytest.raises(Requeue):
        await scene.pay(ScriptedBank(), breaker)
    assert (await scene.row())["status"] == "pending"
    await scene.withdrawals.cancel(scene.id)
