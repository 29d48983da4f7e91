"""POST /charge and POST /charges against a real gateway and a real PostgreSQL."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.integration.gateway.conftest import Api, new_key, together
from tests.locks import in_an_hour, mature

NDJSON = {"content-type": "application/x-ndjson"}


async def test_charge(api: Api) -> None:
    """Goal: a charge is answered with its transaction, and the balance shows it."""
    reply = await api.charge(42, 1000)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert "idempotent-replayed" not in reply.headers
    body = reply.json
    datetime.fromisoformat(body.pop("created_at"))
    assert body.pop("id")
    assert body == {
        "type": "charge",
        "user_id": 42,
        "currency": "USD",
        "amount": 1000,
        "status": "completed",
        "release_at": None,
        "metadata": None,
    }
    assert await api.balance(42) == {"total": 1000, "withdrawable": 1000, "locked": 0, "held": 0}


@pytest.mark.parametrize(
    ("sent", "given_back", "path"),
    [
        (42, 42, "42"),
        ("42", 42, "42"),
        ("042", "042", "042"),
        (0, 0, "0"),
        (2**53 - 1, 2**53 - 1, str(2**53 - 1)),
        (str(2**53), str(2**53), str(2**53)),
        ("a/b%&=+~", "a/b%&=+~", "a%2Fb%25%26%3D%2B~"),
        ("-1", "-1", "-1"),
    ],
)
async def test_user_ids(shared_api: Api, sent: int | str, given_back: int | str, path: str) -> None:
    """Goal: either spelling names the same wallet, and all answers spell it in one way."""
    charged = await shared_api.charge(sent, 5)
    assert charged.json["user_id"] == given_back
    balance = await shared_api.call("GET", f"/balance/{path}")
    assert (balance.json["user_id"], balance.json["total"] > 0) == (given_back, True)
    page = await shared_api.get("/transactions", user_id=sent)
    assert {one["user_id"] for one in page.json["transactions"]} == {given_back}


async def test_replay_is_byte_for_byte(api: Api, movements: Any) -> None:
    """Goal: the same request under the same key gets the same bytes and moves no more money."""
    fields = {
        "idempotency_key": new_key(),
        "release_at": "2031-05-06T07:08:09.123456+02:00",
        "metadata": {"b": 1, "a": [1.50, "é", None]},
    }
    first = await api.charge(42, 10, **fields)
    again = await api.charge("42", 10, currency="USD", **fields)
    assert (first.status, again.status) == (200, 200)
    assert again.body == first.body
    assert again.headers["idempotent-replayed"] == "true"
    assert first.json["release_at"] == "2031-05-06T05:08:09.123456Z"
    assert await movements() == (1, 0, 1)


async def test_key_in_the_header(api: Api, movements: Any) -> None:
    """Goal: the key counts the same whichever way it comes."""
    key = new_key()
    in_header = await api.with_headers(idempotency_key=key).post("/charge", {"user_id": 42, "amount": 10})
    in_body = await api.charge(42, 10, idempotency_key=key)
    assert in_header.status == 200
    assert in_body.body == in_header.body
    assert await movements() == (1, 0, 1)


@pytest.mark.parametrize(
    "other",
    [
        {"amount": 11},
        {"user_id": 43},
        {"currency": "EUR"},
        {"metadata": {"a": {}}},
        {"release_at": "2031-01-01T00:00:00Z"},
    ],
)
async def test_key_of_another_request(api: Api, movements: Any, other: dict[str, Any]) -> None:
    """Goal: a key that stands for another request is refused, and no money moves."""
    request = {"user_id": 42, "amount": 10, "idempotency_key": new_key()}
    assert (await api.post("/charge", request)).status == 200
    reply = await api.post("/charge", {**request, **other})
    assert (reply.status, reply.code) == (422, "idempotency_key_reused")
    assert await movements() == (1, 0, 1)


async def test_a_refused_request_leaves_its_key_free(api: Api) -> None:
    """Goal: after a refusal the mended request goes through under the same key."""
    key = new_key()
    assert (await api.charge(42, 0, idempotency_key=key)).status == 422
    assert (await api.withdraw(42, 10, idempotency_key=key)).code == "insufficient_funds"
    assert (await api.charge(42, 10, idempotency_key=key)).status == 200


async def test_64_at_once_with_one_key(api: Api, movements: Any) -> None:
    """Goal: one movement, 64 identical answers."""
    request = {"user_id": 42, "amount": 10, "idempotency_key": new_key()}
    replies = await together(*(api.post("/charge", request) for _ in range(64)))
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    assert sum("idempotent-replayed" not in reply.headers for reply in replies) == 1
    assert await movements() == (1, 0, 1)


async def test_release_at_in_the_past(api: Api, movements: Any) -> None:
    """Goal: by the database's clock the past is refused, as a field that is bad."""
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    assert (await api.charge(42, 10, release_at=past)).bad_fields == {"release_at"}
    assert await movements() == (0, 0, 0)


async def test_locked_until_release_at(api: Api, connection: asyncpg.Connection) -> None:
    """Goal: locked money is withdrawable from its instant, with no background process running at all."""
    assert (await api.charge(42, 10, release_at=in_an_hour().isoformat())).status == 200
    assert await api.balance() == {"total": 10, "withdrawable": 0, "locked": 10, "held": 0}
    assert (await api.withdraw(42, 10)).code == "insufficient_funds"
    await mature(connection)
    assert await api.balance() == {"total": 10, "withdrawable": 10, "locked": 0, "held": 0}
    assert (await api.withdraw(42, 10)).status == 202
    assert await api.balance() == {"total": 10, "withdrawable": 0, "locked": 0, "held": 10}


async def test_balance_limit(api: Api) -> None:
    """Goal: no wallet ever holds more than every JSON reader can read."""
    assert (await api.charge(42, 2**53 - 1)).status == 200
    assert (await api.charge(42, 1)).code == "balance_limit_exceeded"
    assert (await api.charge(42, 1, currency="EUR")).status == 200


async def test_metadata_comes_back(api: Api, connection: asyncpg.Connection) -> None:
    """Goal: the client's metadata comes back unchanged, including escapes, order and long numbers."""
    metadata = '{"z":1,"a":{"b":[true,null,1.50,-0,1E400,"\\u0001 \\u00e9 é \\" "]},"n":18446744073709551616}'
    raw = f'{{"user_id":42,"amount":1,"idempotency_key":"{new_key()}","metadata":{metadata}}}'
    charged = await api.call(
        "POST", "/charge", data=raw.encode(), headers={"content-type": "application/json"}
    )
    assert charged.status == 200
    assert metadata.encode() in charged.body
    page = await api.get("/transactions/42")
    assert metadata.encode() in page.body


async def test_bulk(api: Api) -> None:
    """Goal: each item has its own result in its place, and a bad one harms no other."""
    key = new_key()
    items = [
        {"user_id": 1, "amount": 10, "idempotency_key": key},
        {"user_id": 2, "amount": 0, "idempotency_key": new_key()},
        {"user_id": 1, "amount": 10, "idempotency_key": key},
        {"user_id": 1, "amount": 11, "idempotency_key": key},
        "no object",
        {"user_id": 2, "amount": 20, "idempotency_key": new_key(), "metadata": {"n": 1}},
        {"user_id": 2, "amount": 20},
    ]
    reply = await api.post("/charges", items)
    assert reply.status == 200
    results = reply.json["results"]
    assert [result["status"] for result in results] == [200, 422, 200, 422, 422, 200, 422]
    assert results[0]["transaction"] == results[2]["transaction"]
    assert "replayed" not in results[0]
    assert results[2]["replayed"] is True
    assert results[3]["error"]["code"] == "idempotency_key_reused"
    assert results[1]["error"]["errors"][0]["field"] == "amount"
    assert results[5]["transaction"]["metadata"] == {"n": 1}
    assert (await api.balance(1))["total"] == 10
    assert (await api.balance(2))["total"] == 20


async def test_bulk_of_a_thousand_twice(api: Api, movements: Any) -> None:
    """Goal: a full bulk request may be sent again as a whole: nothing is charged twice."""
    items = [{"user_id": n % 10, "amount": 1, "idempotency_key": new_key()} for n in range(1000)]
    first, again = await api.post("/charges", items), await api.post("/charges", items)
    assert all(result["status"] == 200 for result in first.json["results"])
    assert [one["transaction"] for one in first.json["results"]] == [
        one["transaction"] for one in again.json["results"]
    ]
    assert all(result["replayed"] for result in again.json["results"])
    assert await movements() == (1000, 0, 1000)


async def test_lines(api: Api) -> None:
    """Goal: NDJSON is read line by line; a client that accepts it gets one result per line."""
    lines = [json.dumps({"user_id": 1, "amount": 1, "idempotency_key": new_key()}), "{", ""]
    body = "\n".join(lines * 2).encode()
    as_document = await api.call("POST", "/charges", data=body, headers=NDJSON)
    assert [one["status"] for one in as_document.json["results"]] == [200, 400, 200, 400]
    as_lines = await api.with_headers(accept="application/x-ndjson").call(
        "POST", "/charges", data=body, headers=NDJSON
    )
    assert as_lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in as_lines.body.splitlines()] == [
        {**one, "replayed": True} if one["status"] == 200 else one for one in as_document.json["results"]
    ]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"[]", 422, "validation_failed"),
        (b"{}", 422, "validation_failed"),
        (b"", 400, "malformed_json"),
        (b"[1,", 400, "malformed_json"),
        (b"[" + b"1," * 1000 + b"1]", 413, "payload_too_large"),
        (b"[" + b" " * 1024 * 1024 + b"]", 413, "payload_too_large"),
    ],
)
async def test_bulk_refused_as_a_whole(
    shared_api: Api, nothing_moves: None, body: bytes, status: int, code: str
) -> None:
    """Goal: a body that is not a list of 1 to 1,000 charges is refused as a whole."""
    reply = await shared_api.call(
        "POST", "/charges", data=io.BytesIO(body), headers={"content-type": "application/json"}
    )
    assert (reply.status, reply.code) == (status, code)
