"""Each way a bank call can end, one by one, against a server that is told how to end it."""

import asyncio
import socket

import msgspec
import pytest

from actors.bank.http import REPLY_BYTES_MAX, HttpBank
from actors.bank.protocol import PayoutOrder
from tests.integration.actors import fault_server as ending
from tests.integration.actors.fault_server import Ending, FaultServer
from tests.polling import poll_until
from wallet.outcomes import BankUnavailable, Declined, NotFound, OutcomeUnknown, Paid

REFERENCE = "0190a5e2-7c3b-7000-8000-000000000001"
PAID = {"payout_id": "po_1", "reference": REFERENCE, "status": "paid", "amount": 1250, "currency": "USD"}
WHOLE = msgspec.json.encode(PAID)


def is_(outcome: object, expected: object) -> bool:
    """Equality that tells the outcomes apart: as tuples, Paid("x") == Declined("x")."""
    return type(outcome) is type(expected) and outcome == expected


PAY_ENDINGS: dict[str, tuple[Ending, object]] = {
    "201": (ending.answer(201, PAID), Paid("po_1")),
    "200, the same again": (ending.answer(200, PAID), Paid("po_1")),
    "201 without amount": (
        ending.answer(201, {"payout_id": "po_1", "reference": REFERENCE, "status": "paid"}),
        Paid("po_1"),
    ),
    "422 with a code": (ending.answer(422, {"code": "account_closed"}), Declined("account_closed")),
    "422 without a code": (ending.answer(422, {"message": "no"}), OutcomeUnknown),
    "422 with an empty code": (ending.answer(422, {"code": ""}), OutcomeUnknown),
    "422, not JSON": (ending.answer(422, b"<html>"), OutcomeUnknown),
    "429": (ending.answer(429, {"code": "slow_down"}), BankUnavailable),
    "503": (ending.answer(503), BankUnavailable),
    "500": (ending.answer(500, {"code": "internal"}), OutcomeUnknown),
    "502": (ending.answer(502), OutcomeUnknown),
    "504": (ending.answer(504), OutcomeUnknown),
    "409": (ending.answer(409, {"code": "payout_conflict"}), OutcomeUnknown),
    "400": (ending.answer(400, {"code": "declined"}), OutcomeUnknown),
    "401": (ending.answer(401, {"code": "declined"}), OutcomeUnknown),
    "404": (ending.answer(404, {"code": "declined"}), OutcomeUnknown),
    "302": (ending.answer(302), OutcomeUnknown),
    "204": (ending.answer(204), OutcomeUnknown),
    "invalid JSON": (ending.answer(201, b'{"payout_id": "po_1", '), OutcomeUnknown),
    "not UTF-8": (ending.answer(201, b'{"payout_id": "\xff"}'), OutcomeUnknown),
    "JSON of something else": (ending.answer(201, b"[]"), OutcomeUnknown),
    "wrong amount": (ending.answer(201, PAID | {"amount": 1251}), OutcomeUnknown),
    "wrong currency": (ending.answer(201, PAID | {"currency": "EUR"}), OutcomeUnknown),
    "wrong reference": (ending.answer(201, PAID | {"reference": "another"}), OutcomeUnknown),
    "amount as text": (ending.answer(201, PAID | {"amount": "1250"}), OutcomeUnknown),
    "another status": (ending.answer(201, PAID | {"status": "accepted"}), OutcomeUnknown),
    "paid without an id": (ending.answer(201, PAID | {"payout_id": ""}), OutcomeUnknown),
    "half a reply": (ending.answer(201, WHOLE[:20], length=len(WHOLE)), OutcomeUnknown),
    "whole JSON, yet half a reply": (ending.answer(201, WHOLE, length=len(WHOLE) + 9), OutcomeUnknown),
    "half a status line": (ending.raw(b"HTTP/1."), OutcomeUnknown),
    "not HTTP": (ending.raw(b"SSH-2.0-OpenSSH\r\n\r\n"), OutcomeUnknown),
    "a reply without end": (ending.answer(201, b" " * (REPLY_BYTES_MAX + 1) + WHOLE), OutcomeUnknown),
    "chunked": (
        ending.raw(
            b"HTTP/1.1 201 X\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (9, WHOLE[:9], len(WHOLE) - 9, WHOLE[9:])
        ),
        Paid("po_1"),
    ),
    "half the chunks": (
        ending.raw(b"HTTP/1.1 201 X\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(WHOLE), WHOLE)),
        OutcomeUnknown,
    ),
    "informational first": (
        ending.raw(
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 201 X\r\nContent-Length: %d\r\n\r\n%s"
            % (len(WHOLE), WHOLE)
        ),
        Paid("po_1"),
    ),
    "informational only": (ending.raw(b"HTTP/1.1 100 Continue\r\n\r\n"), OutcomeUnknown),
    "an end told by the connection's end": (
        ending.raw(b"HTTP/1.1 201 X\r\n\r\n" + WHOLE),
        OutcomeUnknown,
    ),
    "a head without end": (ending.raw(b"HTTP/1.1 201 X\r\n" + b"X-Y: z\r\n" * 40_000), OutcomeUnknown),
    "reset after the request": (ending.reset, OutcomeUnknown),
    "closed after the request": (ending.close, OutcomeUnknown),
    "hang past the timeout": (ending.hang, OutcomeUnknown),
}


@pytest.mark.parametrize("name", PAY_ENDINGS)
async def test_each_ending_of_a_payment_has_its_outcome(
    name: str, bank: HttpBank, hasty_bank: HttpBank, fault_server: FaultServer, order: PayoutOrder
) -> None:
    """Goal: only a refusal in readable words is a decline, only what was never taken is unavailable."""
    how, expected = PAY_ENDINGS[name]
    fault_server.script.append(how)
    outcome = await (hasty_bank if how is ending.hang else bank).pay(order)
    assert type(outcome) is expected if isinstance(expected, type) else is_(outcome, expected), outcome
    assert len(fault_server.requests) == 1, "a payment must never be repeated by the HTTP client itself"


FIND_ENDINGS: dict[str, tuple[Ending, object]] = {
    "200 paid": (ending.answer(200, PAID), Paid("po_1")),
    "200 returned": (ending.answer(200, PAID | {"status": "returned"}), Paid("po_1")),
    "200 declined": (
        ending.answer(200, PAID | {"status": "declined", "payout_id": None, "code": "account_closed"}),
        Declined("account_closed"),
    ),
    "200 declined without a code": (ending.answer(200, PAID | {"status": "declined"}), OutcomeUnknown),
    "200 wrong amount": (ending.answer(200, PAID | {"amount": 1}), OutcomeUnknown),
    "404": (ending.answer(404), NotFound()),
    "422": (ending.answer(422, {"code": "account_closed"}), OutcomeUnknown),
    "429": (ending.answer(429), BankUnavailable),
    "503": (ending.answer(503), BankUnavailable),
    "500": (ending.answer(500), OutcomeUnknown),
    "half a reply": (ending.answer(200, WHOLE[:9], length=len(WHOLE)), OutcomeUnknown),
    "hang": (ending.hang, OutcomeUnknown),
}


@pytest.mark.parametrize("name", FIND_ENDINGS)
async def test_each_ending_of_a_question_has_its_outcome(
    name: str, bank: HttpBank, hasty_bank: HttpBank, fault_server: FaultServer, order: PayoutOrder
) -> None:
    """Goal: a question is answered by the bank or not at all; 404 is not a decline."""
    how, expected = FIND_ENDINGS[name]
    fault_server.script.append(how)
    outcome = await (hasty_bank if how is ending.hang else bank).find(order)
    assert type(outcome) is expected if isinstance(expected, type) else is_(outcome, expected), outcome
    assert fault_server.requests[0].path == f"/payouts/{REFERENCE}"


async def test_a_refused_connection_is_unavailable(order: PayoutOrder) -> None:
    """Goal: a bank that is not there has certainly not paid."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        bank = HttpBank(
            f"http://127.0.0.1:{unused.getsockname()[1]}",
            timeout_ms=20_000,
            connect_timeout_ms=15_000,
            connections_max=1,
        )
        outcome = await bank.pay(order)
        found = await bank.find(order)
    await bank.close()
    assert type(outcome) is BankUnavailable
    assert type(found) is BankUnavailable


async def test_no_connection_in_time_is_unavailable(order: PayoutOrder) -> None:
    """Goal: a bank that does not take the connection (full backlog) has certainly not paid."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        for _ in range(8):  # until the backlog is full; then a SYN gets no answer
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        bank = HttpBank(
            f"http://127.0.0.1:{listener.getsockname()[1]}",
            timeout_ms=900,
            connect_timeout_ms=200,
            connections_max=1,
        )
        outcome = await bank.pay(order)
        await bank.close()
        for filler in fillers:
            filler.close()
    assert is_(outcome, BankUnavailable("connect timeout"))


async def test_an_unknown_host_is_unavailable(order: PayoutOrder) -> None:
    """Goal: a name that can't be resolved means that nothing was sent."""
    bank = HttpBank("http://bank.invalid", timeout_ms=30_000, connect_timeout_ms=20_000, connections_max=1)
    outcome = await bank.pay(order)
    await bank.close()
    assert type(outcome) is BankUnavailable


async def test_a_stale_connection_makes_a_payment_unknown_and_is_not_retried(
    bank: HttpBank, fault_server: FaultServer, order: PayoutOrder
) -> None:
    """Goal: a POST on a kept-alive connection that the bank closes is sent once, its outcome unknown."""
    fault_server.script.extend([ending.answer(201, PAID), ending.close, ending.answer(201, PAID)])
    assert is_(await bank.pay(order), Paid("po_1"))
    outcome = await bank.pay(order)
    assert type(outcome) is OutcomeUnknown
    assert len(fault_server.requests) == 2
    assert fault_server.connections == 1, "the second call reused the connection"


async def test_connections_are_kept_and_closed_as_the_server_says(
    bank: HttpBank, fault_server: FaultServer, order: PayoutOrder
) -> None:
    """Goal: a kept-alive connection serves many calls; one that says `Connection: close` serves no more."""
    whole = b"HTTP/1.1 201 X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(WHOLE), WHOLE)
    fault_server.script.extend([ending.answer(201, PAID), ending.answer(201, PAID), ending.raw(whole)])
    fault_server.script.append(ending.answer(201, PAID))
    for connections in (1, 1, 1, 2):
        assert is_(await bank.pay(order), Paid("po_1"))
        assert fault_server.connections == connections


async def test_a_second_reply_is_not_taken_for_the_next_one(
    bank: HttpBank, fault_server: FaultServer, order: PayoutOrder
) -> None:
    """Goal: a server that answers twice does not answer the next payment with it."""
    one = b"HTTP/1.1 201 X\r\nContent-Length: %d\r\n\r\n%s" % (len(WHOLE), WHOLE)

    async def twice(_: object, writer: asyncio.StreamWriter) -> None:
        writer.write(one + one)

    async def one_more_later(_: object, writer: asyncio.StreamWriter) -> None:
        writer.write(one)
        await asyncio.sleep(0.01)
        writer.write(one)

    for stray in (twice, one_more_later):
        fault_server.script.extend([stray, ending.answer(500)])
        assert is_(await bank.pay(order), Paid("po_1"))
        idle = bank._client._idle
        await poll_until(lambda idle=idle: not any(connection.is_reusable for connection in idle))
        assert type(await bank.pay(order)) is OutcomeUnknown


async def test_too_many_calls_at_once_are_not_sent(
    hasty_bank: HttpBank, fault_server: FaultServer, order: PayoutOrder
) -> None:
    """Goal: beyond its connections the client sends nothing, and says so."""
    fault_server.script.extend([ending.hang] * 4)
    outcomes = await asyncio.gather(*(hasty_bank.pay(order) for _ in range(5)))
    assert (
        sorted(type(outcome).__name__ for outcome in outcomes) == ["BankUnavailable"] + ["OutcomeUnknown"] * 4
    )
    assert len(fault_server.requests) == 4


async def test_a_failed_tls_handshake_is_unavailable(fault_server: FaultServer, order: PayoutOrder) -> None:
    """Goal: without TLS nothing is sent to a bank whose address says https."""
    bank = HttpBank(
        fault_server.url.replace("http", "https"), timeout_ms=1500, connect_timeout_ms=1000, connections_max=1
    )
    assert type(await bank.pay(order)) is BankUnavailable
    assert fault_server.requests == []
    await bank.close()


async def test_a_reference_can_not_add_headers(bank: HttpBank, fault_server: FaultServer) -> None:
    """Goal: line breaks in a reference never reach the wire."""
    with pytest.raises(ValueError, match="visible"):
        await bank.pay(PayoutOrder("x\r\nIdempotency-Key: y", 1, "USD"))
    assert fault_server.requests == []


async def test_a_payment_carries_key_and_the_same_bytes_each_time(
    bank: HttpBank, fault_server: FaultServer, order: PayoutOrder
) -> None:
    """Goal: sent again, an order is byte for byte the same, with the reference as its key."""
    fault_server.script.extend([ending.answer(201, PAID), ending.answer(200, PAID)])
    await bank.pay(order)
    await bank.pay(order)
    first, second = fault_server.requests
    assert first.body == second.body
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == REFERENCE
    assert msgspec.json.decode(first.body) == {
        "reference": REFERENCE,
        "amount": 1250,
        "currency": "USD",
        "destination": {"iban": "DE00"},
    }


async def test_a_cancelled_call_says_nothing(
    bank: HttpBank, fault_server: FaultServer, order: PayoutOrder
) -> None:
    """Goal: a coroutine cancelled in the middle of a call raises CancelledError; no outcome is made up."""
    fault_server.script.append(ending.hang)
    task = asyncio.create_task(bank.pay(order))
    await poll_until(lambda: fault_server.requests)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
