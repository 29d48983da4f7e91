"""The examples of the OpenAPI document tell one story, and every request in it succeeds, whatever user ids are."""

from typing import Any

import pytest

from tests import story
from tests.integration.gateway.conftest import Api, StartGateway

MODES = ("auto", "string", "integer")
LATER = {"getWithdrawal", "listWithdrawals", "listEvents", "getHealth", "getReadiness", "listCurrencies"}
"""Operations whose example shows what only actors, somebody's trouble or a setting bring about.

So does each of webhooks, to which a courier is needed.
"""


@pytest.fixture
async def own_api(request: pytest.FixtureRequest, start_gateway: StartGateway, session: Any) -> Api:
    """A client of a gateway on an empty database, with the test's WBS_USER_IDS."""
    gateway = await start_gateway(WBS_USER_IDS=request.param)
    return Api(gateway.url, session)


@pytest.mark.parametrize("own_api", MODES, indirect=True)
async def test_every_example_succeeds_again_and_again(own_api: Api) -> None:
    """Goal: whoever sends the examples from top to bottom succeeds at each, the first time and every other."""
    document = (await own_api.get("/openapi.json")).json
    for _ in range(2):
        steps = await story.told(document, own_api.call)
        for step in steps:
            story.check(document, step)
    sent = {step.id for step in steps} | set(story.NOT_OURS_TO_SEND)
    assert sent == {one["operationId"] for _, _, one in story.operations(document)}
    replayed = {step.id for step in steps if "idempotent-replayed" in step.answer.headers}
    assert {"createCharge", "createWithdrawal"} <= replayed


@pytest.mark.parametrize("own_api", MODES, indirect=True)
async def test_the_documented_answers_add_up(own_api: Api) -> None:
    """Goal: the figures and users of the documented answers are those that the requests before them lead to."""
    document = (await own_api.get("/openapi.json")).json
    for step in await story.told(document, own_api.call):
        content = step.operation["responses"][str(step.answer.status)]["content"].get("application/json", {})
        if "example" not in content or step.id in LATER or "webhook" in step.id.lower():
            continue
        if "results" not in step.answer.json or "results" in content["example"]:  # else: in bulk
            assert figures(step.answer.json) == figures(content["example"]), step.id


@pytest.mark.parametrize("own_api", ["string", "integer"], indirect=True)
async def test_the_other_spelling_of_users_is_refused(own_api: Api) -> None:
    """Goal: where user ids are strings (integers), each request that names a user refuses an integer (a text)."""
    document = (await own_api.get("/openapi.json")).json
    tried = set()
    for template, method, operation in story.operations(document):
        parameters = {one["name"]: one.get("example") for one in operation["parameters"]}
        path = template.format_map(parameters)
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            if kind != "application/json" or isinstance(content["example"], list):
                continue
            for name in (name for name in content["example"] if name.endswith("user_id")):
                right = content["example"][name]
                wrong = int(right) if isinstance(right, str) else str(right)
                reply = await own_api.call(method.upper(), path, json={**content["example"], name: wrong})
                assert reply.bad_fields == {name}, operation["operationId"]
                [error] = reply.json["errors"]
                assert error["reason"] == (
                    "must be a string, got an integer"
                    if isinstance(wrong, int)
                    else "must be an integer, got a string"
                )
                tried.add(operation["operationId"])
    assert {"createCharge", "createWithdrawal"} <= tried


async def test_integers_in_paths(start_gateway: StartGateway, session: Any) -> None:
    """Goal: where user ids are integers, no path or query names anything else, and each answer has an integer."""
    api = Api((await start_gateway(WBS_USER_IDS="integer")).url, session)
    for wrong in ("alice", "042", "-1", "4.0", "9007199254740992"):
        reply = await api.get(f"/balance/{wrong}")
        assert reply.bad_fields == {"user_id"}
        assert reply.json["errors"][0]["reason"] == "must be an integer from 0 to 2^53-1"
        assert (await api.get("/transactions", user_id=wrong)).bad_fields == {"user_id"}
    for right in (0, 42, 2**53 - 1):
        assert (await api.get(f"/balance/{right}")).json["user_id"] == right


async def test_one_wallet_whatever_the_setting(start_gateway: StartGateway, session: Any) -> None:
    """Goal: the setting is about spelling only: 42 and "42" are one wallet under all three."""
    amounts = {}
    for mode, user in (("auto", 42), ("string", "42"), ("integer", 42)):
        api = Api((await start_gateway(WBS_USER_IDS=mode)).url, session)
        reply = await api.charge(user, 100)
        assert (reply.status, reply.json["user_id"]) == (200, user)
        bulk = [{"user_id": user, "amount": 10, "idempotency_key": f"bulk-{mode}"}]
        [result] = (await api.post("/charges", bulk)).json["results"]
        assert result["transaction"]["user_id"] == user
        amounts[mode] = (await api.balance(user))["total"]
    assert amounts == {"auto": 110, "string": 220, "integer": 330}


def figures(value: Any, name: str = "") -> Any:
    """Return the numbers and users in a body; all else differs from one database to the other."""
    if isinstance(value, dict):
        inner = {key: figures(item, key) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item not in (None, {}, [])}
    if isinstance(value, list):
        return [figures(item) for item in value]
    is_figure = isinstance(value, int) and not isinstance(value, bool)
    return value if is_figure or name.endswith("user_id") else None
