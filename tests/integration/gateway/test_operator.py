"""GET /operator/…: what operators see, bounded however much there is."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from db.lists import LOOKED_AT_MAX
from tests.integration.gateway.conftest import Api, new_key
from tests.polling import poll_until


@pytest_asyncio.fixture
async def database(shared_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """The database of the shared gateway."""
    connection = await asyncpg.connect(shared_database_url, timeout=10)
    yield connection
    await connection.close(timeout=10)


def someone() -> str:
    """Return a user whom no other test knows."""
    return f"user-{uuid4().hex[:12]}"


async def taken(api: Api, user: str, amount: int = 7, **more: Any) -> str:
    """Return a new withdrawal, which no actor takes up here."""
    assert (await api.charge(user, 100)).status == 200
    reply = await api.withdraw(user, amount, **more)
    assert reply.status == 202, reply
    return str(reply.json["withdrawal_id"])


async def found(api: Api, **query: Any) -> list[str]:
    """Return the withdrawals of all pages."""
    ids: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        reply = await api.get("/operator/withdrawals", **query, **cursor)
        assert reply.status == 200, reply
        ids += [item["withdrawal_id"] for item in reply.json["items"]]
        if reply.json["next_cursor"] is None:
            return ids
        cursor = {"cursor": reply.json["next_cursor"]}


async def stuck(database: asyncpg.Connection, id: str, code: str) -> None:
    """Have a withdrawal require attention, as after its last round of bank calls."""
    await database.execute(
        "update withdrawals set status = 'processing', attempts = 3 where id = $1", UUID(id)
    )
    await database.execute(
        "update withdrawals set status = 'requires_attention', failure_code = $2, failure_reason = 'x' where id = $1",
        UUID(id),
        code,
    )


async def test_a_withdrawal_is_found_by_any_name(shared_api: Api) -> None:
    """Goal: whatever a ticket, a log or the bank calls a withdrawal, it is found, and it is said how."""
    user, key = someone(), new_key()
    id = await taken(shared_api, user, idempotency_key=key)
    reference = (await shared_api.get(f"/withdrawals/{id}")).json["reference"]
    for text, how in ((id, "id"), (reference, "reference"), (key, "idempotency_key")):
        reply = (await shared_api.get("/operator/withdrawals", q=f" {text} ")).json
        assert reply["found_by"] == {id: how}
        assert [item["withdrawal_id"] for item in reply["items"]] == [id]
    reply = (await shared_api.get("/operator/withdrawals", q=user)).json
    assert reply["is_user"]
    assert [item["withdrawal_id"] for item in reply["items"]] == [id]
    nothing = (await shared_api.get("/operator/withdrawals", q="nobody knows this")).json
    assert (nothing["items"], nothing["is_user"]) == ([], False)


async def test_filters(shared_api: Api, database: asyncpg.Connection) -> None:
    """Goal: status, age, user, currency, amount and reason go together, newest or oldest first, page by page."""
    user, code = someone(), f"code_{uuid4().hex[:8]}"
    ids = [await taken(shared_api, user, amount) for amount in (1, 2, 3)]
    eur = await taken(shared_api, user, 1, currency="EUR") if await has_eur(shared_api, user) else None
    everything = [*ids, *([eur] if eur else [])]
    assert await found(shared_api, user_id=user, limit=1) == everything[::-1]
    assert await found(shared_api, user_id=user, amount=2) == [ids[1]]
    assert await found(shared_api, user_id=user, older_than_s=3600) == []
    assert await found(shared_api, user_id=user, newer_than_s=3600, status="pending") == everything[::-1]
    for id in ids[:2]:
        await stuck(database, id, code)
    assert await found(shared_api, failure_code=code, status="open", limit=1) == ids[1::-1]
    assert (
        await found(shared_api, failure_code=code, status="requires_attention", order="oldest", limit=1)
        == ids[:2]
    )
    assert await found(shared_api, failure_code=code) == ids[1::-1]
    assert (await shared_api.get("/operator/withdrawals", order="oldest")).bad_fields == {"order"}


async def has_eur(api: Api, user: str) -> bool:
    """Return whether euros are taken, and charge some if so."""
    return (await api.charge(user, 100, currency="EUR")).status == 200


async def test_dead_letters_and_overview(shared_api: Api, database: asyncpg.Connection) -> None:
    """Goal: why withdrawals are stuck, how many and how much, are told at a glance; and what this stack is."""
    code = f"code_{uuid4().hex[:8]}"
    ids = [await taken(shared_api, someone(), amount) for amount in (10, 20)]
    for id in ids:
        await stuck(database, id, code)
    letters = (await shared_api.get("/operator/dead-letters", failure_code=code)).json
    assert [item["withdrawal_id"] for item in letters["items"]] == ids
    reasons = [reason for reason in letters["reasons"] if reason["failure_code"] == code]
    assert [(reason["withdrawals"], reason["amount"]) for reason in reasons] == [(2, 30)]

    async def seen() -> Any:
        now = (await shared_api.get("/operator/overview")).json
        return now if any(reason["failure_code"] == code for reason in now["attention"]) else None

    now = await poll_until(seen)
    assert now["is_complete"]
    assert now["payouts"]["status"] in ("ok", "waiting", "paused")
    assert sum(sum_["amount"] for sum_ in now["open"] if sum_["status"] == "requires_attention") >= 30
    about = (await shared_api.get("/operator/about")).json
    assert {"code": "USD", "exponent": 2} in about["currencies"]


async def test_processes_report(shared_api: Api) -> None:
    """Goal: a gateway tells its version, start, memory and lag; what it wrote is counted by the minute."""
    await taken(shared_api, someone())

    async def counted() -> Any:
        minutes = (await shared_api.get("/operator/overview")).json["activity"]
        return any({"write Charge", "write Withdraw"} <= minute["done"].keys() for minute in minutes)

    await poll_until(counted)
    gateways = [p for p in (await shared_api.get("/operator/processes")).json if p["kind"] == "gateway"]
    assert gateways
    for process in gateways:
        assert process["status"] in ("ok", "stopped", "silent")
        assert process["memory_mb"] > 10
        assert process["started_at"]
        assert process["lag_ms"] >= 0


async def test_one_withdrawal_in_full(shared_api: Api, database: asyncpg.Connection) -> None:
    """Goal: states and rounds of bank calls are one story, in the order of time."""
    id = await taken(shared_api, someone())
    await database.execute(
        "insert into withdrawal_attempts (withdrawal_id, user_id, number, ended_at, took_ms, outcome, said)"
        " select id, user_id, 1, created_at + interval '1 s', 412, 'outcome_unknown', 'timeout' from withdrawals"
        " where id = $1",
        UUID(id),
    )
    story = (await shared_api.get(f"/operator/withdrawals/{id}")).json
    assert story["withdrawal"]["withdrawal_id"] == id
    assert story["request_id"]
    assert len(story["trace_id"]) == 32
    assert [(step["kind"], step["what"], step["took_ms"]) for step in story["timeline"]] == [
        ("state", "pending", None),
        ("attempt", "outcome_unknown", 412),
    ]
    assert (await shared_api.get(f"/operator/withdrawals/{uuid4()}")).code == "withdrawal_not_found"
    books = (await shared_api.get("/operator/bank")).json
    assert len(books["bank_prefix"]) == 8


@pytest.mark.parametrize("path", ["overview", "withdrawals", "dead-letters", "processes", "bank", "about"])
async def test_unknown_parameters_are_refused(shared_api: Api, path: str) -> None:
    """Goal: a mistyped filter does not show everything."""
    assert (await shared_api.get(f"/operator/{path}", statsu="x")).bad_fields == {"statsu"}


async def test_a_page_ends_where_enough_was_looked_at(shared_api: Api, database: asyncpg.Connection) -> None:
    """Goal: a rare match costs pages, not a walk over everything; no page loses one."""
    user = someone()
    first = await taken(shared_api, user, 5)
    await database.execute(
        """
        insert into withdrawals (
            id, user_id, currency, amount, status, next_attempt_at, ring_at, created_at, updated_at)
        select ('0190' || lpad(to_hex(n), 8, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid, $2, 'USD', 1,
            'cancelled', now(), now(), now(), now()
        from generate_series(1, $1) as n""",
        LOOKED_AT_MAX + 10,
        user,
    )
    try:
        assert first in await found(shared_api, amount=5, status="open")
        assert await found(
            shared_api, amount=5, currency="USD", newer_than_s=3600 * 24 * 365 * 5, user_id=user
        ) == [first]
        assert (await shared_api.get("/operator/withdrawals", amount=6, status="cancelled")).json[
            "next_cursor"
        ]
    finally:
        await database.execute("delete from withdrawals where user_id = $1 and status = 'cancelled'", user)
