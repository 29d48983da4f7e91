"""Which currencies are taken: WBS_CURRENCIES, GET /currencies, and wallets in a currency that is no longer taken."""

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.integration.gateway.conftest import Api, StartGateway, new_key


@pytest.fixture(scope="module")
def shared_environment() -> dict[str, str]:
    """The shared gateway takes these."""
    return {"WBS_CURRENCIES": "USD,JPY,KWD,PTS:0"}


async def test_the_list(shared_api: Api) -> None:
    """Goal: code and decimal places of each currency, own units too, and the default."""
    reply = await shared_api.get("/currencies")
    assert reply.status == 200
    assert reply.json == {
        "currencies": [
            {"code": "JPY", "exponent": 0},
            {"code": "KWD", "exponent": 3},
            {"code": "PTS", "exponent": 0},
            {"code": "USD", "exponent": 2},
        ],
        "default": "USD",
    }
    assert (await shared_api.get("/currencies", code="USD")).bad_fields == {"code"}


def _properties(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The members of a body, or of the items of a list."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if schema.get("type") == "array":
        return _properties(document, schema["items"])
    properties: dict[str, Any] = schema.get("properties", {})
    return properties


def _with_currency(document: dict[str, Any]) -> list[tuple[str, str, bool, Any]]:
    """Each operation that takes a currency: method, path, whether as a parameter, and an example of its body."""
    found = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if any(one.get("name") == "currency" for one in operation.get("parameters", ())):
                found.append((method.upper(), path, True, None))
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if "currency" in _properties(document, content.get("schema", {})):
                found.append((method.upper(), path, False, content["example"]))
    return found


@pytest.mark.usefixtures("nothing_moves")
async def test_everything_that_takes_a_currency_refuses_others(shared_api: Api) -> None:
    """Goal: every parameter and every body that names a currency we don't take is refused, and told what we take."""
    operations = _with_currency((await shared_api.get("/openapi.json")).json)
    told = {(method, path) for method, path, _, _ in operations}
    assert told >= {
        ("POST", "/charge"),
        ("POST", "/charges"),
        ("POST", "/withdraw"),
        ("GET", "/balance"),
        ("GET", "/balance/{user_id}"),
        ("GET", "/transactions"),
        ("GET", "/transactions/{user_id}"),
    }
    for method, path, in_query, example in operations:
        for code in ("UDS", "EUR", "XTS"):
            if in_query:
                query = {"currency": code} | ({} if "{user_id}" in path else {"user_id": "ann"})
                reply = await shared_api.get(path.replace("{user_id}", "ann"), **query)
                errors = reply.json.get("errors")
            elif isinstance(example, list):
                items = [{**item, "currency": code, "idempotency_key": new_key()} for item in example]
                results = (await shared_api.post(path, items)).json["results"]
                assert [result["status"] for result in results] == [422] * len(items)
                errors = results[0]["error"]["errors"]
            else:
                body = {**example, "currency": code, "idempotency_key": new_key()}
                errors = (await shared_api.post(path, body)).json.get("errors")
            reason = f"{code} is not taken here, only USD, JPY, KWD, PTS (GET /currencies)"
            assert errors == [{"field": "currency", "reason": reason}], (method, path)


async def test_own_units_and_all_exponents(shared_api: Api) -> None:
    """Goal: money without decimal places, with three, and points are wallets like any other."""
    for code in ("JPY", "KWD", "PTS"):
        assert (await shared_api.charge("own", 1234, currency=code)).status == 200
        assert (await shared_api.withdraw("own", 34, currency=code)).status == 202
        balance = (await shared_api.get("/balance/own", currency=code)).json
        assert (balance["currency"], balance["withdrawable"], balance["held"]) == (code, 1200, 34)


async def test_by_default_all_money_is_taken(api: Api) -> None:
    """Goal: without the setting every currency that people pay in is taken, gold and misspellings are not."""
    listed = (await api.get("/currencies")).json
    assert {"code": "EUR", "exponent": 2} in listed["currencies"]
    assert (await api.charge(1, currency="EUR")).status == 200
    for code in ("UDS", "XAU", "XTS"):
        reply = await api.charge(1, currency=code)
        assert reply.bad_fields == {"currency"}
        assert "only ISO 4217 codes of money in use (GET /currencies)" in reply.json["detail"]


async def test_a_currency_that_is_no_longer_taken(
    api: Api, start_gateway: StartGateway, session: aiohttp.ClientSession
) -> None:
    """Goal: its wallets can be read and paid out, repetitions get their first answer, and no money is added."""
    body = {"user_id": "old", "amount": 100, "currency": "EUR", "idempotency_key": "before"}
    first = await api.post("/charge", body)
    assert first.status == 200
    gateway = await start_gateway(WBS_CURRENCIES="USD")
    later = Api(gateway.url, session)

    again = await later.post("/charge", body)
    assert (again.status, again.body) == (200, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    other = await later.post("/charge", {**body, "amount": 101})
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    bulk = (await later.post("/charges", [body, {**body, "idempotency_key": "new"}])).json["results"]
    assert [result["status"] for result in bulk] == [200, 422]
    assert bulk[1]["error"]["errors"][0]["field"] == "currency"
    assert (await later.charge("old", currency="EUR")).bad_fields == {"currency"}

    assert (await later.get("/balance/old", currency="EUR")).json["withdrawable"] == 100
    assert (await later.get("/transactions/old", currency="EUR")).json["total"] == 1
    out = {"user_id": "old", "amount": 60, "currency": "EUR", "idempotency_key": "out"}
    assert (await later.post("/withdraw", out)).status == 202
    short = await later.withdraw("old", 60, currency="EUR")
    assert (short.status, short.code) == (422, "insufficient_funds")
    assert (await later.get("/balance/old", currency="EUR")).json["held"] == 60

    for reply in await asyncio.gather(
        later.get("/balance/never", currency="EUR"),
        later.get("/transactions/never", currency="EUR"),
        later.withdraw("never", currency="EUR"),
        later.get("/balance/old", currency="GBP"),
    ):
        assert reply.bad_fields == {"currency"}
