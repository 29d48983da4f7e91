"""Tells a collector of spans, by OTLP over HTTP: the only module that knows OpenTelemetry (the extra `[otel]`).

Everything about the collector is said by the variables that OpenTelemetry's specification names: OTEL_EXPORTER_OTLP_…,
OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_BSP_….

A span that has ended is put into a queue, which never waits: where it is full, the oldest is dropped. A thread of this
process empties it. So a collector that is away or slow costs spans and nothing else.
"""

import logging
import os
from collections.abc import Sequence
from threading import Thread
from types import TracebackType

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as SdkSpan

from runtime.identity import instance, our_version
from runtime.spans import Attributes, Kind, Span
from runtime.telemetry import SPANS_DROPPED, log
from wallet.traces import Trace, is_readable

CLOSE_S_MAX = 1.0
"""Longest wait for the collector at the end of the process."""
QUEUE_MAX = 2048
"""Spans that wait for the collector, unless OTEL_BSP_MAX_QUEUE_SIZE says otherwise."""
PROTOCOL = "http/protobuf"

_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "consumer": SpanKind.CONSUMER}
_NO_PARENT = Context()
_library_log = logging.getLogger("opentelemetry")


class ToldSpan(Span):
    """A span that the collector is told of once it has ended."""

    __slots__ = ("_span",)

    def __init__(self, span: SdkSpan, request_id: str) -> None:
        place = span.get_span_context()
        super().__init__(
            Trace(request_id, f"00-{place.trace_id:032x}-{place.span_id:016x}-{place.trace_flags:02x}")
        )
        self._span = span

    def note(self, attributes: Attributes, *, error: str | None = None) -> None:
        """See `Span.note`."""
        self._span.set_attributes(_said(attributes))
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """See `Span.__exit__`."""
        if kind is not None:
            self.note({}, error=kind.__qualname__)
        self._span.end()


class OtelTracer:
    """Makes the spans of this process; a `runtime.spans.Tracer`."""

    def __init__(self, process_kind: str, exporter: SpanExporter, queue_max: int) -> None:
        self._provider = TracerProvider(resource=_resource(process_kind), shutdown_on_exit=False)
        self._provider.add_span_processor(CountingProcessor(CountingExporter(exporter), queue_max))
        self._tracer = self._provider.get_tracer("wbs", our_version())

    def begin(
        self,
        kind: Kind,
        name: str,
        parent: Trace | None,
        attributes: Attributes,
        began_at_ns: int | None = None,
    ) -> Span:
        """See `Tracer.begin`."""
        request_id = "" if parent is None else parent.request_id
        said = _said(attributes)
        if request_id:
            said["wbs.request_id"] = request_id
        span = self._tracer.start_span(
            name,
            _context_of(parent),
            _KINDS[kind],
            said,
            start_time=began_at_ns,
        )
        return ToldSpan(span, request_id)

    def close(self) -> None:
        """See `Tracer.close`."""
        # The library waits for half a minute where the collector hangs.
        closing = Thread(target=self._provider.shutdown, name="spans-close", daemon=True)
        closing.start()
        closing.join(CLOSE_S_MAX)


class CountingExporter(SpanExporter):
    """Counts the spans that the collector did not take, and says when that begins and ends."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failing = False
        self.handed_over = 0
        """Spans that were taken out of the queue."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send some spans. Called by the thread of the queue."""
        self.handed_over += len(spans)
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed:
            SPANS_DROPPED.labels("not_taken").inc(len(spans))
        if failed != self._failing:
            self._failing = failed
            # The library tells of the first failure, with its reason; the others would say no more.
            _library_log.setLevel(logging.CRITICAL if failed else logging.NOTSET)
            (log.warning if failed else log.info)("collector_away" if failed else "collector_back")
        return result

    def shutdown(self) -> None:
        """Send no more."""
        self._exporter.shutdown()


class CountingProcessor(BatchSpanProcessor):
    """The queue. It counts the spans that it drops because it is full.

    Spans end on one thread and are exported by another; each counter is written by one of them only.
    """

    def __init__(self, exporter: CountingExporter, queue_max: int) -> None:
        super().__init__(exporter, max_queue_size=queue_max)
        self._exports = exporter
        self._queue_max = queue_max
        self._ended = self._dropped = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span, or drop the oldest for it."""
        if self._ended - self._dropped - self._exports.handed_over >= self._queue_max:
            self._dropped += 1
            SPANS_DROPPED.labels("queue_full").inc()
        self._ended += 1
        super().on_end(span)


def open_tracer(process_kind: str) -> OtelTracer:
    """Return the tracer of this process, as the OTEL_ variables say. Raises ValueError if one of them is no good."""
    protocol = _variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or _variable("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in ("", PROTOCOL):
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}, and only {PROTOCOL} is spoken")
    queue_max = int(_variable("OTEL_BSP_MAX_QUEUE_SIZE") or QUEUE_MAX)
    return OtelTracer(process_kind, OTLPSpanExporter(), queue_max)


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()


def _resource(process_kind: str) -> Resource:
    """Return who tells: what the variables say counts more than what we say ourselves."""
    ours = Resource(
        {
            "service.name": f"wbs-{process_kind}",
            "service.version": our_version(),
            "service.instance.id": instance(),
            "wbs.process": process_kind,
        }
    )
    return Resource.create().merge(ours.merge(OTELResourceDetector().detect()))


def _context_of(parent: Trace | None) -> Context:
    if parent is None or not is_readable(parent.traceparent):  # no place is worth a payout that fails
        return _NO_PARENT
    place = parent.traceparent
    return set_span_in_context(
        NonRecordingSpan(
            SpanContext(
                int(place[3:35], 16),
                int(place[36:52], 16),
                is_remote=True,
                trace_flags=TraceFlags(int(place[53:], 16)),
            )
        ),
        _NO_PARENT,
    )


def _said(attributes: Attributes) -> dict[str, str | bool | int | float]:
    return {
        name: value if isinstance(value, str | bool | int | float) else str(value)
        for name, value in attributes.items()
        if value is not None
    }
