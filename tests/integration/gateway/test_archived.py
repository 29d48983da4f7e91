"""What clients see of an archive: balances and statements go on, and nothing is paid twice."""

from typing import Any

import asyncpg
import pytest

from tests.archiving import WbsArchive
from tests.integration.gateway.conftest import Api, Reply, new_key

CHARGES = 5


@pytest.fixture
def keys() -> list[str]:
    """A key per charge."""
    return [new_key() for _ in range(CHARGES)]


async def charge(api: Api, key: str) -> Reply:
    """Charge 100, or ask for it again."""
    return await api.post("/charge", {"user_id": "ann", "amount": 100, "idempotency_key": key})


async def test_what_a_client_sees(
    api: Api, connection: asyncpg.Connection, wbs_archive: WbsArchive, keys: list[str]
) -> None:
    """Goal: what is before the archive's instant is refused by name, all else is as before."""
    made = [(await charge(api, key)).json for key in keys]
    before = await connection.fetchval("select clock_timestamp()")
    await api.charge("ann", 7)
    instant: dict[str, Any] = {"at": before.isoformat()}
    earlier = {"at": made[1]["created_at"]}
    balances = [(await api.get("/balance/ann", **query)).json for query in ({}, instant)]
    whole = (await api.get("/wallets/ann/entries")).json
    assert (await api.get("/balance/ann", **earlier)).json["total"] == 200

    archived = await wbs_archive(before)

    assert archived.told["movements"] == CHARGES - 1
    assert [(await api.get("/balance/ann", **query)).json for query in ({}, instant)] == balances
    statement = (await api.get("/wallets/ann/entries")).json
    assert statement["opening"]["total"] == 500
    assert statement["closing"] == whole["closing"]
    assert statement["entries"] == whole["entries"][-1:]
    assert before.isoformat().startswith(statement["from"].removesuffix("Z"))
    for path, query in (
        ("/balance/ann", earlier),
        ("/balance/ann", {**earlier, "currency": "all"}),
        ("/wallets/ann", earlier),
        ("/wallets/ann/entries", {"from": made[1]["created_at"]}),
    ):
        gone = await api.get(path, **query)
        assert (gone.status, gone.code) == (410, "history_archived"), path
        assert before.strftime("%Y-%m-%dT%H:%M:%S") in gone.json["detail"]
    assert (await api.get("/balance/bob", **earlier)).json["total"] == 0
    assert (await api.get(f"/charges/{made[0]['id']}")).status == 404
    assert (await api.get("/charges", user_id="ann")).json["items"][-1]["id"] == made[-1]["id"]

    for key, charged in zip(keys[:-1], made, strict=False):
        again = await charge(api, key)
        assert (again.status, again.code) == (409, "idempotency_key_archived")
        undone = await api.post(f"/charges/{charged['id']}/reverse", {"idempotency_key": new_key()})
        assert (undone.status, undone.code) == (404, "charge_not_found")
    assert (await charge(api, keys[-1])).json["id"] == made[-1]["id"]
    assert (await api.get("/balance/ann")).json == balances[0]
