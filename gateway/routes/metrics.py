"""GET /metrics, for Prometheus: the metrics of all gateway processes of this machine together."""

import os

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.contract.operation import Operation, ResponseSpec
from gateway.routes.health_gauges import HealthGauges
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response
from runtime.telemetry import DB_POOL_CONNECTIONS
from wallet.scopes import Scope

METRICS = Operation(
    "GET",
    "/metrics",
    "Operations",
    "Metrics of the gateways, for Prometheus",
    id="getMetrics",
    responses={200: ResponseSpec("Prometheus text format.", media_types=("text/plain",))},
    scope=Scope.METRICS,
)


class MetricsRoutes:
    """Serves the metrics."""

    def __init__(self, services: Services, health: HealthGauges) -> None:
        self._health = health
        self._reads = services.reads
        self._flusher = services.flusher
        self._used, self._idle = DB_POOL_CONNECTIONS.labels("used"), DB_POOL_CONNECTIONS.labels("idle")

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoint, and count connections from now on."""
        self._flusher.add(self._count_connections)
        endpoints.add(METRICS, self.metrics)

    async def metrics(self, request: Request, caller: Caller) -> Response:
        """Return all metrics of this machine's gateways."""
        await self._health.look()
        self._flusher.flush()
        return Response(collect(), content_type=CONTENT_TYPE_LATEST)

    def _count_connections(self) -> None:
        used, idle = self._reads.connections
        self._used.set(used)
        self._idle.set(idle)


def collect() -> bytes:
    """Return all metrics: of this process, or of all that share PROMETHEUS_MULTIPROC_DIR."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
