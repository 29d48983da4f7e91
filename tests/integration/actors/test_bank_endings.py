"""Each way in which a bank call can end, one by one, against a server that ends it so."""

import asyncio
import gzip
import socket

import msgspec
import pytest

from actors.bank.http import REPLY_BYTES_MAX, HttpBank
from actors.bank.protocol import PayoutOrder
from tests.integration.actors import fault_server as ending
from tests.integration.actors.fault_server import Ending, FaultServer
from tests.polling import poll_until
from wallet.outcomes import Accepted, BankUnavailable, Declined, NotFound, OutcomeUnknown, Paid, Returned

REFERENCE = "0190a5e2-7c3b-7000-8000-000000000001"
PAID: dict[str, object] = {
    "payout_id": "po_1",
    "reference": REFERENCE,
    "status": "paid",
    "amount": 1250,
    "currency": "USD",
}
WHOLE = msgspec.json.encode(PAID)
DECLINED: dict[str, object] = {"reference": REFERENCE, "status": "declined", "code": "account_closed"}


ZIPPED = gzip.compress(WHOLE)


def reply(headers: bytes = b"") -> bytes:
    """The reply to a payment that was made, with further header lines."""
    return b"HTTP/1.1 201 X\r\n%sContent-Length: %d\r\n\r\n%s" % (headers, len(WHOLE), WHOLE)


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
    "422 declined": (ending.answer(422, DECLINED), Declined("account_closed")),
    "422 declined, amounts repeated": (
        ending.answer(422, DECLINED | {"amount": 1250, "currency": "USD", "destination": {"iban": "DE00"}}),
        Declined("account_closed"),
    ),
    "422 declined, of another amount": (ending.answer(422, DECLINED | {"amount": 125}), OutcomeUnknown),
    "422 declined, of another reference": (
        ending.answer(422, DECLINED | {"reference": REFERENCE[:-1] + "2"}),
        OutcomeUnknown,
    ),
    "422 with a mere code": (ending.answer(422, {"code": "account_closed"}), OutcomeUnknown),
    "422, the key is in use": (
        ending.answer(422, {"status": 422, "code": "idempotency_key_in_use", "reference": REFERENCE}),
        OutcomeUnknown,
    ),
    "422 without a code": (ending.answer(422, DECLINED | {"code": None}), OutcomeUnknown),
    "422 with an empty code": (ending.answer(422, DECLINED | {"code": ""}), OutcomeUnknown),
    "422 that says paid": (ending.answer(422, PAID), OutcomeUnknown),
    "422 that says pending": (ending.answer(422, PAID | {"status": "pending"}), OutcomeUnknown),
    "200 declined": (ending.answer(200, DECLINED), OutcomeUnknown),
    "201 declined": (ending.answer(201, DECLINED), OutcomeUnknown),
    "400 declined": (ending.answer(400, DECLINED), OutcomeUnknown),
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
    "another status": (ending.answer(201, PAID | {"status": "frozen"}), OutcomeUnknown),
    "201 pending": (ending.answer(201, PAID | {"status": "pending"}), Accepted("po_1")),
    "202 accepted": (ending.answer(202, {"reference": REFERENCE, "status": "accepted"}), Accepted()),
    "202 that says paid": (ending.answer(202, PAID), OutcomeUnknown),
    "202 without a word": (ending.answer(202), OutcomeUnknown),
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
    "100 continue first": (ending.raw(b"HTTP/1.1 100 Continue\r\n\r\n" + reply()), Paid("po_1")),
    "switching protocols": (
        ending.raw(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" + reply()),
        OutcomeUnknown,
    ),
    "another version of HTTP": (ending.raw(reply().replace(b"HTTP/1.1", b"HTTP/2.0")), OutcomeUnknown),
    "HTTP/1.0 with a length": (ending.raw(reply().replace(b"HTTP/1.1", b"HTTP/1.0")), Paid("po_1")),
    "HTTP/1.0, ended by the connection": (ending.raw(b"HTTP/1.0 201 X\r\n\r\n" + WHOLE), OutcomeUnknown),
    "chunked with a trailer": (
        ending.raw(
            b"HTTP/1.1 201 X\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"%x;e=1\r\n%s\r\n0\r\nX-T: 1\r\n\r\n" % (len(WHOLE), WHOLE)
        ),
        Paid("po_1"),
    ),
    "chunked, then one byte more": (
        ending.raw(
            b"HTTP/1.1 201 X\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"%x\r\n%s\r\n0\r\n\r\n\n" % (len(WHOLE), WHOLE)
        ),
        OutcomeUnknown,
    ),
    "chunked and with a length": (
        ending.raw(
            b"HTTP/1.1 201 X\r\nTransfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n" % len(WHOLE)
            + b"%x\r\n%s\r\n0\r\n\r\n" % (len(WHOLE), WHOLE)
        ),
        OutcomeUnknown,
    ),
    "two lengths": (ending.raw(reply(b"Content-Length: %d\r\n" % (len(WHOLE) + 1))), OutcomeUnknown),
    "a length of less than what comes": (ending.answer(201, WHOLE + b" ", length=len(WHOLE)), OutcomeUnknown),
    "an empty line after the reply": (ending.raw(reply() + b"\r\n"), OutcomeUnknown),
    "another reply after the reply": (ending.raw(reply() + reply()), OutcomeUnknown),
    "gzip": (
        ending.raw(
            b"HTTP/1.1 201 X\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s"
            % (len(ZIPPED), ZIPPED)
        ),
        OutcomeUnknown,
    ),
    "said to be gzip": (ending.raw(reply(b"content-encoding: GZIP\r\n")), OutcomeUnknown),
    "encoded as it is": (ending.raw(reply(b"Content-Encoding: identity\r\n")), Paid("po_1")),
    "no content, with content": (ending.raw(reply().replace(b" 201 ", b" 204 ")), OutcomeUnknown),
    "not modified": (ending.raw(b"HTTP/1.1 304 X\r\n\r\n"), OutcomeUnknown),
    "307 to another address": (
        ending.raw(b"HTTP/1.1 307 X\r\nLocation: /payouts\r\nContent-Length: 0\r\n\r\n"),
        OutcomeUnknown,
    ),
    "byte by byte": (ending.trickle(reply()), Paid("po_1")),
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
    "200 returned": (ending.answer(200, PAID | {"status": "returned"}), Returned("po_1", 1250)),
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
    """Goal: a name that can't be resolved (a container that was stopped) means that nothing was sent, and says so."""
    bank = HttpBank("http://bank.invalid", timeout_ms=30_000, connect_timeout_ms=20_000, connections_max=1)
    outcome = await bank.pay(order)
    await bank.close()
    assert is_(outcome, BankUnavailable("not connected: its name can't be resolved"))


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
    """Goal: what a server says after its reply is no answer to the next payment, whenever it comes."""

    async def one_more_later(_: object, writer: asyncio.StreamWriter) -> None:
        writer.write(reply())
        await asyncio.sleep(0.01)
        writer.write(reply())

    fault_server.script.extend([one_more_later, ending.answer(500)])
    assert is_(await bank.pay(order), Paid("po_1"))
    idle = bank._client._idle
    await poll_until(lambda: not any(connection.is_reusable for connection in idle))
    assert type(await bank.pay(order)) is OutcomeUnknown
    assert fault_server.connections == 2


async def test_what_came_before_the_request_is_no_reply_to_it(
    bank: HttpBank, fault_server: FaultServer, order: PayoutOrder
) -> None:
    """Goal: bytes that wait unread on an idle connection, a whole reply even, answer nothing that is sent later."""
    sent = asyncio.Event()

    async def half_a_reply_later(_: object, writer: asyncio.StreamWriter) -> None:
        writer.write(reply())
        await asyncio.sleep(0.01)
        writer.get_extra_info("socket")._sock.send(reply()[:50])
        sent.set()

    for stray in (half_a_reply_later, half_a_reply_later):
        sent.clear()
        fault_server.script.extend([stray, ending.answer(503)])
        assert is_(await bank.pay(order), Paid("po_1"))
        await sent.wait()  # they are in our socket now, and nobody has read them
        assert type(await bank.pay(order)) is BankUnavailable
        assert len(fault_server.requests) % 2 == 0


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
