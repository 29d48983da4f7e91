"""GET /metrics, for Prometheus: the values of all gateway processes of this machine together."""

import os

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.contract.operation import Operation, ResponseSpec
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response
from runtime.telemetry import DB_POOL_CONNECTIONS

METRICS = Operation(
    "GET",
    "/metrics",
    "Operations",
    "Metrics of the gateways, for Prometheus",
    responses={200: ResponseSpec("Prometheus text format.", media_types=("text/plain",))},
    open_to_all=True,
)


def register(endpoints: Endpoints, services: Services) -> None:
    """Serve the metrics."""
    used, idle = DB_POOL_CONNECTIONS.labels("used"), DB_POOL_CONNECTIONS.labels("idle")

    def count_connections() -> None:
        connections = services.reads.connections
        used.set(connections[0])
        idle.set(connections[1])

    async def metrics(request: Request, caller: Caller) -> Response:
        services.flusher.flush()
        return Response(collect(), content_type=CONTENT_TYPE_LATEST)

    services.flusher.add(count_connections)

    endpoints.add(METRICS, metrics)


def collect() -> bytes:
    """Return all metrics: of this process, or of all that share PROMETHEUS_MULTIPROC_DIR."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
