"""Spans: what they are without a collector, and what the tracer makes of them with one."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from time import monotonic, time_ns

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from runtime import otel
from runtime.otel import CLOSE_S_MAX, OtelTracer
from runtime.settings import SettingsError
from runtime.spans import Span, Spans
from runtime.telemetry import SPANS_DROPPED
from wallet.traces import Trace

SAMPLED = Trace("r-1", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
UNSAMPLED = Trace("r-1", SAMPLED.traceparent[:-1] + "0")


class Exporter(SpanExporter):
    """Keeps spans; hangs until it may go on, and then answers as it is told."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.result = SpanExportResult.SUCCESS
        self.began, self.may_go_on = threading.Event(), threading.Event()
        self.may_go_on.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.began.set()
        self.may_go_on.wait(60)
        self.spans += spans
        return self.result


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    exporter = Exporter()
    yield exporter
    exporter.may_go_on.set()


@pytest.fixture
def told(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """Spans that an exporter is told of at once."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    spans = Spans()
    spans._tracer = OtelTracer("test", exporter, 4)
    yield spans
    spans.close()


def dropped(reason: str) -> float:
    value: float = SPANS_DROPPED.labels(reason)._value.get()
    return value


def test_without_a_collector() -> None:
    """Goal: a call is another span of the same trace, work and requests are where they were, and nothing is kept."""
    spans = Spans()
    assert not spans.are_told
    call = spans.call("x", SAMPLED, {}).trace
    assert call is not None
    assert (call.request_id, call.traceparent[:36]) == ("r-1", SAMPLED.traceparent[:36])
    assert call.traceparent != SAMPLED.traceparent
    assert spans.work("x", SAMPLED, {}, 0).trace == spans.request("x", SAMPLED, {}).trace == SAMPLED
    assert spans.call("x", None, {}).trace is None
    with pytest.raises(ZeroDivisionError), spans.call("x", None, {}) as span:
        span.note({"a": 1 / 0})
    spans.close()


OFF = """
import sys
import actors.__main__, actors.reconciler, actors.courier, actors.relay
from gateway.app import create_app
from runtime.settings import Settings
app = create_app(Settings.from_env({}))
print(sorted(name for name in sys.modules if name.split(".")[0] in ("opentelemetry", "google", "requests")))
print({route.handler.__qualname__ for route in app.router.routes})
"""


def test_off_costs_nothing() -> None:
    """Goal: without the setting nothing of OpenTelemetry is imported, and no request passes by anything of spans."""
    ran = subprocess.run(
        [sys.executable, "-c", OFF], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert ran.splitlines() == ["[]", "{'Endpoints.add.<locals>.wrapper'}"]


def test_a_span_stands_under_its_parent(told: Spans, exporter: Exporter) -> None:
    """Goal: trace, parent, time, attributes and failure are told; its own place goes on to others."""
    began_at = time_ns() - 5_000_000_000
    with told.work("work", SAMPLED, {"a": 1, "b": None, "c": SAMPLED}, began_at) as work:
        with pytest.raises(ZeroDivisionError), told.call("call", work.trace, {}) as call:
            call.note({"d": 1 / 0})
        work.note({"e": True}, error="late")
    told.close()
    first, second = exporter.spans
    assert (first.name, second.name) == ("call", "work")
    assert first.context is not None
    assert second.context is not None
    assert first.parent is not None
    assert second.parent is not None
    assert f"{second.parent.trace_id:032x}-{second.parent.span_id:016x}" == SAMPLED.traceparent[3:52]
    assert first.parent.span_id == second.context.span_id
    assert place(work) == f"00-{second.context.trace_id:032x}-{second.context.span_id:016x}-01"
    assert place(call) == f"00-{first.context.trace_id:032x}-{first.context.span_id:016x}-01"
    assert call.trace is not None
    assert call.trace.request_id == "r-1"
    assert second.start_time == began_at
    assert second.attributes == {
        "a": 1,
        "c": str(SAMPLED),
        "e": True,
        "error.type": "late",
        "wbs.request_id": "r-1",
    }
    assert first.attributes == {"error.type": "ZeroDivisionError", "wbs.request_id": "r-1"}
    assert {first.status.status_code, second.status.status_code} == {StatusCode.ERROR}
    assert not first.events


def test_a_place_that_is_none(told: Spans, exporter: Exporter) -> None:
    """Goal: whatever stands where a place should, the work is done, in a trace of its own."""
    with told.work("work", Trace("r-1", "x" * 55), {}, time_ns()):
        pass
    told.close()
    assert [span.parent for span in exporter.spans] == [None]
    assert exporter.spans[0].attributes == {"wbs.request_id": "r-1"}


def place(span: Span) -> str:
    assert span.trace is not None
    return span.trace.traceparent


def test_who_is_sampled(told: Spans, exporter: Exporter) -> None:
    """Goal: who begins a trace decides; without one, ours begins, and is told."""
    with told.request("theirs", UNSAMPLED, {}) as theirs:
        pass
    with told.request("ours", None, {}) as ours:
        pass
    told.close()
    assert [span.name for span in exporter.spans] == ["ours"]
    assert place(theirs)[:36] == UNSAMPLED.traceparent[:36]
    assert (place(theirs)[-2:], len(place(ours))) == ("00", 55)
    assert int(place(ours)[-2:], 16) & 1
    assert place(ours)[:36] != UNSAMPLED.traceparent[:36]


def test_what_is_dropped_is_counted(told: Spans, exporter: Exporter) -> None:
    """Goal: spans that find no room, the oldest first, and those that the collector does not take."""
    before = dropped("queue_full"), dropped("not_taken")
    exporter.may_go_on.clear()
    exporter.result = SpanExportResult.FAILURE
    end(told, "in flight")
    assert exporter.began.wait(60)
    for number in range(10):
        end(told, str(number))
    assert dropped("queue_full") - before[0] == 6
    exporter.may_go_on.set()
    told.close()
    assert [span.name for span in exporter.spans] == ["in flight", "6", "7", "8", "9"]
    assert dropped("not_taken") - before[1] == 5
    assert dropped("queue_full") - before[0] == 6


def end(spans: Spans, name: str) -> None:
    with spans.call(name, None, {}):
        pass


def test_the_end_does_not_wait_for_a_collector(told: Spans, exporter: Exporter) -> None:
    """Goal: a process ends in time, whatever the collector does."""
    exporter.may_go_on.clear()
    end(told, "in flight")
    assert exporter.began.wait(60)
    began_at = monotonic()
    told.close()
    assert CLOSE_S_MAX <= monotonic() - began_at < 15  # the library itself waits for 30 s
    assert not told.are_told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
    ],
)
def test_variables_that_are_no_good(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: what OpenTelemetry's variables say and can't be done is said at start."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="OTEL_"):
        Spans().open("test")


def test_who_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a process has a name of its own, unless the variables give it another; and they can switch all off."""
    assert otel._resource("actors").attributes["service.name"] == "wbs-actors"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "wallet")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=7,deployment.environment.name=test")
    attributes = otel._resource("actors").attributes
    assert (attributes["service.name"], attributes["service.instance.id"]) == ("wallet", "7")
    assert (attributes["deployment.environment.name"], attributes["wbs.process"]) == ("test", "actors")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    spans = Spans()
    spans.open("test")
    assert not spans.are_told
