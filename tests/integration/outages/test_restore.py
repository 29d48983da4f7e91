"""The restore drill: a dump taken in the middle of load is restored into a new stack that has the same bank."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.local.stack import Stack
from tests.conftest import PATIENT, running_stack
from tests.polling import poll_until
from tests.service import PACE, Service, defaults

USERS = 30
EACH = 4
AMOUNT = 100
LOST = "user-lost"
"""Nobody repeats what this user's clients asked for: it is adopted."""


@pytest.fixture
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack that is lost but for its dump, and the bank."""
    with running_stack(tmp_path_factory.mktemp("first"), **PATIENT) as stack:
        yield stack


class Client:
    """Asks for charges and withdrawals, and can ask again with the same keys, of another stack too."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def charge(self, user: str) -> None:
        await self.service.charge(EACH * AMOUNT, user=user, key=f"charge-{user}")

    async def withdraw(self, user: str, number: int) -> dict[str, Any]:
        order = self.service.order(
            AMOUNT,
            user=user,
            key=f"withdraw-{user}-{number}",
            destination={"iban": "X"},
            metadata={"n": number},
        )
        answer = await self.service.persist("POST", "/withdraw", json=order)
        assert answer.status == 202, answer.body
        return await self.service.withdrawal(answer.json["withdrawal_id"])


async def load(service: Service, dump: Path) -> tuple[list[str], dict[str, str]]:
    """Load, with a dump in the middle of it. Returns the users, and whose each of the bank's references is."""
    client, users = Client(service), [f"user-{number}" for number in range(USERS)]
    owners: dict[str, str] = {}

    async def asks(user: str, numbers: range) -> None:
        if numbers.start == 0:
            await client.charge(user)
        for number in numbers:
            owners[(await client.withdraw(user, number))["reference"]] = user

    half = EACH // 2
    before = [asyncio.create_task(asks(user, range(half))) for user in users[: USERS // 2]]
    await asyncio.gather(*before[: len(before) // 2])
    dumping = asyncio.create_task(service.wbs("backup", str(dump)))
    await asyncio.gather(*before)
    dumped = await dumping
    assert dumped.returncode == 0, dumped.stderr
    await asyncio.gather(*(asks(user, range(half, EACH)) for user in users[: USERS // 2]))
    await asyncio.gather(*(asks(user, range(EACH)) for user in (*users[USERS // 2 :], LOST)))

    async def all_paid() -> bool:
        return sorted(await service.paid_by_reference()) == sorted(owners)

    await poll_until(all_paid, what="the bank has paid all", interval_s=0.2)
    return users, owners


async def test_a_dump_in_the_middle_of_load_is_restored(first: Stack, tmp_path: Path) -> None:
    """Goal: restored, it starts paused; all is sent again, or adopted; resumed, nothing is paid twice, the audit is
    right, and who repeated everything has what there was before."""
    dump = tmp_path / "books.dump"
    async with Service.of(first) as service:
        users, owners = await load(service, dump)
        before = await service.paid_by_reference()
        await service.stop("gateway", "relay", "actors", "reconciler")
    bank = {name: first.env[name] for name in ("WBS_BANK_URL", "WBS_BANK_WEBHOOK_SECRET")}
    stack = Stack(tmp_path / "second", env=defaults(**PACE, **PATIENT, **bank))
    try:
        with stack:
            async with Service.of(stack) as service:
                await service.charge(1, user="of-the-former-database")
                restored = await service.wbs("restore", str(dump), "--yes", "--as", "eve")
                assert restored.returncode == 0, restored.stderr
                assert await service.movements("of-the-former-database") == 0
                await drill(service, users, owners, before)
    finally:
        stack.state.delete()


async def drill(
    service: Service, users: list[str], owners: dict[str, str], before: dict[str, list[int]]
) -> None:
    """What docs/OPERATIONS.md has an operator and the clients do."""

    async def paused() -> bool:
        return "paused: restored by operator:eve" in (await service.wbs("payouts", "status")).stdout

    await poll_until(paused, what="payouts are paused", interval_s=0.5)
    client = Client(service)
    await asyncio.gather(*(client.charge(user) for user in users))
    numbers = [(user, number) for user in users for number in range(EACH)]
    again = await asyncio.gather(*(client.withdraw(user, number) for user, number in numbers))
    assert {one["reference"] for one in again} == {ref for ref, user in owners.items() if user != LOST}
    assert await service.paid_by_reference() == before, "payouts are paused: nothing more was paid"
    lost = [reference for reference, user in owners.items() if user == LOST]
    for reference in lost:
        done = await service.wbs("reconcile", "--adopt", reference, "--user", LOST, "--as", "eve")
        assert done.returncode == 0, done.stderr + done.stdout
    assert (await service.wbs("payouts", "resume", "--as", "eve")).returncode == 0
    ends = await service.all_end([one["withdrawal_id"] for one in again])
    assert set(ends) == {"completed"}
    assert await service.paid_by_reference() == before, "nothing was paid twice"
    assert (await service.wbs("reconcile")).returncode == 0
    await service.audit()
    for user in (*users, LOST):
        assert sum(await service.split(user)) == 0
    # Its client comes back after all: it meets what was adopted, and is not paid again.
    late = await client.withdraw(LOST, 0)
    assert (late["status"], late["reference"] in lost) == ("completed", True)
    later = await client.service.charge(AMOUNT, user=users[0], key="later")
    assert later.status == 200
    assert await service.ends((await client.withdraw(users[0], EACH))["withdrawal_id"]) == "completed"
    await service.audit()
