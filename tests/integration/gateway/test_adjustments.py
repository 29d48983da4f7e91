"""POST /operator/adjustments: an operator adds to a wallet and takes from it, alone or with a second person."""

import asyncio
from typing import Any

import aiohttp
import asyncpg
import pytest

from db.audit import Findings, audit_books
from tests.api_keys import create_key
from tests.integration.gateway.conftest import Api, StartGateway, new_key, together
from wallet.scopes import Scope

PATH = "/operator/adjustments"


async def adjust(api: Api, user: str, given: int, **more: Any) -> Any:
    """Ask for an adjustment by `given` minor units."""
    body = {"user_id": user, "amount": given, "reason": "chargeback 7", "idempotency_key": new_key(), **more}
    return await api.post(PATH, body)


async def audited(url: str) -> list[Any]:
    """Return the violations in the books."""
    connection = await asyncpg.connect(url, timeout=10)
    findings = Findings()
    await audit_books(connection, findings, lambda _: None)
    await connection.close(timeout=10)
    return findings.violations


async def test_money_is_added_and_taken(shared_api: Api, shared_database_url: str) -> None:
    """Goal: it takes effect once, is in the statement with its sign, in the list, and the books add up."""
    user = f"ann-{new_key()}"
    key = new_key()
    added = await adjust(shared_api, user, 500, idempotency_key=key)
    assert added.status == 200, added
    assert added.json["status"] == "completed"
    assert (added.json["amount"], added.json["reason"]) == (500, "chargeback 7")
    assert (added.json["by"], added.json["proposed_by"]) == ("operator", None)
    again = await adjust(shared_api, user, 500, idempotency_key=key)
    assert (again.body, again.headers["idempotent-replayed"]) == (added.body, "true")
    assert (await adjust(shared_api, user, 501, idempotency_key=key)).code == "idempotency_key_reused"
    taken = await adjust(shared_api, user, -120)
    assert (await shared_api.balance(user))["withdrawable"] == 380
    entries = (await shared_api.get(f"/wallets/{user}/entries")).json["entries"]
    assert [(entry["kind"], entry["amount"], entry["by"]) for entry in entries] == [
        ("adjustment", 500, "operator"),
        ("adjustment", -120, "operator"),
    ]
    listed = (await shared_api.get(PATH, limit=2)).json
    assert listed["items"] == [taken.json, added.json]
    for one in (taken, added):
        assert (await shared_api.get(f"{PATH}/{one.json['id']}")).json == one.json
    assert await audited(shared_database_url) == []


async def test_the_list_goes_on(shared_api: Api) -> None:
    """Goal: page by page every adjustment comes once, newest first."""
    user = f"ann-{new_key()}"
    made = [(await adjust(shared_api, user, amount)).json["id"] for amount in (1, 2, 3)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while len(seen) < len(made):
        page = (await shared_api.get(PATH, limit=1, **cursor)).json
        seen += [item["id"] for item in page["items"]]
        cursor = {"cursor": page["next_cursor"]}
    assert seen == made[::-1]


async def test_never_below_zero(shared_api: Api) -> None:
    """Goal: of what is locked or held nothing is taken, and of two that take the same at once one is refused."""
    user = f"ann-{new_key()}"
    await shared_api.charge(user, 100)
    await shared_api.charge(user, 900, release_at="2100-01-01T00:00:00Z")
    refused = await adjust(shared_api, user, -101)
    assert (refused.status, refused.code, refused.json["withdrawable"]) == (422, "insufficient_funds", 100)
    replies = await together(*(adjust(shared_api, user, -60) for _ in range(4)))
    assert sorted(reply.status for reply in replies) == [200, 422, 422, 422]
    assert await shared_api.balance(user) == {"total": 940, "withdrawable": 40, "locked": 900, "held": 0}
    nobody = await adjust(shared_api, f"nobody-{new_key()}", -1)
    assert nobody.code == "insufficient_funds"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": 2**53}, "amount"),
        ({"amount": -(2**53)}, "amount"),
        ({"amount": 1.5}, "amount"),
        ({"reason": ""}, "reason"),
        ({"reason": "two\nlines"}, "reason"),
        ({"reason": None}, "reason"),
        ({"currency": "UDS"}, "currency"),
        ({"user_id": "a b"}, "user_id"),
        ({"release_at": "2100-01-01T00:00:00Z"}, "release_at"),
    ],
)
async def test_what_is_wrong_is_named(shared_api: Api, change: dict[str, Any], field: str) -> None:
    """Goal: an adjustment without a reason, or of nothing, is refused by name."""
    assert (await adjust(shared_api, "ann", 1, **change)).bad_fields == {field}


async def test_who_may(
    start_gateway: StartGateway, database_url: str, session: aiohttp.ClientSession
) -> None:
    """Goal: only keys with `operate`, not bound to users; with WBS_SECOND_PERSON another one confirms."""
    secrets = {
        "eve": await create_key(database_url, "eve", Scope.OPERATE),
        "adam": await create_key(database_url, "adam", Scope.OPERATE),
        "shop": await create_key(database_url, "shop", Scope.CHARGE, Scope.READ, Scope.REVERSE),
        "partner": await create_key(
            database_url, "partner", Scope.OPERATE, space="partner", user_prefix="ann-"
        ),
    }
    gateway = await start_gateway(WBS_AUTH="on", WBS_SECOND_PERSON="1")
    plain = Api(gateway.url, session)
    eve, adam, shop, partner = (
        plain.with_headers(authorization=f"Bearer {secret}") for secret in secrets.values()
    )

    for api, status in ((plain, 401), (shop, 403), (partner, 403)):
        assert (await adjust(api, "ann-1", 5)).status == status
        assert (await api.get(PATH)).status == status

    key = new_key()
    proposed = await adjust(eve, "ann-1", 70, idempotency_key=key)
    assert (proposed.status, proposed.json["status"]) == (202, "proposed")
    assert (proposed.json["by"], proposed.json["proposed_by"]) == (None, "eve")
    confirm = f"{PATH}/{proposed.json['id']}/confirm"
    again = await adjust(eve, "ann-1", 70, idempotency_key=key)
    assert again.json == proposed.json
    assert (await adjust(eve, "ann-1", 71, idempotency_key=key)).code == "idempotency_key_reused"
    assert (await adam.get(PATH, status="proposed")).json["items"] == [proposed.json]
    assert (await adam.get(f"{PATH}/{proposed.json['id']}")).json == proposed.json
    assert (await adam.get(PATH)).json["items"] == []

    assert ((await eve.post(confirm)).status, (await eve.post(confirm)).code) == (409, "not_confirmable")
    assert (await shop.post(confirm)).status == 403
    unknown = await adam.post(f"{PATH}/{'0' * 8}-0000-7000-8000-{'0' * 12}/confirm")
    assert (unknown.status, unknown.code) == (404, "adjustment_not_found")
    replies = await asyncio.gather(*(adam.post(confirm) for _ in range(5)))
    assert {reply.status for reply in replies} == {200}
    [booked] = {reply.body for reply in replies}
    first = replies[0].json
    assert (first["status"], first["by"], first["proposed_by"], first["amount"]) == (
        "completed",
        "adam",
        "eve",
        70,
    )
    assert (await adam.get(f"{PATH}/{proposed.json['id']}")).body == booked
    assert (await adjust(eve, "ann-1", 70, idempotency_key=key)).body == booked
    assert (await adam.get(PATH, status="proposed")).json["items"] == []
    assert (await adam.get(PATH)).json["items"] == [first]

    old = await adjust(eve, "ann-1", -70)
    connection = await asyncpg.connect(database_url, timeout=10)
    await connection.execute("update adjustment_proposals set proposed_at = now() - interval '8 days'")
    late = await adam.post(f"{PATH}/{old.json['id']}/confirm")
    assert (late.status, late.code) == (409, "not_confirmable")
    assert (await adam.get(f"{PATH}/{old.json['id']}")).json["status"] == "expired"
    total = await connection.fetchval("select available from wallets where user_id = 'ann-1'")
    await connection.close(timeout=10)
    assert total == 70
    assert await audited(database_url) == []
