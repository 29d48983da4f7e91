"""GET /balance and GET /transactions."""

from typing import Any

import pytest

from tests.integration.gateway.conftest import Api, new_key, together


async def test_unknown_user(shared_api: Api) -> None:
    """Goal: a user whom nothing was ever charged to has zeros and an empty list, not an error."""
    assert (await shared_api.get("/balance/nobody")).json == {
        "user_id": "nobody",
        "currency": "USD",
        "total": 0,
        "withdrawable": 0,
        "locked": 0,
        "held": 0,
    }
    assert (await shared_api.get("/transactions/nobody")).json == {
        "transactions": [],
        "total": 0,
        "page": 1,
        "limit": 20,
        "next_cursor": None,
    }


async def test_currencies_are_wallets(api: Api) -> None:
    """Goal: a user's currencies don't mix."""
    await api.charge(42, 1)
    await api.charge(42, 2, currency="EUR")
    assert (await api.get("/balance", user_id=42, currency="EUR")).json["total"] == 2
    assert (await api.get("/transactions/42", currency="EUR")).json["total"] == 1
    assert (await api.get("/balance/42")).json["total"] == 1


async def test_balances_together(api: Api) -> None:
    """Goal: many who ask at once each get their own wallet's balance, and what they charged before."""
    await together(*(api.charge(f"user-{n}", n + 1) for n in range(50)))
    replies = await together(*(api.get(f"/balance/user-{n % 60}") for n in range(300)))
    assert [reply.json["total"] for reply in replies] == [
        n % 60 + 1 if n % 60 < 50 else 0 for n in range(300)
    ]


async def test_read_your_own_write(api: Api) -> None:
    """Goal: a balance that is asked for after a charge was answered has it, under load too."""

    async def client(user: str) -> None:
        for number in range(1, 11):
            assert (await api.charge(user, 1)).status == 200
            assert (await api.balance(user))["total"] == number

    await together(*(client(f"client-{n}") for n in range(16)))


async def test_list(api: Api) -> None:
    """Goal: newest first; charges positive, withdrawals negative with their present status."""
    await api.charge(42, 100, metadata={"n": 1})
    withdrawal = (await api.withdraw(42, 30)).json
    await api.charge(42, 5)
    await api.call("POST", f"/withdrawals/{withdrawal['withdrawal_id']}/cancel")
    page = (await api.get("/transactions/42")).json
    assert [(one["type"], one["amount"], one["status"]) for one in page["transactions"]] == [
        ("charge", 5, "completed"),
        ("withdrawal", -30, "cancelled"),
        ("charge", 100, "completed"),
    ]
    assert page["transactions"][1]["id"] == withdrawal["withdrawal_id"]
    assert page["transactions"][2]["metadata"] == {"n": 1}
    assert page["total"] == 3


async def fill(api: Api, number: int) -> None:
    items = [{"user_id": 42, "amount": n + 1, "idempotency_key": new_key()} for n in range(number)]
    assert (await api.post("/charges", items)).status == 200


async def test_pages_and_cursors_agree(api: Api) -> None:
    """Goal: by pages and by cursors the same list comes, whole and once."""
    await fill(api, 25)
    by_page: list[Any] = []
    for page in (1, 2, 3):
        reply = (await api.get("/transactions/42", page=page, limit=10)).json
        assert (reply["page"], reply["limit"], reply["total"]) == (page, 10, 25)
        by_page += reply["transactions"]
    by_cursor: list[Any] = []
    query: dict[str, Any] = {}
    while True:
        reply = (await api.get("/transactions", user_id=42, limit=10, **query)).json
        by_cursor += reply["transactions"]
        if reply["next_cursor"] is None:
            break
        query = {"cursor": reply["next_cursor"]}
    assert by_cursor == by_page
    assert [one["amount"] for one in by_page] == list(range(25, 0, -1))
    assert (await api.get("/transactions/42", page=4, limit=10)).json["transactions"] == []


async def test_cursor_while_new_ones_come(api: Api) -> None:
    """Goal: charges between two pages neither duplicate nor hide any row."""
    await fill(api, 6)
    first = (await api.get("/transactions/42", limit=3)).json
    await fill(api, 4)
    second = (await api.get("/transactions/42", limit=3, cursor=first["next_cursor"])).json
    amounts = [one["amount"] for one in first["transactions"] + second["transactions"]]
    assert amounts == [6, 5, 4, 3, 2, 1]
    assert second["next_cursor"] is None
    assert second["page"] is None


@pytest.mark.parametrize(
    ("query", "bad"),
    [
        ({"page": 101, "limit": 100}, {"page"}),
        ({"page": 501}, {"page"}),
        ({"limit": 101}, {"limit"}),
        ({"cursor": "nonsense"}, {"cursor"}),
        ({"cursor": "AZnTwIsvfRCAAFvhwP_uAQ", "page": 1}, {"page"}),
        ({"offset": 1}, {"offset"}),
        ({"currency": "usd", "limit": 0}, {"currency", "limit"}),
    ],
)
async def test_bad_queries(shared_api: Api, query: dict[str, Any], bad: set[str]) -> None:
    """Goal: what can't be served is refused by name; the deepest page points to the cursor."""
    assert (await shared_api.get("/transactions/42", **query)).bad_fields == bad


async def test_deepest_page(shared_api: Api) -> None:
    """Goal: the limit itself is still served."""
    assert (await shared_api.get("/transactions/42", page=100, limit=100)).status == 200


async def test_bad_balance_queries(shared_api: Api) -> None:
    """Goal: whose balance has to be said, and nothing that means nothing."""
    assert (await shared_api.get("/balance")).bad_fields == {"user_id"}
    assert (await shared_api.get("/balance/42", wait=1)).bad_fields == {"wait"}
