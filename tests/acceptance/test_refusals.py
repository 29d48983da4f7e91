"""Bad bodies of every kind get their code and an explanation, and move no money."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.acceptance.refusals import check, state
from tests.service import Service, Split

ENDPOINTS = ("/charge", "/withdraw")

# --- Each field ---

BAD_FIELDS: dict[str, list[Any]] = {
    "amount": [0, -1, 1.5, 10.0, 1e300, "100", True, None, [], {}, 2**53, 2**64, -(2**63)],
    "user_id": ["", " ", "a b", "x" * 129, "é", "a\u0000b", "a\nb", -1, 2**53, 1.5, True, None, [], {}],
    "idempotency_key": ["", "x" * 256, "é", "a\nb", 5, True, [], {}],
    "currency": ["usd", "US", "USDX", "US1", "", 5, True, [], "USD\n"],
    "metadata": [[], "text", 5, True, {str(n): n for n in range(51)}, {"a": "x" * 4097}],
}
BAD_RELEASES: list[Any] = [
    "2020-01-01T00:00:00Z",
    "2100-01-01T00:00:00",
    "2100-01-01",
    "2100-13-01T00:00:00Z",
    "tomorrow",
    "",
    4102444800,
    True,
    [],
]
BAD_DESTINATIONS: list[Any] = ["", "x" * 256, [], 5, True, {"a": "x" * 4097}]


def nested(levels: int) -> dict[str, Any]:
    """Return an object in an object in an object."""
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"a": found}
    return found


async def check_field(service: Service, path: str, field: str, values: list[Any]) -> None:
    """Assert that each value is refused by naming the field, moves nothing, and leaves the key free."""
    await service.charge(1000)
    before = await state(service)
    for value in values:
        order = service.order(100, key=uuid4().hex)
        answer = await service.call("POST", path, json={**order, field: value})
        check(answer, 422, "validation_failed", field=field)
        if field != "idempotency_key":
            key = order["idempotency_key"]
            by_key = await service.call("GET", f"/withdrawals?idempotency_key={key}")
            check(by_key, 404, "withdrawal_not_found")
    assert await state(service) == before
    assert (await service.call("POST", path, json=order)).status in (200, 202), "the key is still free"


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("field", BAD_FIELDS)
async def test_a_bad_field(service: Service, path: str, field: str) -> None:
    """Goal: booleans, floats and strings are not integers, and so on: 422 that names the field."""
    await check_field(service, path, field, BAD_FIELDS[field])


async def test_a_bad_release(service: Service) -> None:
    """Goal: `release_at` is RFC 3339 with an offset, and in the future."""
    just_gone = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    await check_field(service, "/charge", "release_at", [*BAD_RELEASES, just_gone])


async def test_a_bad_destination(service: Service) -> None:
    """Goal: a destination is a text or an object, of bounded size."""
    await check_field(service, "/withdraw", "destination", [*BAD_DESTINATIONS, nested(40)])


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_an_unknown_field(service: Service, path: str) -> None:
    """Goal: a mistyped field is refused; a mistyped `release_at` must not release money early."""
    await check_field(service, path, "relase_at", ["2100-01-01T00:00:00Z", None])


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("field", ["user_id", "amount", "idempotency_key"])
async def test_a_missing_field(service: Service, path: str, field: str) -> None:
    """Goal: a missing required field is named."""
    await service.charge(1000)
    before = await state(service)
    order = {name: value for name, value in service.order(100).items() if name != field}
    check(await service.call("POST", path, json=order), 422, "validation_failed", field=field)
    assert await state(service) == before


async def test_every_bad_field_is_named(service: Service) -> None:
    """Goal: one answer names all errors, so that nobody has to correct a request field by field."""
    answer = await service.call(
        "POST", "/charge", json={"amount": "x", "user_id": True, "currency": 1, "no": 0}
    )
    check(answer, 422, "validation_failed")
    named = {error["field"] for error in answer.json["errors"]}
    assert named == {"amount", "user_id", "currency", "no", "idempotency_key"}


# --- The whole request ---


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_what_is_no_json(service: Service, path: str) -> None:
    """Goal: 400 `malformed_json` for what can't be read, 422 for JSON that is no object."""
    await service.charge(1000)
    before = await state(service)
    headers = {"content-type": "application/json"}
    good = json.dumps(service.order(100)).encode()
    for body in (b"", b" ", b"{", good[:-1], good + b"}", b"\xff\xfe", b"{'a': 1}", b"NaN", b"[" * 1000):
        check(await service.call("POST", path, data=body, headers=headers), 400, "malformed_json")
    for body in (b"null", b"1", b'"text"', b"[]", b"[" + good + b"]", b"true"):
        check(
            await service.call("POST", path, data=body, headers=headers), 422, "validation_failed", field="$"
        )
    assert await state(service) == before


@pytest.mark.parametrize("path", [*ENDPOINTS, "/charges"])
async def test_another_media_type(service: Service, path: str) -> None:
    """Goal: 415 for what says that it is not JSON, even if it could be read."""
    await service.charge(1000)
    before = await state(service)
    body = json.dumps(service.order(100)).encode()
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
        "multipart/form-data",
        "json",
    ):
        answer = await service.call("POST", path, data=body, headers={"content-type": kind})
        check(answer, 415, "unsupported_media_type")
    assert await state(service) == before


@pytest.mark.parametrize("path", [*ENDPOINTS, "/charges"])
async def test_too_large_a_body(service: Service, path: str) -> None:
    """Goal: 413 for a body over the limit, and for too many charges at once."""
    await service.charge(1000)
    before = await state(service)
    order = service.order(100, metadata={"a": "x" * 1_100_000})
    body = io.BytesIO(json.dumps([order] if path == "/charges" else order).encode())
    answer = await service.call("POST", path, data=body, headers={"content-type": "application/json"})
    check(answer, 413, "payload_too_large")
    if path == "/charges":
        check(await service.call("POST", path, json=[{}] * 1001), 413, "payload_too_large")
    assert await state(service) == before


async def test_two_keys_in_one_request(service: Service) -> None:
    """Goal: body and header that name different keys are refused, rather than one of them chosen."""
    await service.charge(1000)
    before = await state(service)
    for path in ENDPOINTS:
        headers = {"idempotency-key": "another"}
        answer = await service.call("POST", path, json=service.order(100), headers=headers)
        check(answer, 422, "validation_failed", field="idempotency_key")
    assert await state(service) == before


async def test_a_key_of_another_request(service: Service) -> None:
    """Goal: a used key with any other request is refused: other amount, wallet, field or endpoint."""
    await service.charge(1000, key=f"{service.user}-used")
    before = await state(service)
    order = service.order(1000, key=f"{service.user}-used")
    for path, change in (
        ("/charge", {"amount": 1001}),
        ("/charge", {"user_id": "another"}),
        ("/charge", {"currency": "EUR"}),
        ("/charge", {"release_at": "2100-01-01T00:00:00Z"}),
        ("/charge", {"metadata": {"a": 1}}),
        ("/withdraw", {}),
    ):
        answer = await service.call("POST", path, json={**order, **change})
        check(answer, 422, "idempotency_key_reused")
    assert await state(service) == before
    assert (await service.call("POST", "/charge", json=order)).headers["idempotent-replayed"] == "true"


async def test_more_than_there_is(service: Service) -> None:
    """Goal: 422 `insufficient_funds` for money that is missing, locked, held, or in another currency."""
    await service.charge(100)
    await service.charge(50, release_at="2100-01-01T00:00:00Z")
    await service.charge(70, currency="EUR")
    before = await state(service)
    for amount in (101, 150, 2**53 - 1):
        order = service.order(amount)
        check(await service.call("POST", "/withdraw", json=order), 422, "insufficient_funds")
        assert (await service.charge(1, key=order["idempotency_key"])).status == 200, "the key is still free"
    order = service.order(10, user="nobody-has-charged-this")
    check(await service.call("POST", "/withdraw", json=order), 422, "insufficient_funds")
    split, movements = await state(service)
    assert (split.withdrawable, split.locked, movements) == (103, 50, before[1] + 3)


async def test_more_than_a_wallet_holds(service: Service) -> None:
    """Goal: 422 `balance_limit_exceeded` at 2^53-1, so that every balance stays exact in every JSON reader."""
    await service.charge(2**53 - 2)
    before = await state(service)
    check(await service.call("POST", "/charge", json=service.order(2)), 422, "balance_limit_exceeded")
    assert await state(service) == before
    await service.charge(1)
    assert await service.split() == Split(2**53 - 1)
