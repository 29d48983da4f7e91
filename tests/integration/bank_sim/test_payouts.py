"""Paying, asking and reading the books."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest


async def test_paid_once(bank: Any) -> None:
    """Goal: the same payment again gets the same receipt and pays nothing."""
    first = await bank.pay("w-1", destination={"iban": "X", "name": "Y"})
    assert {name: first[1][name] for name in ("amount", "currency", "destination")} == {
        "amount": 100,
        "currency": "USD",
        "destination": {"iban": "X", "name": "Y"},
    }
    again = await bank.pay("w-1", destination={"name": "Y", "iban": "X"})
    assert (first[0], again[0]) == (201, 200)
    assert first[1] == again[1]
    assert first[1]["status"] == "paid"
    assert first[1]["reference"] == "w-1"
    assert [line["reference"] for line in await bank.books()] == ["w-1"]


async def test_a_destination_comes_back_as_it_came(bank: Any) -> None:
    """Goal: what the payer sent, digits and all, is what a look-up and a repetition show."""
    body = (
        b'{"reference": "w-1", "amount": 1, "currency": "USD", "destination": {"b": 1.10, "a":  [1e2, null]}}'
    )
    headers = {"Idempotency-Key": "w-1", "Content-Type": "application/json"}
    for _ in range(2):
        assert (await bank.call("POST", "/payouts", data=body, headers=headers))[0] in (200, 201)
    assert b'"destination":{"b": 1.10, "a":  [1e2, null]}' in await bank.read("/payouts/w-1")


@pytest.mark.parametrize(
    "number", ["1E400", "-0", "1e-99999999999999999999", "1" * 4000, "0.1000000000000000055511151231257827"]
)
async def test_a_number_that_no_float_can_hold(bank: Any, number: str) -> None:
    """Goal: a destination belongs to the payer: its numbers are kept unchanged, and different ones stay different."""
    headers = {"Idempotency-Key": "w-1", "Content-Type": "application/json"}

    async def order(value: str, blank: str) -> int:
        text = f'{{"reference":"w-1","amount":1,"currency":"USD","destination":{{"n":{blank}{value}}}}}'
        status: int = (await bank.call("POST", "/payouts", data=text.encode(), headers=headers))[0]
        return status

    assert await order(number, "") == 201
    assert await order(number, " ") == 200
    assert await order("0.1", "") == 409
    assert f'"destination":{{"n":{number}}}'.encode() in await bank.read("/payouts/w-1")


async def test_many_at_once_pay_once(bank: Any) -> None:
    """Goal: 64 concurrent payments of one reference are one payout."""
    answers = await asyncio.gather(*(bank.pay("w-1") for _ in range(64)))
    assert sorted(status for status, _ in answers) == [200] * 63 + [201]
    assert len({body["payout_id"] for _, body in answers}) == 1
    assert len(await bank.books()) == 1


async def test_another_key_does_not_pay_again(bank: Any) -> None:
    """Goal: the reference decides, so a payer that lost its key is not paid for twice."""
    first = await bank.pay("w-1")
    assert await bank.pay("w-1", key="other") == (200, first[1])


@pytest.mark.parametrize("change", [{"amount": 101}, {"currency": "EUR"}, {"destination": "x"}])
async def test_other_body_conflicts(bank: Any, change: dict[str, Any]) -> None:
    """Goal: a reference cannot come to mean another payment."""
    await bank.pay("w-1")
    status, body = await bank.pay("w-1", **change)
    assert (status, body["code"]) == (409, "payout_conflict")
    assert (await bank.find("w-1"))[1]["amount"] == 100


@pytest.mark.parametrize("key_of_first", ["w-1", "k-1"])
async def test_reused_key_conflicts(bank: Any, key_of_first: str) -> None:
    """Goal: a key stands for one payout, also where it is not the reference."""
    await bank.pay("w-1", key=key_of_first)
    status, body = await bank.pay("w-2", key=key_of_first)
    assert (status, body["code"]) == (409, "payout_conflict")
    assert (await bank.find("w-2"))[0] == 404


async def test_conflicts_within_one_commit(bank: Any) -> None:
    """Goal: what arrives together is decided one after the other."""
    answers = await asyncio.gather(*(bank.pay("w-1", amount=100 + number % 2) for number in range(40)))
    statuses = [status for status, _ in answers]
    assert statuses.count(201) == 1
    assert (statuses.count(200), statuses.count(409)) == (19, 20)


async def test_invalid_is_refused(bank: Any) -> None:
    """Goal: bad input gets 422, names its field and moves nothing."""
    for change in (
        {"amount": 0},
        {"amount": -1},
        {"amount": 1.0},
        {"amount": "1"},
        {"amount": True},
        {"amount": 2**63},
        {"amount": None},
        {"currency": "usd"},
        {"currency": "USDX"},
        {"currency": "USD\n"},
        {"reference": ""},
        {"reference": "r" * 256},
        {"reference": "a b"},
        {"reference": "a\n"},
        {"reference": 7},
        {"surprise": 1},
    ):
        body = {"reference": "w-1", "amount": 1, "currency": "USD", **change}
        status, problem = await bank.call("POST", "/payouts", json=body, headers={"Idempotency-Key": "k"})
        assert (status, problem.get("code")) == (422, "validation_failed"), change
        assert next(iter(change)) in problem["detail"]
    assert await bank.books() == []


_WITH = b'{"reference": "w-1", "amount": 1, "currency": "USD", "destination": %b}'


async def test_malformed_json(bank: Any) -> None:
    """Goal: a body that is not JSON gets 400."""
    for body in (
        b"",
        b"{",
        b"\xff",
        b'{"reference": "\xff"}',
        _WITH % b'{"a":"\xff"}',
        _WITH % b"01",
        b'{"destination":' + b"[" * 5000,
    ):
        status, problem = await bank.call("POST", "/payouts", data=body, headers={"Idempotency-Key": "k"})
        assert (status, problem["code"]) == (400, "malformed_json"), body[:30]
    assert await bank.books() == []


async def test_key_is_required(bank: Any) -> None:
    """Goal: nobody pays without an Idempotency-Key."""
    body = {"reference": "w-1", "amount": 1, "currency": "USD"}
    status, problem = await bank.call("POST", "/payouts", json=body)
    assert (status, problem["code"]) == (400, "idempotency_key_missing")


async def test_server_errors_are_problems(bank: Any) -> None:
    """Goal: what the server refuses by itself has a code too."""
    assert (await bank.call("GET", "/nothing"))[1]["code"] == "not_found"
    assert (await bank.call("DELETE", "/payouts"))[1]["code"] == "method_not_allowed"
    status, problem = await bank.pay("w-1", destination="x" * 100_000)
    assert (status, problem["code"]) == (413, "too_large")


async def test_books_in_order_and_resumable(bank: Any) -> None:
    """Goal: a reader gets every payout once, in booking order, and goes on where it stopped."""
    for number in range(7):
        await bank.pay(f"w-{number}")
    status, page = await bank.call("GET", "/payouts", params={"limit": 3})
    assert status == 200
    assert page["next"] == page["payouts"][-1]["payout_id"]
    lines = await bank.books(limit=3)
    assert [line["reference"] for line in lines] == [f"w-{number}" for number in range(7)]
    assert set(lines[0]) == {"payout_id", "reference", "amount", "currency", "status", "created_at"}
    end = lines[-1]["payout_id"]
    assert await bank.books(after=end) == []
    await bank.pay("w-7")
    assert [line["reference"] for line in await bank.books(after=end)] == ["w-7"]


async def test_bad_pages(bank: Any) -> None:
    """Goal: a wrong cursor is an error, never an empty page that ends an audit early."""
    for query in ({"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"limit": "²"}, {"after": "x"}):
        status, problem = await bank.call("GET", "/payouts", params=query)
        assert (status, problem["code"]) == (422, "validation_failed"), query
    _, paid = await bank.pay("w-1")
    for after in (paid["payout_id"][:-1] + "9", "po_00000000" + paid["payout_id"][-13:]):
        status, problem = await bank.call("GET", "/payouts", params={"after": after})
        assert (status, problem["code"]) == (422, "validation_failed"), after


async def test_a_full_page(bank: Any) -> None:
    """Goal: a page holds 1,000 payouts at most, and the next one goes on right behind it."""
    await asyncio.gather(*(bank.pay(f"w-{number}") for number in range(1_001)))
    status, page = await bank.call("GET", "/payouts", params={"limit": 1_000})
    assert (status, len(page["payouts"])) == (200, 1_000)
    _, rest = await bank.call("GET", "/payouts", params={"limit": 1_000, "after": page["next"]})
    assert (len(rest["payouts"]), rest["next"]) == (1, None)
    assert len({line["reference"] for line in page["payouts"] + rest["payouts"]}) == 1_001


async def test_find(bank: Any) -> None:
    """Goal: a reference can be asked for, also one that an address must quote."""
    assert (await bank.find("w-1"))[0] == 404
    await bank.pay("a:b%20c")
    status, body = await bank.find("a:b%2520c")
    assert (status, body["status"]) == (200, "paid")


async def test_metrics(bank: Any) -> None:
    """Goal: requests, payouts and faults are counted."""
    await bank.set_faults(error_rate=1)
    await bank.pay("w-0")
    await bank.heal()
    await bank.pay("w-1")
    text = await bank.metrics()
    assert 'bank_requests_total{route="POST /payouts",status="201"} 1.0' in text
    assert "bank_payouts_total" in text
    assert 'bank_faults_total{fault="error"} 1.0' in text
