"""The promises about money, checked from outside: HTTP in, HTTP out, and the bank's own books."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import aiohttp

from tests.polling import poll_until
from tests.service import Answer, Service, Split

AT_ONCE = 64
BACKGROUND = ("relay", "actors", "reconciler", "bank_sim")


def gateways_of(answers: list[Answer]) -> set[str]:
    """Return which gateway processes answered: a request id begins with a name that each gives itself."""
    return {answer.headers["x-request-id"].partition("-")[0] for answer in answers}


async def at_once(service: Service, path: str, bodies: list[dict[str, object]]) -> list[Answer]:
    """Make all requests at the same time, each on a connection of its own, so that all gateways get some."""

    async def one(body: dict[str, object]) -> Answer:
        async with aiohttp.ClientSession() as session:
            return await Service(service.stack, session).call("POST", path, json=body)

    return await asyncio.gather(*(one(body) for body in bodies))


async def test_a_charge_shows_in_the_balance(service: Service) -> None:
    """Goal: a charge without `release_at` answers 200, and the money can be withdrawn at once."""
    answer = await service.charge(1500)
    assert answer.json["amount"] == 1500
    assert answer.json["status"] == "completed"
    assert answer.json["release_at"] is None
    assert await service.split() == Split(1500)


async def test_a_withdrawal_is_paid_exactly_once(service: Service) -> None:
    """Goal: a withdrawal ends `completed`, and the bank's books hold exactly one payout for it."""
    await service.charge(1500)
    answer = await service.call("POST", "/withdraw", json=service.order(600))
    assert answer.status == 202
    assert answer.json["status"] == "pending"
    id_ = answer.json["withdrawal_id"]
    assert answer.headers["location"] == answer.json["status_url"] == f"/withdrawals/{id_}"
    assert await service.ends(id_) == "completed"
    assert (await service.paid([id_]))[id_] == [600]
    assert await service.split() == Split(900)


async def test_many_withdrawals_of_the_whole_balance(service: Service) -> None:
    """Goal: of 64 concurrent withdrawals of a whole balance one is accepted, 63 get insufficient_funds."""
    await service.charge(777)
    answers = await at_once(service, "/withdraw", [service.order(777) for _ in range(AT_ONCE)])
    assert len(gateways_of(answers)) >= 2
    accepted = [answer.json["withdrawal_id"] for answer in answers if answer.status == 202]
    refused = [answer for answer in answers if answer.status == 422]
    assert (len(accepted), len(refused)) == (1, AT_ONCE - 1)
    assert {answer.code for answer in refused} == {"insufficient_funds"}
    assert sum(await service.split()) in (777, 0)  # held, or paid meanwhile
    assert await service.ends(accepted[0]) == "completed"
    assert await service.split() == Split(0)
    assert await service.movements() == 2


async def test_many_requests_with_one_key(service: Service) -> None:
    """Goal: 64 requests with one key at once, over several gateways: one movement, 64 identical answers."""
    await service.charge(5000)
    for path, amount, status in (("/charge", 100, 200), ("/withdraw", 300, 202)):
        before = await service.movements()
        answers = await at_once(service, path, [service.order(amount, key=f"{service.user}{path}")] * AT_ONCE)
        assert len(gateways_of(answers)) >= 2
        assert {answer.status for answer in answers} == {status}
        assert len({answer.body for answer in answers}) == 1
        assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
        assert await service.movements() == before + 1
    assert await service.ends(answers[0].json["withdrawal_id"]) == "completed"
    assert await service.split() == Split(5000 + 100 - 300)


async def test_one_key_for_two_requests(service: Service) -> None:
    """Goal: of 64 different requests under one key, one takes effect and 63 are refused because the key is used."""
    key = uuid4().hex
    answers = await at_once(service, "/charge", [service.order(1 + n, key=key) for n in range(AT_ONCE)])
    [taken] = [answer for answer in answers if answer.status == 200]
    assert {answer.code for answer in answers if answer is not taken} == {"idempotency_key_reused"}
    assert await service.split() == Split(taken.json["amount"])


async def test_a_lock_opens_by_itself(service: Service) -> None:
    """Goal: `release_at` comes with every background process stopped too, and the money can be spent."""
    await service.stop(*BACKGROUND)
    release_at = datetime.now(UTC) + timedelta(seconds=8)
    await service.charge(400, release_at=release_at.isoformat())
    assert await service.split() == Split(0, locked=400)
    refused = await service.call("POST", "/withdraw", json=service.order(1))
    assert refused.code == "insufficient_funds"

    async def is_released() -> bool:
        return (await service.split()).locked == 0

    await poll_until(is_released)
    assert datetime.now(UTC) >= release_at
    assert await service.split() == Split(400)
    id_ = await service.withdraw(400)
    assert await service.split() == Split(0, held=400)
    await service.start(*BACKGROUND)
    assert await service.ends(id_) == "completed"
    assert await service.split() == Split(0)


async def test_what_the_bank_sends_back_comes_back_once(service: Service) -> None:
    """Goal: a returned payout ends `returned`, the money back once, however often the bank is asked to."""
    await service.charge(900)
    ids = [await service.withdraw(300) for _ in range(3)]
    assert await service.all_end(ids) == ["completed"] * 3
    for id_ in (ids[0], ids[1], ids[0]):
        await service.send_back(id_)

    async def are_returned() -> bool:
        return [(await service.withdrawal(id_))["status"] for id_ in ids] == [
            "returned",
            "returned",
            "completed",
        ]

    await poll_until(are_returned)
    await service.send_back(ids[1])
    assert await service.split() == Split(600)
    history = [entry["status"] for entry in (await service.withdrawal(ids[0]))["history"]]
    assert history == ["pending", "processing", "completed", "returned"]
    assert await service.ends(await service.withdraw(600)) == "completed", "it is money like any other"
    await service.audit()


async def test_cancelled_or_paid_never_both(service: Service) -> None:
    """Goal: cancelled while the actors take them up, each is cancelled and never paid, or 409 and paid."""
    await service.faults(latency_ms=5)
    await service.charge(60 * 10)

    async def race(number: int) -> tuple[str, Answer]:
        id_ = await service.withdraw(10)
        for _ in range(number % 12):  # so that the cancels are spread over the attempts
            await service.withdrawal(id_)
        return id_, await service.call("POST", f"/withdrawals/{id_}/cancel")

    raced = await asyncio.gather(*(race(number) for number in range(60)))
    cancelled = [id_ for id_, answer in raced if answer.status == 200]
    too_late = [id_ for id_, answer in raced if answer.status == 409]
    assert len(cancelled) + len(too_late) == 60
    assert {answer.code for _, answer in raced if answer.status == 409} <= {"not_cancellable"}
    assert set(await service.all_end(cancelled)) <= {"cancelled"}
    assert set(await service.all_end(too_late)) <= {"completed"}
    paid = await service.paid([*cancelled, *too_late])
    assert all(paid.get(id_) == [10] for id_ in too_late)
    assert not paid.keys() & set(cancelled)
    assert await service.split() == Split(10 * len(cancelled))
    await service.audit()


async def test_what_waits_for_its_turn_can_be_cancelled(service: Service) -> None:
    """Goal: a pending withdrawal can be cancelled, twice: the money is back and the bank never hears."""
    await service.charge(100)
    await service.stop("relay")
    id_ = await service.withdraw(100)
    for _ in range(2):
        answer = await service.call("POST", f"/withdrawals/{id_}/cancel")
        assert (answer.status, answer.json["status"]) == (200, "cancelled")
    assert await service.split() == Split(100)
    other = await service.withdraw(40)
    await service.start("relay")
    assert await service.ends(other) == "completed"
    assert (await service.call("POST", f"/withdrawals/{other}/cancel")).code == "not_cancellable"
    assert id_ not in await service.paid([id_])
    assert await service.split() == Split(60)
