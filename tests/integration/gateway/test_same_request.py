"""The same request under the same key: by value, through HTTP, and across the change of fingerprints."""

from random import Random
from typing import Any

import aiohttp
import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.gateway.conftest import Api, Gateway, Reply, new_key
from tests.json_spellings import json_objects, same, spelled

JSON = {"content-type": "application/json"}


async def post(api: Api, path: str, text: str) -> Reply:
    return await api.call("POST", path, data=text.encode(), headers=JSON)


@settings(max_examples=settings().max_examples // 4, suppress_health_check=list(HealthCheck))
@given(one=json_objects, other=json_objects, random=st.randoms(use_true_random=False))
async def test_spellings_replay_and_other_values_are_refused(
    shared_gateway: Gateway, one: Any, other: Any, random: Random
) -> None:
    """Goal: the same values in another spelling replay the first answer byte for byte, other values are refused."""
    key, user = new_key(), new_key()

    def body(metadata: Any, **more: str) -> str:
        members = {
            "user_id": f'"{user}"',
            "idempotency_key": f'"{key}"',
            "metadata": spelled(metadata, random),
            **more,
        }
        written = [f"{spelled(name, random)}:{value}" for name, value in members.items()]
        random.shuffle(written)
        return "{" + " ,".join(written) + "}"

    # A session for each example: hypothesis runs each in an event loop of its own.
    async with aiohttp.ClientSession() as session:
        api = Api((await shared_gateway.ready(session)).url, session)
        first = await post(api, "/charge", body(one, amount="700"))
        again = await post(api, "/charge", body(one, amount="700", currency='"USD"'))
        another = await post(api, "/charge", body(other, amount="700"))
        assert first.status == again.status == 200, (first, again)
        assert again.body == first.body
        assert again.headers["idempotent-replayed"] == "true"
        if same(one, other):
            assert another.body == first.body
        else:
            assert (another.status, another.code) == (422, "idempotency_key_reused")
        assert (await api.balance(user))["total"] == 700


FORMS = [
    ('{"a":1,"b":{"x":1,"y":2}}', '{"b": {"y": 2, "x": 1}, "a": 1}'),
    ('{"n":1}', '{"n":1.0}'),
    ('{"n":1E400}', '{"n":10E399}'),
    ('{"n":-0}', '{"n":0.00e7}'),
    ('{"t":"\\u00e9/"}', '{"t":"é\\/"}'),
    ("{}", "null"),
]
OTHERS = [
    ('{"n":0.1}', '{"n":0.1000000000000000055511151231257827}'),
    ('{"n":9007199254740993}', '{"n":9007199254740992}'),
    ('{"n":1}', '{"n":"1"}'),
    ('{"n":1}', '{"n":true}'),
    ('{"t":"é"}', '{"t":"e\u0301"}'),
    ('{"a":{}}', "{}"),
    ('{"a":null}', "{}"),
    ('{"a":[1,2]}', '{"a":[2,1]}'),
    ('{"a":1}', '{"A":1}'),
]


@pytest.mark.parametrize(
    ("one", "other", "replayed"), [(*pair, True) for pair in FORMS] + [(*pair, False) for pair in OTHERS]
)
async def test_destinations_and_metadata(shared_api: Api, one: str, other: str, replayed: bool) -> None:
    """Goal: the same holds for a withdrawal's destination and metadata; each is kept as it first came."""
    user = new_key()
    await shared_api.charge(user, 1000)
    for name in ("destination", "metadata"):
        text = f'{{"user_id":"{user}","amount":5,"idempotency_key":"{new_key()}","{name}":VALUE}}'
        first = await post(shared_api, "/withdraw", text.replace("VALUE", one))
        again = await post(shared_api, "/withdraw", text.replace("VALUE", other))
        assert first.status == 202
        assert f'"{name}":{one}'.encode() in first.body
        if replayed:
            assert (again.status, again.body) == (202, first.body)
        else:
            assert (again.status, again.code) == (422, "idempotency_key_reused")
        found = await shared_api.get(f"/withdrawals/{first.json['withdrawal_id']}")
        assert f'"{name}":{one}'.encode() in found.body


async def test_a_lock_to_the_end_of_time(shared_api: Api) -> None:
    """Goal: the last instant there is replays byte for byte and is listed as it was answered."""
    user = new_key()
    request = {
        "user_id": user,
        "amount": 5,
        "idempotency_key": new_key(),
        "release_at": "9000-12-31T23:59:59.999999Z",
    }
    first = await shared_api.post("/charge", request)
    again = await shared_api.post("/charge", request)
    assert (again.status, again.body) == (200, first.body)
    listed = await shared_api.get(f"/transactions/{user}")
    for reply in (first, listed):
        assert b'"release_at":"9000-12-31T23:59:59.999999Z"' in reply.body
    assert (await shared_api.balance(user))["locked"] == 5


@pytest.mark.parametrize(
    ("kept", "fingerprint", "sent", "replayed"),
    [
        (None, "6e628b7ea974a0d251af12713b836c4b", "null", True),
        ('{"b":1.5,"a":"é"}', "4e822528b61ba759e57902f70ad2d22b", '{"b": 1.50, "a": "\\u00e9"}', True),
        ('{"b":1.5,"a":"é"}', "4e822528b61ba759e57902f70ad2d22b", '{"a":"é","b":1.5}', False),
        ("{}", "cdab356d3ecf033aac57c0be949b26af", "{ }", True),
        ("{}", "cdab356d3ecf033aac57c0be949b26af", "null", False),
        (None, "6e628b7ea974a0d251af12713b836c4b", '{"a":1E400}', False),
    ],
)
async def test_rows_of_the_first_version(
    api: Api, connection: asyncpg.Connection, kept: str | None, fingerprint: str, sent: str, replayed: bool
) -> None:
    """Goal: what the version before wrote is repeated in its way: neither done again nor refused where it was not."""
    charged = await api.charge("ann", 5, idempotency_key="k1")
    # As the version before had written it: its fingerprint (a digest that its code made), its spelling of metadata.
    await connection.execute("alter table transfers disable trigger user")
    await connection.execute("update transfers set metadata = $1", kept)
    await connection.execute("alter table transfers enable trigger user")
    await connection.execute("update idempotency_keys set fingerprint = $1", bytes.fromhex(fingerprint))
    again = await post(
        api, "/charge", f'{{"user_id":"ann","amount":5,"idempotency_key":"k1","metadata":{sent}}}'
    )
    if replayed:
        assert (again.status, again.headers["idempotent-replayed"]) == (200, "true")
        assert again.json["id"] == charged.json["id"]
        assert f'"metadata":{kept or "null"}'.encode() in again.body
    else:
        assert (again.status, again.code) == (422, "idempotency_key_reused")
    assert (await api.balance("ann"))["total"] == 5


async def test_rows_of_a_later_version(api: Api, connection: asyncpg.Connection) -> None:
    """Goal: if a newer gateway wrote the row, this one answers that it can't tell, and no money moves."""
    await api.charge("ann", 5, idempotency_key="k1")
    await connection.execute(
        "update idempotency_keys set fingerprint = '\\x03000102030405060708090a0b0c0d0e0f'"
    )
    again = await api.charge("ann", 5, idempotency_key="k1")
    assert (again.status, again.code, again.headers["retry-after"]) == (503, "unavailable", "1")
    assert (await api.balance("ann"))["total"] == 5
