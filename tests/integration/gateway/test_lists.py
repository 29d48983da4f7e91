"""GET /charges, /transfers, /holds and /withdrawals: by filters, page by page, or one by its key."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from db.lists import LOOKED_AT_MAX
from db.reads import NUMBERED_LOOKED_AT_MAX
from tests.integration.gateway.conftest import Api, new_key
from tests.locks import in_an_hour

LISTS = ("/charges", "/transfers", "/holds", "/withdrawals")


def someone() -> str:
    """Return a user whom no other test knows."""
    return f"user-{uuid4().hex[:12]}"


async def transfer(api: Api, payer: str, *legs: tuple[str, int], **more: Any) -> Any:
    """Pay."""
    body = {"from_user_id": payer, "legs": [{"to_user_id": to, "amount": amount} for to, amount in legs]}
    reply = await api.post("/transfers", {**body, "idempotency_key": new_key(), **more})
    assert reply.status == 200, reply
    return reply.json


async def hold(api: Api, user: str, amount: int, **more: Any) -> Any:
    """Set money aside."""
    reply = await api.post(
        "/holds", {"user_id": user, "amount": amount, "idempotency_key": new_key(), **more}
    )
    assert reply.status == 200, reply
    return reply.json


async def listed(api: Api, path: str, **query: Any) -> list[Any]:
    """Return the items of all pages."""
    items: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        reply = await api.get(path, **query, **cursor)
        assert reply.status == 200, reply
        items += reply.json["items"]
        if reply.json["next_cursor"] is None:
            return items
        cursor = {"cursor": reply.json["next_cursor"]}


async def test_charges(shared_api: Api) -> None:
    """Goal: a wallet's charges, newest first, as they are now, with nothing else between them."""
    user, key = someone(), new_key()
    charges = [(await shared_api.charge(user, n, metadata={"n": n})).json for n in range(1, 8)]
    await shared_api.charge(user, 50, currency="EUR", idempotency_key=key)
    await transfer(shared_api, user, (someone(), 3))
    await hold(shared_api, user, 1)
    await shared_api.withdraw(user, 1)
    undone = {"amount": 2, "idempotency_key": new_key()}
    assert (await shared_api.post(f"/charges/{charges[6]['id']}/reverse", undone)).status == 200
    expected = [{**charge, "reversed": 2 if charge["amount"] == 7 else 0} for charge in reversed(charges)]
    for limit in (2, 7, 100):
        assert await listed(shared_api, "/charges", user_id=user, limit=limit) == expected
    [euros] = await listed(shared_api, "/charges", user_id=user, currency="EUR")
    assert (await shared_api.get("/charges", idempotency_key=f" {key} ")).json == euros
    assert euros["amount"] == 50
    assert (
        await shared_api.get("/charges", idempotency_key=undone["idempotency_key"])
    ).code == "charge_not_found"


async def test_transfers(shared_api: Api) -> None:
    """Goal: a transfer is there once for its payer and for each payee; captures are transfers, reversals are none."""
    payer, payee, other = someone(), someone(), someone()
    key = new_key()
    await shared_api.charge(payer, 100)
    first = await transfer(shared_api, payer, (payee, 5), (other, 1), (payee, 4), idempotency_key=key)
    back = await transfer(shared_api, payee, (payer, 2))
    held = await hold(shared_api, payer, 10)
    captured = await shared_api.post(
        f"/holds/{held['id']}/capture", {"to_user_id": payee, "amount": 7, "idempotency_key": new_key()}
    )
    undone = {"idempotency_key": new_key()}
    assert (await shared_api.post(f"/transfers/{back['id']}/reverse", undone)).status == 200
    capture, back, first = [
        (await shared_api.get(f"/transfers/{id}")).json
        for id in (captured.json["transfer_id"], back["id"], first["id"])
    ]
    assert back["reversed"] == 2
    for limit in (1, 2, 100):
        for user, sent, received in ((payer, [capture, first], [back]), (payee, [back], [capture, first])):
            both = await listed(shared_api, "/transfers", user_id=user, limit=limit)
            assert both == [capture, back, first]
            assert await listed(shared_api, "/transfers", user_id=user, limit=limit, type="sent") == sent
            assert (
                await listed(shared_api, "/transfers", user_id=user, limit=limit, type="received") == received
            )
    assert await listed(shared_api, "/transfers", user_id=other) == [first]
    assert (await shared_api.get("/transfers", idempotency_key=key)).json == first
    refused = await shared_api.get("/transfers", idempotency_key=undone["idempotency_key"])
    assert refused.code == "transfer_not_found"


async def test_holds(shared_api: Api) -> None:
    """Goal: holds by their status as it is now: one that has expired is so, whether or not that is written."""
    user, key = someone(), new_key()
    await shared_api.charge(user, 100)
    opened = await hold(shared_api, user, 1, idempotency_key=key, expires_at=in_an_hour().isoformat())
    voided = await hold(shared_api, user, 2)
    assert (await shared_api.call("POST", f"/holds/{voided['id']}/void")).status == 200
    captured = await hold(shared_api, user, 3)
    body = {"to_user_id": someone(), "idempotency_key": new_key()}
    assert (await shared_api.post(f"/holds/{captured['id']}/capture", body)).status == 200
    now = [(await shared_api.get(f"/holds/{one['id']}")).json for one in (captured, voided, opened)]
    assert await listed(shared_api, "/holds", user_id=user, limit=2) == now
    for one in now:
        assert await listed(shared_api, "/holds", user_id=user, status=one["status"]) == [one]
        of_all = await listed(shared_api, "/holds", status=one["status"], limit=100)
        assert {hold["status"] for hold in of_all} == {one["status"]}
        assert one in of_all
    assert (await shared_api.get("/holds", idempotency_key=key)).json == now[2]
    assert (await shared_api.get("/holds", idempotency_key=new_key())).code == "hold_not_found"


async def test_a_hold_that_has_expired(api: Api, connection: asyncpg.Connection) -> None:
    """Goal: an expired hold is listed as such from its very instant."""
    await api.charge("ann", 100)
    held = await hold(api, "ann", 1, expires_at=in_an_hour().isoformat())
    await connection.execute("update holds set expires_at = now() - interval '1 s'")
    for query in ({"user_id": "ann"}, {}):
        [found] = await listed(api, "/holds", status="expired", **query)
        assert (found["id"], found["status"]) == (held["id"], "expired")
        assert await listed(api, "/holds", status="open", **query) == []


async def test_withdrawals(shared_api: Api) -> None:
    """Goal: withdrawals of a wallet, or of all, by their status, as single ones are shown."""
    user, key = someone(), new_key()
    await shared_api.charge(user, 100)
    ids = [(await shared_api.withdraw(user, n)).json["withdrawal_id"] for n in range(1, 6)]
    euro = await shared_api.charge(user, 5, currency="EUR")
    assert euro.status == 200
    assert (await shared_api.withdraw(user, 5, currency="EUR", idempotency_key=key)).status == 202
    assert (await shared_api.call("POST", f"/withdrawals/{ids[1]}/cancel")).status == 200
    expected = [(await shared_api.get(f"/withdrawals/{id}")).json for id in reversed(ids)]
    for limit in (1, 2, 5):
        assert await listed(shared_api, "/withdrawals", user_id=user, limit=limit) == expected
    cancelled = [one for one in expected if one["withdrawal_id"] == ids[1]]
    assert await listed(shared_api, "/withdrawals", user_id=user, status="cancelled") == cancelled
    assert await listed(shared_api, "/withdrawals", user_id=user, status="completed") == []
    of_all = await listed(shared_api, "/withdrawals", status="pending", limit=100)
    assert all(one in of_all for one in expected if one["status"] == "pending")
    assert {one["status"] for one in of_all} == {"pending"}
    everything = [one["withdrawal_id"] for one in await listed(shared_api, "/withdrawals", limit=3)]
    assert everything == sorted(everything, reverse=True)
    assert len(everything) == len(set(everything))
    assert set(ids) < set(everything)
    by_key = await shared_api.get("/withdrawals", idempotency_key=key)
    assert by_key.json["currency"] == "EUR"
    assert "retry-after" in by_key.headers


@pytest.mark.parametrize("path", LISTS)
async def test_a_part_of_the_time(shared_api: Api, path: str) -> None:
    """Goal: `created_from` is part of the time, `created_to` is not, to the microsecond, in any offset."""
    user = someone()
    await shared_api.charge(user, 100)
    for _ in range(3):
        if path == "/charges":
            await shared_api.charge(user, 1)
        elif path == "/transfers":
            await transfer(shared_api, user, (someone(), 1))
        elif path == "/holds":
            await hold(shared_api, user, 1)
        else:
            await shared_api.withdraw(user, 1)
    newest, middle, oldest = (await listed(shared_api, path, user_id=user))[:3]
    at = datetime.fromisoformat(middle["created_at"])
    assert datetime.fromisoformat(oldest["created_at"]) < at < datetime.fromisoformat(newest["created_at"])

    async def between(start: datetime | None, end: datetime | None) -> list[Any]:
        bounds = {"created_from": start, "created_to": end}
        query = {name: value.isoformat() for name, value in bounds.items() if value}
        return await listed(shared_api, path, user_id=user, limit=1, **query)

    microsecond = timedelta(microseconds=1)
    assert await between(at, at + microsecond) == [middle]
    assert (await between(at, None))[:2] == [newest, middle]
    assert middle not in await between(at + microsecond, None)
    assert middle not in await between(None, at)
    assert middle in await between(None, at + microsecond)
    elsewhere = at.astimezone(datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo)
    assert await between(elsewhere, elsewhere + microsecond) == [middle]


@pytest.mark.parametrize("path", LISTS)
async def test_what_a_filter_may_be(shared_api: Api, path: str) -> None:
    """Goal: whatever can't be served is refused, with the parameter's name and words that help."""
    of_all = path in ("/holds", "/withdrawals")
    key, time = "k", "2026-11-22T12:00:00Z"
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({"user_id": "42", "limit": 0}, {"limit"}),
        ({"user_id": "42", "limit": 101}, {"limit"}),
        ({"user_id": "42", "cursor": "nonsense"}, {"cursor"}),
        ({"user_id": "42", "created_from": "yesterday"}, {"created_from"}),
        ({"user_id": "42", "created_from": "2026-11-22T12:00:00"}, {"created_from"}),
        ({"user_id": "42", "created_from": time, "created_to": time}, {"created_to"}),
        ({"user_id": "42", "page": 1}, {"page"}),
        ({"currency": "USD"}, {"currency"} if of_all else {"user_id", "currency"}),
        ({"user_id": "4 2"}, {"user_id"}),
        ({"idempotency_key": key, "user_id": "42", "created_to": time}, {"user_id", "created_to"}),
        ({"idempotency_key": " "}, {"idempotency_key"}),
        ({"user_id": "42", "status": "done"}, {"status"}),
        ({"user_id": "42", "type": "lost"}, {"type"}),
    ]
    for query, bad in cases:
        assert (await shared_api.get(path, **query)).bad_fields == bad, query
    bare = await shared_api.get(path)
    assert bare.status == 200 if of_all else bare.bad_fields == {"user_id"}
    if path == "/withdrawals":
        assert (await shared_api.get(path, user_id=1, wait=1)).bad_fields == {"wait"}
        assert "must be one of" in (await shared_api.get(path, status="done")).json["errors"][0]["reason"]


async def more_movements(connection: asyncpg.Connection, user: str, number: int) -> None:
    """Add movements to a wallet that are in none of the lists, the newest it has."""
    await connection.execute(
        "insert into transfers (id, user_id, currency, kind, debit_account, credit_account, amount, total_after,"
        " available_after, locked_after, held_after, reference, created_at)"
        " select (uuid7_start(m.at + n * interval '1 ms') || '8000000000000000')::uuid, $1, 'USD', 'adjustment',"
        " 'funding', 'available', 1, n, n, 0, 0, gen_random_uuid(), m.at"
        " from (select max(uuid7_instant(id)) as at from transfers where user_id = $1) as m"
        " cross join generate_series(1, $2::integer) as n",
        user,
        number,
    )


async def later_charge(connection: asyncpg.Connection, user: str) -> str:
    """Add a charge to a wallet, the newest movement it has, and return its identifier."""
    await connection.execute("update wallets set transactions = transactions + 1 where user_id = $1", user)
    return str(
        await connection.fetchval(
            "insert into transfers (id, user_id, currency, kind, debit_account, credit_account, amount, total_after,"
            " available_after, locked_after, held_after, reference, created_at)"
            " select m.id, $1, 'USD', 'charge', 'funding', 'available', 1, 1, 1, 0, 0, m.id, m.at from ("
            " select (uuid7_start(max(uuid7_instant(id)) + interval '1 ms') || '8000000000000000')::uuid as id,"
            " max(uuid7_instant(id)) as at from transfers where user_id = $1) as m returning id",
            user,
        )
    )


async def test_few_among_many(api: Api, connection: asyncpg.Connection) -> None:
    """Goal: what matches is found among however much that does not: pages end early, and go on."""
    rows = 2 * LOOKED_AT_MAX + 10
    first = (await api.charge("ann", 1)).json["id"]
    await more_movements(connection, "ann", rows)
    pages: list[list[str]] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await api.get("/charges", user_id="ann", **cursor)).json
        pages.append([one["id"] for one in page["items"]])
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert pages == [[], [], [first]]
    assert await listed(api, "/transfers", user_id="ann") == []


async def test_a_page_that_ends_within_a_transfer(api: Api, connection: asyncpg.Connection) -> None:
    """Goal: a transfer with two legs to one payee is listed once, also if the page's last look is at one of them."""
    await api.charge("ann", 100)
    paid = await transfer(api, "ann", ("bob", 1), ("bob", 2))
    await more_movements(connection, "bob", LOOKED_AT_MAX - 2)
    for filters in ({}, {"type": "received"}):
        assert [one["id"] for one in await listed(api, "/transfers", user_id="bob", **filters)] == [
            paid["id"]
        ]


async def test_transactions_by_filters(api: Api, connection: asyncpg.Connection) -> None:
    """Goal: /transactions by type, status and time, page by page; `total` counts all; `page` takes no filter."""
    await api.charge("ann", 100)
    ids = [(await api.withdraw("ann", n)).json["withdrawal_id"] for n in (1, 2, 3)]
    await api.call("POST", f"/withdrawals/{ids[1]}/cancel")
    last = (await api.charge("ann", 7)).json
    for path in ("/transactions", "/transactions/ann"):
        user = {} if path.endswith("ann") else {"user_id": "ann"}

        async def amounts(path: str = path, user: dict[str, str] = user, **query: Any) -> list[int]:
            found: list[int] = []
            cursor: dict[str, str] = {}
            while True:
                page = (await api.get(path, **user, limit=1, **query, **cursor)).json
                assert (page["page"], page["total"]) == (None if query or cursor else 1, 5)
                found += [one["amount"] for one in page["transactions"]]
                if page["next_cursor"] is None:
                    return found
                cursor = {"cursor": page["next_cursor"]}

        assert await amounts() == [7, -3, -2, -1, 100]
        assert await amounts(type="withdrawal") == [-3, -2, -1]
        assert await amounts(type="charge", status="completed") == [7, 100]
        assert await amounts(status="cancelled") == [-2]
        assert await amounts(status="pending", type="charge") == []
        assert await amounts(created_from=last["created_at"]) == [7]
        assert await amounts(created_to=last["created_at"], status="pending") == [-3, -1]
        assert (await api.get(path, **user, type="charge", page=1)).bad_fields == {"page"}
    await more_movements(connection, "ann", LOOKED_AT_MAX)
    since: dict[str, Any] = {"created_from": "2026-01-01T00:00:00Z"}
    whole = (await api.get("/transactions/ann")).json
    assert (len(whole["transactions"]), whole["next_cursor"]) == (5, None)
    part = (await api.get("/transactions/ann", **since)).json
    assert part["transactions"] == []
    rest = (await api.get("/transactions/ann", cursor=part["next_cursor"], **since)).json
    assert len(rest["transactions"]) == 5


async def test_numbered_pages_among_many_others(api: Api, connection: asyncpg.Connection) -> None:
    """Goal: pages by number leave nothing out, however much else is between; where they end, a cursor leads on."""
    made = [(await api.charge("ann", n)).json["id"] for n in (1, 2)]
    await more_movements(connection, "ann", NUMBERED_LOOKED_AT_MAX - LOOKED_AT_MAX - 10)
    made += [await later_charge(connection, "ann") for _ in range(3)]
    await more_movements(connection, "ann", LOOKED_AT_MAX)
    made += [await later_charge(connection, "ann")]

    async def numbered(**query: Any) -> tuple[list[str], str | None]:
        page = (await api.get("/transactions/ann", limit=2, **query)).json
        assert page["page"] == query.get("page", 1)
        return [one["id"] for one in page["transactions"]], page["next_cursor"]

    found = [await numbered(**query) for query in ({}, {"page": 1}, {"page": 2}, {"page": 3}, {"page": 4})]
    newest = made[::-1]
    assert [ids for ids, _ in found] == [newest[:2], newest[:2], newest[2:4], newest[4:6], []]
    assert found[-1][1] is None
    await more_movements(connection, "ann", 10)  # the two oldest are now beyond the end
    for page, left in ((2, newest[2:4]), (3, [])):
        ids, cursor = await numbered(page=page)
        assert ids == left
        rest = (await api.get("/transactions/ann", cursor=cursor)).json
        assert [one["id"] for one in rest["transactions"]] == newest[4:]
