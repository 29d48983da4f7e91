"""The bank is told which request a call comes from."""

import msgspec
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from actors.bank.http import HttpBank
from actors.bank.protocol import PayoutOrder
from runtime.otel import QUEUE_MAX, OtelTracer
from runtime.spans import spans
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


async def test_the_bank_is_told_the_span_that_the_collector_knows(
    fault_server: FaultServer, bank: HttpBank, order: PayoutOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: where spans are told, what the bank does because of a call can be put under that call's span; a call
    without a request begins a trace."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(spans, "_tracer", OtelTracer("test", exporter, QUEUE_MAX))
    fault_server.script.extend([answer(503)] * 2)
    await bank.pay(msgspec.structs.replace(order, trace=TRACE))
    await bank.find(order)
    spans.close()
    pay, find = exporter.get_finished_spans()
    assert (pay.name, find.name) == ("POST /payouts", "GET /payouts/{reference}")
    assert pay.parent is not None
    assert f"{pay.parent.span_id:016x}" == TRACE.traceparent[36:52]
    assert find.parent is None
    for span, request in zip((pay, find), fault_server.requests, strict=True):
        assert span.context is not None
        assert (
            request.headers["traceparent"][3:52]
            == f"{span.context.trace_id:032x}-{span.context.span_id:016x}"
        )
        assert span.attributes is not None
        assert span.attributes["http.response.status_code"] == 503
        assert span.attributes["wbs.outcome"] == span.attributes["error.type"]
    assert "x-request-id" not in fault_server.requests[1].headers
