"""Requests with a wrong path, method, parameter or state get their code and move no money."""

import re
from datetime import UTC, datetime

from tests.acceptance.refusals import NOBODY, check, state
from tests.polling import poll_until
from tests.service import Service, Split


async def test_what_is_not_there(service: Service) -> None:
    """Goal: 404 for unknown paths and withdrawals, however odd their spelling."""
    for path in ("/chargee", "/balance/a/b", "/withdrawals/x/y", "/.env", "/docs/..%2f..%2fetc%2fpasswd"):
        check(await service.call("GET", path), 404, "not_found")
    for id_ in (
        NOBODY,
        "x",
        NOBODY.replace("-", ""),
        f"{NOBODY}0",
        "%00",
        "..%2f",
        "'; drop table wallets; --",
    ):
        answer = await service.call("GET", f"/withdrawals/{id_}")
        assert answer.code in ("withdrawal_not_found", "not_found"), answer.body
        check(answer, 404, answer.code)
    check(await service.call("GET", f"/withdrawals/{NOBODY}"), 404, "withdrawal_not_found")
    check(await service.call("GET", "/withdrawals?idempotency_key=unused"), 404, "withdrawal_not_found")
    check(await service.call("POST", f"/withdrawals/{NOBODY}/cancel"), 404, "withdrawal_not_found")


async def test_another_method(service: Service) -> None:
    """Goal: 405 that says which methods are allowed."""
    before = await state(service)
    for method, path, allowed in (
        ("GET", "/charge", "POST"),
        ("PUT", "/charge", "POST"),
        ("DELETE", "/withdraw", "POST"),
        ("POST", f"/balance/{service.user}", "GET"),
        ("PATCH", f"/withdrawals/{NOBODY}", "GET"),
        ("POST", "/health", "GET"),
    ):
        answer = await service.call(method, path)
        check(answer, 405, "method_not_allowed")
        assert allowed in re.split(r",\s*", answer.headers["allow"])
    assert await state(service) == before


async def test_bad_parameters(service: Service) -> None:
    """Goal: 422 that names the parameter: unknown ones, twice given ones, numbers that are none."""
    for path, field in (
        ("/balance", "user_id"),
        ("/balance?user_id=", "user_id"),
        ("/balance?user_id=a%20b", "user_id"),
        ("/balance/ann?currency=usd", "currency"),
        ("/balance/ann?curency=USD", "curency"),
        ("/balance?user_id=a&user_id=b", "user_id"),
        ("/transactions/ann?limit=0", "limit"),
        ("/transactions/ann?limit=101", "limit"),
        ("/transactions/ann?limit=ten", "limit"),
        ("/transactions/ann?limit=1.5", "limit"),
        ("/transactions/ann?page=0", "page"),
        ("/transactions/ann?page=99999999999999999999", "page"),
        ("/transactions/ann?cursor=nonsense", "cursor"),
        (f"/withdrawals/{NOBODY}?wait=31", "wait"),
        (f"/withdrawals/{NOBODY}?wait=-1", "wait"),
        ("/withdrawals?idempotency_key=", "idempotency_key"),
        ("/charges", "user_id"),
        ("/holds?status=done", "status"),
    ):
        check(await service.call("GET", path), 422, "validation_failed", field=field)


async def test_too_late_to_cancel(service: Service) -> None:
    """Goal: 409 once the bank may have been called, and ever after; the money stays where it is."""
    await service.charge(100)
    await service.faults(outage=True)
    id_ = await service.withdraw(60)

    async def is_processing() -> bool:
        return bool((await service.withdrawal(id_))["status"] == "processing")

    await poll_until(is_processing)
    check(await service.call("POST", f"/withdrawals/{id_}/cancel"), 409, "not_cancellable")
    assert await service.split() == Split(40, held=60)
    await service.faults()
    assert await service.ends(id_) == "completed"
    check(await service.call("POST", f"/withdrawals/{id_}/cancel"), 409, "not_cancellable")
    assert await service.split() == Split(40)


async def test_a_callback_that_the_bank_did_not_sign(service: Service) -> None:
    """Goal: 401 for a caller that only claims to be the bank; its callback returns no money."""
    await service.charge(100)
    id_ = await service.withdraw(100)
    assert await service.ends(id_) == "completed"
    payout = (await service.withdrawal(id_))["bank_reference"]
    told = {
        "type": "payout.returned",
        "data": {"reference": id_, "payout_id": payout, "amount": 100, "currency": "USD"},
    }
    signed = {"webhook-id": "msg_1", "webhook-timestamp": str(int(datetime.now(UTC).timestamp()))}
    for headers in (
        {},
        signed,
        {**signed, "webhook-signature": "v1,AAAA"},
        {**signed, "webhook-signature": "no"},
    ):
        answer = await service.call("POST", "/bank/callbacks", json=told, headers=headers)
        check(answer, 401, "invalid_signature")
    assert await service.split() == Split(0)
    assert await service.ends(id_) == "completed"


async def test_a_refused_item_harms_no_other(service: Service) -> None:
    """Goal: in a bulk request each bad item has its own refusal, and the good ones take effect."""
    good = [service.order(10) for _ in range(3)]
    items = [
        good[0],
        {"user_id": 1},
        good[1],
        {**service.order(5), "no": 1},
        good[2],
        {**good[0], "amount": 11},
    ]
    answer = await service.call("POST", "/charges", json=items)
    assert answer.status == 200
    results = answer.json["results"]
    assert [result["status"] for result in results] == [200, 422, 200, 422, 200, 422]
    codes = [results[place]["error"]["code"] for place in (1, 3, 5)]
    assert codes == ["validation_failed", "validation_failed", "idempotency_key_reused"]
    assert await state(service) == (Split(30), 3)
    check(await service.call("POST", "/charges", json={}), 422, "validation_failed", field="$")
    check(await service.call("POST", "/charges", json=[]), 422, "validation_failed", field="$")
