"""A collector of spans, as OpenTelemetry's protocol has it (OTLP over HTTP), on loopback."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as TraceSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.ports import free_port

PROMPT = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
"""Spans are sent at once, as far as anybody can tell."""


class Told(NamedTuple):
    """A span that the collector was told of."""

    name: str
    kind: str
    process: str
    trace_id: str
    id: str
    parent: str
    attributes: dict[str, Any]
    failed: bool


class Collector:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.port = free_port()
        self.spans: list[Told] = []
        self.resources: list[dict[str, Any]] = []
        self._runner: web.AppRunner | None = None

    @property
    def settings(self) -> dict[str, str]:
        """What a process has to be told to tell this collector."""
        return {"WBS_OTEL": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}", **PROMPT}

    async def start(self) -> "Collector":
        """Listen."""
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    async def stop(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    def of(self, request_id: str) -> list[Told]:
        """The spans of one request, in the order in which they were told."""
        return [span for span in self.spans if span.attributes.get("wbs.request_id") == request_id]

    async def _take(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/x-protobuf"
        told = ExportTraceServiceRequest.FromString(await request.read())
        for of_process in told.resource_spans:
            resource = dict(_said(of_process.resource.attributes))
            self.resources.append(resource)
            for of_scope in of_process.scope_spans:
                self.spans += [_read(str(resource["wbs.process"]), span) for span in of_scope.spans]
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )


def _read(process: str, span: TraceSpan) -> Told:
    assert span.end_time_unix_nano >= span.start_time_unix_nano > 0
    return Told(
        span.name,
        TraceSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        process,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        dict(_said(span.attributes)),
        span.status.code == Status.StatusCode.STATUS_CODE_ERROR,
    )


def _said(attributes: Any) -> Iterator[tuple[str, Any]]:
    for attribute in attributes:
        kind = attribute.value.WhichOneof("value")
        assert kind is not None
        yield attribute.key, getattr(attribute.value, kind)
