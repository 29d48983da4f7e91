"""The bank is told which request a call comes from."""

import msgspec

from actors.bank.http import HttpBank
from actors.bank.protocol import PayoutOrder
from tests.integration.actors.fault_server import FaultServer, answer
from wallet.traces import Trace

TRACE = Trace("shop-17", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")


async def test_a_call_is_in_its_requests_trace(
    fault_server: FaultServer, bank: HttpBank, order: PayoutOrder
) -> None:
    """Goal: each call, ordering or looking up, names the request and is a span of its own in the request's trace."""
    fault_server.script.extend([answer(503)] * 4)
    traced = msgspec.structs.replace(order, trace=TRACE)
    for call in (bank.pay, bank.find):
        await call(traced)
        await call(order)
    of_traced, of_others = fault_server.requests[::2], fault_server.requests[1::2]
    places = [request.headers["traceparent"] for request in of_traced]
    assert [request.headers["x-request-id"] for request in of_traced] == [TRACE.request_id] * 2
    assert all((one[:36], one[52:]) == (TRACE.traceparent[:36], TRACE.traceparent[52:]) for one in places)
    assert len({TRACE.traceparent, *places}) == 3
    assert not any("traceparent" in request.headers for request in of_others)
