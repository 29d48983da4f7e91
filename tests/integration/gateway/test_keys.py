"""The Idempotency-Key header as clients and proxies write it, on both ways through the gateway."""

import json
import re
from typing import Any, NamedTuple

import pytest

from tests.integration.gateway.conftest import Api, Gateway, new_key
from tests.tcp import connected

WAYS = {"the plain way": b"connection: keep-alive\r\n", "Sanic's own way": b"Connection: close\r\n"}


class Answer(NamedTuple):
    status: int
    replayed: bool
    body: bytes


async def send(gateway: Gateway, way: bytes, key_lines: list[bytes], body: bytes) -> Answer:
    """Send a charge with these header lines, byte for byte."""
    async with connected(gateway.port) as (reader, writer):
        lines = b"".join(line + b"\r\n" for line in key_lines)
        head = b"POST /charge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += b"%bContent-Length: %d\r\n%b\r\n" % (way, len(body), lines)
        writer.write(head + body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        [length] = re.findall(rb"content-length: (\d+)", head)
        answer = await reader.readexactly(int(length))
    return Answer(int(head.split()[1]), b"idempotent-replayed: true" in head, answer)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    "lines",
    [
        [b"Idempotency-Key: <key> "],
        [b"Idempotency-Key: \t<key>\t"],
        [b"idempotency-key:<key>"],
        [b"IDEMPOTENCY-KEY: <key>"],
        [b'Idempotency-Key: "<key>"'],
        [b'Idempotency-Key: "<key>";x=1'],
        [b'Idempotency-Key: "<key>"; retry; of="a\\"b"'],
        [b"Idempotency-Key: <key>", b"Idempotency-Key: <key>"],
        [b"Idempotency-Key: <key>", b'idempotency-key: "<key>"'],
        [b"Idempotency-Key: <key>, <key>"],
        [b'Idempotency-Key: "<key>","<key>"'],
    ],
)
async def test_one_key_in_many_forms(
    shared_api: Api, shared_gateway: Gateway, way: bytes, lines: list[bytes]
) -> None:
    """Goal: each of these names the key of the first request, so it is answered as that one was."""
    key, user = new_key(), new_key()
    body = json.dumps({"user_id": user, "amount": 100}).encode()
    first = await shared_api.charge(user, 100, idempotency_key=key)
    again = await send(shared_gateway, way, [line.replace(b"<key>", key.encode()) for line in lines], body)
    assert again == Answer(200, True, first.body)
    assert (await shared_api.balance(user))["total"] == 100


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    "lines",
    [
        [b"Idempotency-Key: <key>", b"Idempotency-Key: other"],
        [b"Idempotency-Key: other", b"Idempotency-Key: <key>"],
        [b"Idempotency-Key: <key>", b"Idempotency-Key:"],
        [b'Idempotency-Key: "<key>", "other"'],
        [b"Idempotency-Key:"],
        [b"Idempotency-Key: \t "],
        [b'Idempotency-Key: ""'],
        [b'Idempotency-Key: "'],
        [b'Idempotency-Key: "<key>'],
        [b"Idempotency-Key: <key>\xc3\xa9"],
        [b"Idempotency-Key: \xff"],
        [b"Idempotency-Key: " + b"x" * 256],
        [b"Idempotency-Key: " + b"x" * 4000],
    ],
)
async def test_no_one_key(
    shared_api: Api, shared_gateway: Gateway, nothing_moves: None, way: bytes, lines: list[bytes]
) -> None:
    """Goal: where it is not clear which key is meant, nothing is done, whether the body names one or not."""
    key = new_key()
    for fields in ({}, {"idempotency_key": key}):
        body = json.dumps({"user_id": "nobody", "amount": 100, **fields}).encode()
        answer = await send(
            shared_gateway, way, [line.replace(b"<key>", key.encode()) for line in lines], body
        )
        assert answer.status == 422, answer
        assert [error["field"] for error in json.loads(answer.body)["errors"]] == ["idempotency_key"]


async def test_a_withdrawal_is_found_by_its_key(shared_api: Api) -> None:
    """Goal: whichever way the key was given, the query finds it, blanks around it or not."""
    key, user = f'{new_key()} "x"', new_key()
    await shared_api.charge(user, 100)
    quoted = json.dumps(key)  # as RFC 8941 has it, too
    request = {"user_id": user, "amount": 10}
    first = await shared_api.with_headers(idempotency_key=quoted).post("/withdraw", request)
    again = await shared_api.withdraw(user, 10, idempotency_key=f" {key}\t")
    assert (first.status, again.status) == (202, 202)
    assert again.body == first.body
    for asked in (key, f" {key}", f"\t{key} "):
        found = await shared_api.get("/withdrawals", idempotency_key=asked)
        assert (found.status, found.json["withdrawal_id"]) == (200, first.json["withdrawal_id"])
    for wrong in ("", " ", "é", "x" * 256):
        assert (await shared_api.get("/withdrawals", idempotency_key=wrong)).bad_fields == {"idempotency_key"}
    for other in (quoted, key.upper()):
        assert (await shared_api.get("/withdrawals", idempotency_key=other)).status == 404


async def test_a_comma_in_a_key_is_a_letter(shared_api: Api) -> None:
    """Goal: a comma belongs to the key, with or without quotes around the whole; two quoted keys are refused."""
    key, user = f"{new_key()}, line 2", new_key()
    first = await shared_api.charge(user, 5, idempotency_key=key)
    for header in (key, json.dumps(key)):
        again = await shared_api.with_headers(idempotency_key=header).post(
            "/charge", {"user_id": user, "amount": 5}
        )
        assert (again.status, again.body) == (200, first.body)
    two: dict[str, Any] = {"user_id": user, "amount": 5}
    refused = await shared_api.with_headers(idempotency_key='"a", "line 2"').post("/charge", two)
    assert refused.bad_fields == {"idempotency_key"}
