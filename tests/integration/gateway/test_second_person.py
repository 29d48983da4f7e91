"""Settlements by hand that two people decide (WBS_SECOND_PERSON): who may approve what, and when it still stands."""

import asyncio

import aiohttp
import asyncpg

from tests.api_keys import create_key
from tests.integration.db.conftest import waiting_for_locks
from tests.integration.gateway.conftest import Api, StartGateway, new_key, with_key
from tests.polling import poll_until


async def that_requires_attention(api: Api, user: str, database_url: str) -> str:
    """Return a withdrawal of 10 that requires attention."""
    await api.charge(user, 100)
    id: str = (await api.withdraw(user, 10)).json["withdrawal_id"]
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        await connection.execute("update withdrawals set status = 'processing' where id = $1", id)
        await connection.execute("update withdrawals set status = 'requires_attention' where id = $1", id)
    finally:
        await connection.close()
    return id


async def test_a_second_person(
    start_gateway: StartGateway, shared_database_url: str, session: aiohttp.ClientSession
) -> None:
    """Goal: with WBS_SECOND_PERSON=1 who proposes a settlement can't approve it, and another can; both are named."""
    gateway = await start_gateway(DATABASE_URL=shared_database_url, WBS_AUTH="on", WBS_SECOND_PERSON="1")
    names = [f"op-{new_key()}" for _ in range(2)]
    first, second = [
        await with_key(gateway, session, await create_key(shared_database_url, name)) for name in names
    ]
    user = f"user-{new_key()}"
    id = await that_requires_attention(first, user, shared_database_url)
    path = f"/operator/withdrawals/{id}/settle"
    body = {"outcome": "declined", "reason": "the bank wrote so"}
    assert (await first.post(path, body)).status == 202
    assert (await second.post(path, body)).code == "illegal_move"
    assert (await first.post(f"{path}/approve")).status == 403
    assert (await first.balance(user))["held"] == 10
    assert (await second.post(f"{path}/approve")).json["status"] == "failed"
    assert (await first.balance(user))["held"] == 0
    story = (await first.get(f"/operator/withdrawals/{id}")).json
    assert story["proposal"] is None
    [end] = [step for step in story["timeline"] if step["what"] == "failed"]
    assert end["by"] == f"operator:{names[1]}"
    assert names[0] in end["text"]


async def test_a_proposal_that_another_one_takes_the_place_of(
    start_gateway: StartGateway, shared_database_url: str, session: aiohttp.ClientSession
) -> None:
    """Goal: what is approved is what was read, and still proposed when it takes effect."""
    gateway = await start_gateway(DATABASE_URL=shared_database_url, WBS_AUTH="on", WBS_SECOND_PERSON="1")
    first, second = [
        await with_key(gateway, session, await create_key(shared_database_url, f"op-{new_key()}"))
        for _ in range(2)
    ]
    user = f"user-{new_key()}"
    id = await that_requires_attention(first, user, shared_database_url)
    path = f"/operator/withdrawals/{id}/settle"
    paid = {"outcome": "paid", "bank_reference": "po_1", "reason": "the bank wrote so"}
    declined = {"outcome": "declined", "reason": "the bank wrote so"}

    async def propose(body: dict[str, str]) -> dict[str, str]:
        assert (await first.post(path, body)).status == 202
        return {
            "proposed_at": (await first.get(f"/operator/withdrawals/{id}")).json["proposal"]["proposed_at"]
        }

    read = await propose(paid)
    assert (await first.post(f"{path}/withdraw")).status == 200
    other = await propose(declined)
    assert (await second.post(f"{path}/approve", read)).code == "illegal_move"

    connection = await asyncpg.connect(shared_database_url, timeout=10)

    async def waits() -> bool:
        return await waiting_for_locks(connection) > 0

    async with connection.transaction():
        await connection.execute("select 1 from withdrawals where id = $1 for update", id)
        approving = asyncio.ensure_future(second.post(f"{path}/approve", other))
        await poll_until(waits)
        assert (await first.post(f"{path}/withdraw")).json["status"] == "withdrawn"
    assert (await approving).code == "illegal_move"
    assert (await first.balance(user))["held"] == 10

    await propose(declined)
    await connection.execute("update withdrawals set updated_at = clock_timestamp() where id = $1", id)
    assert (await second.post(f"{path}/approve")).code == "illegal_move"
    assert (await first.post(f"{path}/withdraw")).status == 200
    again = await propose(paid)
    assert (await second.post(f"{path}/approve", again)).json["status"] == "completed"
    assert (await first.balance(user))["held"] == 0
    assert (await first.get(f"/operator/withdrawals/{id}")).json["proposal"] is None
    await connection.close()
