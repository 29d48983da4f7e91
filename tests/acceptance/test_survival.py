"""The promises about failures: of RabbitMQ, of any kind of process, of the bank, of the bank for good.

Each test ends with an audit of the books, the bank's included."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ops.local.programs import KIND_ORDER
from tests.polling import keeps, poll_until
from tests.service import OPEN, Service, Split

BACK_MAX_S = 5.0
SLACK_S = 2.5  # the machine is shared, and a process is seen only once it is past its own start
CLIENTS = 4


async def test_withdrawals_while_rabbitmq_is_stopped(service: Service) -> None:
    """Goal: with RabbitMQ stopped withdrawals are accepted (202), and complete after it is back."""
    await service.charge(1000)
    await service.stop("rabbitmq")
    ids = [await service.withdraw(10) for _ in range(20)]
    assert await service.split() == Split(800, held=200)
    assert {(await service.withdrawal(id_))["status"] for id_ in ids} == {"pending"}
    await service.start("rabbitmq")
    assert await service.all_end(ids) == ["completed"] * 20
    paid = await service.paid(ids)
    assert all(paid[id_] == [10] for id_ in ids)
    await service.audit()


class Load:
    """Clients that charge and withdraw without a pause, and send again what was not answered."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.accepted: list[str] = []
        self.charged = 0
        self._over = False

    @classmethod
    @asynccontextmanager
    async def on(cls, service: Service) -> AsyncIterator["Load"]:
        """Keep the load up within the block; every request is answered in the end."""
        load = cls(service)
        async with asyncio.TaskGroup() as clients:
            for number in range(CLIENTS):
                clients.create_task(load._client(f"{service.user}-{number}"))
            await load.goes_on()
            try:
                yield load
            finally:
                load._over = True

    async def goes_on(self, timeout_s: float = 60) -> None:
        """Wait until enough withdrawals were accepted that each client has made some."""
        enough = len(self.accepted) + 4 * CLIENTS
        await poll_until(lambda: len(self.accepted) >= enough, timeout_s, what="the load goes on")

    async def _client(self, user: str) -> None:
        while not self._over:
            await self.service.charge(100, user=user)
            self.charged += 100
            self.accepted.append(await self.service.withdraw(30, user=user))


@pytest.mark.parametrize("kind", KIND_ORDER)
async def test_a_kind_of_process_killed_under_load(service: Service, kind: str) -> None:
    """Goal: after kill -9 of all processes of a kind they are back within 5 s, all is paid once, the audit passes."""
    async with Load.on(service) as load:
        await keeps(BACK_MAX_S + SLACK_S, lambda: service.kill(kind))
        await load.goes_on()
    assert set(await service.all_end(load.accepted)) == {"completed"}
    paid = await service.paid(load.accepted)
    assert all(paid[id_] == [30] for id_ in load.accepted)
    splits = [await service.split(f"{service.user}-{number}") for number in range(CLIENTS)]
    assert sum(split.withdrawable for split in splits) == load.charged - 30 * len(load.accepted)
    audited = await service.wbs("audit", "--json")
    assert audited.returncode == 0, audited.stdout + audited.stderr
    assert json.loads(audited.stdout)["bank_checked"]


async def test_a_bank_in_full_outage_and_back(service: Service) -> None:
    """Goal: withdrawals of a bank's full outage all end once it is back, none of them paid twice."""
    await service.charge(600)
    ids = [await service.withdraw(10) for _ in range(10)]
    await service.faults(outage=True)
    ids += [await service.withdraw(10) for _ in range(50)]

    async def one_has_failed() -> bool:
        return any([(await service.withdrawal(id_))["failure"] for id_ in ids[10:]])

    await poll_until(one_has_failed)
    assert {(await service.withdrawal(id_))["status"] for id_ in ids[10:]} <= {"pending", "processing"}
    await service.faults()
    assert await service.all_end(ids) == ["completed"] * 60
    paid = await service.paid(ids)
    assert all(paid[id_] == [10] for id_ in ids)
    assert await service.split() == Split(0)
    await service.audit()


async def test_a_bank_that_pays_and_never_says_so(service: Service) -> None:
    """Goal: replies lost after paying, errors, hanging calls: every withdrawal ends, none is paid twice."""
    await service.faults(seed=7, lost_reply_rate=0.3, error_rate=0.3, hang_rate=0.02)
    await service.charge(400)
    ids = [await service.withdraw(10) for _ in range(40)]
    ended = await service.all_end(ids)
    await service.faults()
    again = [id_ for id_, status in zip(ids, ended, strict=True) if status == "requires_attention"]
    if again:  # eight bad draws in a row, or the bank's word that comes later
        await service.wbs("dlq", "replay", *again)
    assert await service.all_end(ids) == ["completed"] * 40
    paid = await service.paid(ids)
    assert all(paid[id_] == [10] for id_ in ids)
    await service.audit()


async def test_a_bank_that_fails_for_good(service: Service) -> None:
    """Goal: at the ladder's end attention, a dead letter, money held; healed and replayed, it is paid."""
    await service.charge(100)
    await service.faults(outage=True)
    id_ = await service.withdraw(70)
    assert await service.ends(id_) == "requires_attention"
    assert await service.split() == Split(30, held=70)

    async def letter_is_there() -> bool:
        return await service.dead_letters() == 1

    await poll_until(letter_is_there)

    listed = await service.wbs("dlq", "list")
    assert listed.returncode == 0, listed.stderr
    assert id_ in listed.stdout
    assert service.user in listed.stdout
    shown = await service.wbs("dlq", "show", id_, "--json")
    assert shown.returncode == 0, shown.stderr
    document = json.loads(shown.stdout)
    assert document["status"] == "requires_attention"
    assert id_ in document["dead_letters"][0]["message"]
    assert (await service.withdrawal(id_))["status"] not in OPEN

    await service.faults()
    replayed = await service.wbs("dlq", "replay", "--all")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert await service.ends(id_) == "completed"
    assert await service.dead_letters() == 0
    assert await service.split() == Split(30)
    assert (await service.paid([id_]))[id_] == [70]
    await service.audit()
