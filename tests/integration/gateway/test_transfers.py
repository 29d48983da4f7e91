"""Transfers, holds and reversals over HTTP: what is refused and how, in bulk too."""

import json
from typing import Any

import pytest

from tests.integration.gateway.conftest import Api, new_key

LATER = "2100-01-01T00:00:00Z"


@pytest.fixture
def api(shared_api: Api) -> Api:
    """A client of the shared gateway: each test has users of its own."""
    return shared_api


def names() -> tuple[str, str]:
    """Return two users that nobody has used."""
    return f"payer-{new_key()}", f"payee-{new_key()}"


async def paid(api: Api, payer: str, payee: str, amount: int = 250, **more: Any) -> dict[str, Any]:
    """Charge a payer, let them pay, and return the transfer."""
    assert (await api.charge(payer, 1000)).status == 200
    body = {
        "from_user_id": payer,
        "to_user_id": payee,
        "amount": amount,
        "idempotency_key": new_key(),
        **more,
    }
    reply = await api.post("/transfers", body)
    assert reply.status == 200, reply
    transfer: dict[str, Any] = reply.json
    return transfer


async def test_one_leg_is_the_same_as_no_legs(api: Api) -> None:
    """Goal: `to_user_id` and `amount`, or one leg: one request under one key, answered with the same bytes."""
    payer, payee = names()
    await api.charge(payer, 1000)
    key = new_key()
    leg = {"to_user_id": payee, "amount": 5, "release_at": LATER}
    first = await api.post("/transfers", {"from_user_id": payer, "idempotency_key": key, **leg})
    again = await api.post("/transfers", {"from_user_id": payer, "idempotency_key": key, "legs": [leg]})
    assert first.status == again.status == 200
    assert first.body == again.body
    assert again.headers["idempotent-replayed"] == "true"
    assert (await api.balance(payee))["locked"] == 5
    assert (await api.get(f"/transfers/{first.json['id']}")).json == first.json


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"to_user_id": "bob"}, {"amount"}),
        ({"amount": 1}, {"to_user_id"}),
        ({}, {"to_user_id", "amount"}),
        ({"legs": []}, {"legs"}),
        ({"legs": [{"to_user_id": "bob", "amount": 1}] * 51}, {"legs"}),
        ({"legs": [{"to_user_id": "bob", "amount": 1, "note": 1}]}, {"legs"}),
        ({"legs": [{"to_user_id": "bob", "amount": 0}]}, {"legs"}),
        ({"legs": [{"to_user_id": "bob", "amount": 1, "release_at": "9999-01-01T00:00:00Z"}]}, {"legs"}),
        ({"legs": [{"to_user_id": "bob", "amount": 1}], "amount": 1}, {"amount"}),
        ({"legs": [{"to_user_id": "bob", "amount": 1}], "release_at": LATER}, {"release_at"}),
        ({"to_user_id": "ann", "amount": 1}, {"to_user_id"}),
        ({"to_user_id": "bob", "amount": 1, "release_at": "2020-01-01T00:00:00Z"}, {"release_at"}),
        ({"to_user_id": "bob", "amount": 1.5}, {"amount"}),
        ({"to_user_id": "bob", "amount": 2**53}, {"amount"}),
        ({"legs": [{"to_user_id": "bob", "amount": 2**53 - 1}] * 2}, {"legs"}),
        ({"to_user_id": "bob", "amount": 1, "metadata": []}, {"metadata"}),
    ],
)
async def test_bad_transfers_name_their_fields(api: Api, body: dict[str, Any], fields: set[str]) -> None:
    """Goal: whatever is wrong is named, and nothing moves."""
    await api.charge("ann", 10)
    before = await api.balance("ann")
    reply = await api.post("/transfers", {"from_user_id": "ann", "idempotency_key": new_key(), **body})
    assert reply.bad_fields == fields
    assert await api.balance("ann") == before


@pytest.mark.parametrize(
    "text",
    [
        '{"from_user_id":"ann","to_user_id":"bob","amount":1,"amount":9,"idempotency_key":"K"}',
        '{"from_user_id":"ann","legs":[{"to_user_id":"bob","amount":1,"amount":9}],"idempotency_key":"K"}',
        '{"from_user_id":"ann","legs":[{"to_user_id":"bob","amount":1,"amo\\u0075nt":9}],"idempotency_key":"K"}',
    ],
)
async def test_members_named_twice(api: Api, text: str) -> None:
    """Goal: an amount that is named twice is refused, within legs too."""
    await api.charge("ann", 10)
    reply = await api.call(
        "POST",
        "/transfers",
        data=text.replace("K", new_key()).encode(),
        headers={"content-type": "application/json"},
    )
    assert reply.bad_fields == {"amount" if "legs" not in text else "legs"}


async def test_refusals_tell_the_figures(api: Api) -> None:
    """Goal: a program learns from members, not from words, what was asked for and what there is."""
    payer, payee = names()
    transfer = await paid(api, payer, payee)
    key = {"idempotency_key": new_key()}
    short = await api.post("/transfers", {"from_user_id": payee, "to_user_id": payer, "amount": 251, **key})
    assert (short.status, short.code) == (422, "insufficient_funds")
    assert (short.json["amount"], short.json["withdrawable"]) == (251, 250)
    more = await api.post(f"/transfers/{transfer['id']}/reverse", {"amount": 251, **key})
    assert (more.status, more.code, more.json["amount"], more.json["left"]) == (
        422,
        "exceeds_original",
        251,
        250,
    )
    hold = (await api.post("/holds", {"user_id": payer, "amount": 40, **key})).json
    path = f"/holds/{hold['id']}/capture"
    much = await api.post(path, {"to_user_id": payee, "amount": 41, "idempotency_key": new_key()})
    assert (much.status, much.code, much.json["amount"], much.json["held"]) == (
        422,
        "capture_exceeds_hold",
        41,
        40,
    )


async def test_many_transfers_at_once(api: Api) -> None:
    """Goal: an array and lines: each item by itself, in order, replayed as a whole; one bad item harms no other."""
    payer, payee = names()
    await api.charge(payer, 100)
    items = [
        {"from_user_id": payer, "to_user_id": payee, "amount": 60, "idempotency_key": new_key()},
        {"from_user_id": payer, "to_user_id": payer, "amount": 1, "idempotency_key": new_key()},
        {"from_user_id": payer, "to_user_id": payee, "amount": 60, "idempotency_key": new_key()},
        {"from_user_id": payer, "to_user_id": payee, "amount": 40, "idempotency_key": new_key()},
    ]
    expected = [(200, None), (422, "validation_failed"), (422, "insufficient_funds"), (200, None)]
    for replayed in (False, True):
        results = (await api.post("/transfers", items)).json["results"]
        assert [(one["status"], one.get("error", {}).get("code")) for one in results] == expected
        assert all(one.get("replayed", False) is replayed for one in results if one["status"] == 200)
    lines = b"\n".join(json.dumps(item).encode() for item in items)
    headers = {"content-type": "application/x-ndjson", "accept": "application/x-ndjson"}
    reply = await api.call("POST", "/transfers", data=lines, headers=headers)
    assert [json.loads(line)["status"] for line in reply.body.splitlines()] == [one for one, _ in expected]
    assert (await api.balance(payee))["total"] == 100
    assert (await api.post("/transfers", [])).status == 422


@pytest.mark.parametrize("path", ["/transfers/{}", "/holds/{}", "/charges/{}"])
@pytest.mark.parametrize("id", ["0199d3c0-8b2f-7d10-8000-5be1c0ffee01", "nonsense", "42"])
async def test_what_is_not_there(api: Api, path: str, id: str) -> None:
    """Goal: whatever names nothing is 404, for reading and for every command."""
    path = path.format(id)
    reply = await api.get(path)
    assert (reply.status, reply.json["code"].endswith("_not_found")) == (404, True)
    orders: dict[str, list[tuple[str, dict[str, Any]]]] = {
        "transfers": [("reverse", {"idempotency_key": new_key()})],
        "charges": [("reverse", {"idempotency_key": new_key()})],
        "holds": [("capture", {"to_user_id": "bob", "idempotency_key": new_key()}), ("void", {})],
    }
    for what, body in orders[path.split("/")[1]]:
        assert (await api.post(f"{path}/{what}", body)).status == 404


async def test_what_takes_a_transfer_back_is_no_transfer(api: Api) -> None:
    """Goal: a reversal can't be reversed, and is not found among the transfers; a charge is no transfer either."""
    payer, payee = names()
    transfer = await paid(api, payer, payee)
    done = await api.post(
        f"/transfers/{transfer['id']}/reverse",
        {"amount": 50, "idempotency_key": new_key(), "reason": "broken"},
    )
    assert (done.status, done.json["reverses"], done.json["reason"]) == (200, transfer["id"], "broken")
    assert (await api.get(f"/transfers/{done.json['id']}")).status == 404
    again = {"idempotency_key": new_key()}
    assert (await api.post(f"/transfers/{done.json['id']}/reverse", again)).status == 404
    assert (await api.post(f"/charges/{transfer['id']}/reverse", again)).status == 404
    assert (await api.get(f"/transfers/{transfer['id']}")).json["reversed"] == 50
