"""What clients see of an archive: balances and statements go on, and nothing is paid twice."""

import asyncio
import csv
from collections import Counter
from datetime import datetime
from io import StringIO
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from db import archive
from runtime.settings import Settings
from tests.archiving import WbsArchive, number_all_events
from tests.integration.db.conftest import waiting_for_locks
from tests.integration.gateway.conftest import Api, Reply, new_key
from tests.polling import poll_until

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


ARCHIVE_MEANWHILE: dict[str, tuple[str, dict[str, str], bool]] = {
    # what is asked: (path, query, as a file)
    "a balance at an instant": ("/balance/ann", {"at": "earlier"}, False),
    "all balances at an instant": ("/wallets/ann", {"at": "earlier"}, False),
    "a statement from an instant": ("/wallets/ann/entries", {"from": "earlier"}, False),
    "a file from an instant": ("/wallets/ann/entries", {"from": "earlier"}, True),
    "a statement": ("/wallets/ann/entries", {}, False),
    "a file": ("/wallets/ann/entries", {}, True),
}


class NoFiles:
    """Takes what is archived."""

    def has(self, table: str) -> bool:
        return False

    def add(self, table: str, rows: bytes) -> int:
        return len(rows)


async def archive_at_once(connection: asyncpg.Connection, before: datetime) -> None:
    """Archive charges, whose events have their numbers, within the transaction of a connection."""
    run = await archive.begin(connection, before, "nowhere", "operator:eve")
    await archive.allow_deletes(connection)
    counts: Counter[str] = Counter()
    while await archive.archive_events(connection, run, NoFiles(), counts):
        pass
    await archive.create_lists(connection, run)
    await archive.archive_chunk(connection, run, "movements", UUID(int=0), NoFiles(), counts)
    await archive.finish(connection, run)
    assert counts["charge"] == CHARGES - 1


@pytest.mark.parametrize("what", ARCHIVE_MEANWHILE)
async def test_an_archive_that_comes_while_it_is_read(
    api: Api, connection: asyncpg.Connection, settings: Settings, keys: list[str], what: str
) -> None:
    """Goal: what is archived between two looks of one request is not left out: it is refused, or told without it."""
    made = [(await charge(api, key)).json for key in keys]
    before = await connection.fetchval("select clock_timestamp()")
    await api.charge("ann", 7)
    await number_all_events(settings)
    path, query, as_file = ARCHIVE_MEANWHILE[what]
    query = dict.fromkeys(query, made[1]["created_at"])
    headers = {"Accept": "text/csv"} if as_file else {}

    async def waits() -> bool:
        return await waiting_for_locks(connection) > 0

    async with connection.transaction():
        await connection.execute("lock table transfers")
        asking = asyncio.ensure_future(api.with_headers(**headers).get(path, **query))
        await poll_until(waits)
        await archive_at_once(connection, before)
    reply = await asking

    if query:
        assert (reply.status, reply.code) == (410, "history_archived")
    elif as_file:
        opening, *entries, closing = csv.DictReader(StringIO(reply.body.decode()))
        assert (opening["total_after"], closing["total_after"]) == ("500", "507")
        assert [entry["amount"] for entry in entries] == ["7"]
    else:
        statement = reply.json
        assert (statement["opening"]["total"], statement["closing"]["total"]) == (500, 507)
        assert [entry["amount"] for entry in statement["entries"]] == [7]


async def test_a_cursor_into_what_was_archived_since(
    api: Api, connection: asyncpg.Connection, wbs_archive: WbsArchive, keys: list[str]
) -> None:
    """Goal: who goes on behind what is archived by now is told so, and not that the request is wrong."""
    for key in keys:
        await charge(api, key)
    first = (await api.get("/wallets/ann/entries", limit=1)).json
    before = await connection.fetchval("select clock_timestamp()")
    await wbs_archive(before)
    gone = await api.get("/wallets/ann/entries", cursor=first["next_cursor"])
    assert (gone.status, gone.code) == (410, "history_archived")
