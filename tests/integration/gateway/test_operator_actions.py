"""POST /operator/…: what mends. Each is written down with the name of the key that did it."""

from typing import Any
from uuid import UUID, uuid4

import asyncpg

from tests.integration.gateway.conftest import Api
from tests.integration.gateway.test_operator import database as database
from tests.integration.gateway.test_operator import someone, stuck, taken


async def stuck_ones(api: Api, database: asyncpg.Connection, number: int, code: str) -> list[str]:
    """Return withdrawals that require attention for a reason of their own."""
    ids = [await taken(api, someone(), 10) for _ in range(number)]
    for id in ids:
        await stuck(database, id, code)
    return ids


async def withdrawal(api: Api, id: str) -> Any:
    """Return a withdrawal with its story."""
    return (await api.get(f"/operator/withdrawals/{id}")).json


def new_code() -> str:
    """Return a reason that no other test has."""
    return f"code_{uuid4().hex[:8]}"


async def test_replays_at_a_rate(shared_api: Api, database: asyncpg.Connection) -> None:
    """Goal: all of a reason are replayed, each due later than the one before; what needs none is refused by name."""
    code = new_code()
    ids = await stuck_ones(shared_api, database, 3, code)
    body = {"all": True, "failure_code": code, "per_s": 0.5, "after_s": 10}
    reply = (await shared_api.post("/operator/replays", body)).json
    assert (reply["replayed"], reply["refused"], reply["more"], reply["after_s"]) == (3, [], False, 16)
    rows = await database.fetch(
        "select status, next_attempt_at - updated_at as wait from withdrawals where id = any($1) order by id",
        [UUID(id) for id in ids],
    )
    assert [row["status"] for row in rows] == ["processing"] * 3
    assert [round(row["wait"].total_seconds()) for row in rows] == [10, 12, 14]
    again = (await shared_api.post("/operator/replays", {"ids": [ids[0], str(uuid4())]})).json
    assert again["replayed"] == 0
    assert [refusal["code"] for refusal in again["refused"]] == ["illegal_move", "withdrawal_not_found"]
    now = (await shared_api.get("/operator/overview")).json
    assert any(action["action"] == "replay" and action["withdrawals"] == 3 for action in now["actions"])
    assert (await shared_api.post("/operator/replays", {})).bad_fields == {"ids"}
    assert (await shared_api.post("/operator/replays", {"all": True, "per_sec": 1})).status == 422
    slowly = {"ids": [str(uuid4()), str(uuid4())], "per_s": 1e-9}  # due after a million years
    assert (await shared_api.post("/operator/replays", slowly)).bad_fields == {"per_s"}


async def test_settling_by_hand(shared_api: Api, database: asyncpg.Connection) -> None:
    """Goal: money goes to the bank or back to the wallet, once, with the reason and who said so; nothing else moves."""
    paid, unpaid = await stuck_ones(shared_api, database, 2, new_code())
    for id, outcome, reference, status in (
        (paid, "paid", "po_9", "completed"),
        (unpaid, "declined", None, "failed"),
    ):
        user = (await withdrawal(shared_api, id))["withdrawal"]["user_id"]
        path = f"/operator/withdrawals/{id}/settle"
        wrong = {"outcome": outcome, "reason": "seen", "bank_reference": None if reference else "po_9"}
        assert (await shared_api.post(path, wrong)).bad_fields == {"bank_reference"}
        right = {"outcome": outcome, "reason": "seen on paper", "bank_reference": reference}
        assert (await shared_api.post(path, right)).json["status"] == status
        assert await shared_api.balance(user) == {
            "total": 90 if reference else 100,
            "withdrawable": 90 if reference else 100,
            "locked": 0,
            "held": 0,
        }
        assert (await shared_api.post(path, right)).code == "illegal_move"
        story = await withdrawal(shared_api, id)
        assert "seen on paper" in story["timeline"][-2]["text"] + story["timeline"][-1]["text"]
        assert [step["by"] for step in story["timeline"] if step["what"] == status] == ["operator"]
        assert story["withdrawal"]["bank_reference"] == reference


async def test_pause_and_ask(shared_api: Api, database: asyncpg.Connection) -> None:
    """Goal: payouts pause with a reason and resume; an open withdrawal is asked about, one that has ended is not."""
    try:
        assert (await shared_api.post("/operator/payouts/pause", {"reason": "drill"})).status == 200
        assert await database.fetchval("select paused_by from stack") == "operator"
    finally:
        assert (await shared_api.post("/operator/payouts/resume")).json["was_paused"]
    assert await database.fetchval("select paused_at from stack") is None
    id = await taken(shared_api, someone())
    assert (await shared_api.post(f"/operator/withdrawals/{id}/redrive")).status == 200
    assert await database.fetchval("select count(*) from look_ups where withdrawal_id = $1", UUID(id)) == 1
    assert (await shared_api.post(f"/withdrawals/{id}/cancel")).status == 200
    assert (await shared_api.post(f"/operator/withdrawals/{id}/redrive")).code == "illegal_move"
    assert (await shared_api.post(f"/operator/withdrawals/{uuid4()}/redrive")).code == "withdrawal_not_found"
    steps = [step["what"] for step in (await withdrawal(shared_api, id))["timeline"]]
    assert "ask the bank" in steps


async def test_locks(shared_api: Api) -> None:
    """Goal: what of a wallet is locked is listed, the soonest first."""
    user = someone()
    for year in (2400, 2300):
        assert (await shared_api.charge(user, 5, release_at=f"{year}-01-01T00:00:00Z")).status == 200
    locks = (await shared_api.get("/operator/locks", user_id=user, currency="USD")).json
    assert [(lock["release_at"][:4], lock["amount"]) for lock in locks] == [("2300", 5), ("2400", 5)]
