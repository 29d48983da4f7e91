"""Long polls and the key that they were let in with."""

import asyncio

import aiohttp
import asyncpg

from db import api_keys
from tests.api_keys import create_key
from tests.integration.gateway.conftest import Gateway, new_key, with_key
from tests.polling import poll_until


async def test_a_wait_ends_with_its_key(
    shared_gateway: Gateway, shared_database_url: str, session: aiohttp.ClientSession
) -> None:
    """Goal: a request that waited while its key was revoked is refused, as each that comes afterwards is."""
    leaving = await with_key(shared_gateway, session, await create_key(shared_database_url, "leaving"))
    staying = await with_key(shared_gateway, session, await create_key(shared_database_url, "staying"))
    user = new_key()
    await staying.charge(user, 100)
    id = (await staying.withdraw(user, 100)).json["withdrawal_id"]

    async def is_refused() -> bool:
        return (await leaving.get("/balance/1")).status in (401, 429)  # 429: after many wrong keys

    waits = {key: asyncio.create_task(key.get(f"/withdrawals/{id}", wait=30)) for key in (leaving, staying)}
    connection = await asyncpg.connect(shared_database_url, timeout=10)
    await api_keys.revoke(connection, "leaving", "operator:eve")
    await connection.close()
    await poll_until(is_refused, 5.0, what="the gateway refuses the revoked key")
    assert (await staying.post(f"/withdrawals/{id}/cancel")).status == 200
    assert (await waits[leaving]).status in (401, 429)
    assert (await waits[staying]).json["status"] == "cancelled"
