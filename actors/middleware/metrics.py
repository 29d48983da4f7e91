"""Serves this process's metrics to Prometheus."""

from dramatiq import Broker, Worker
from dramatiq.middleware import Middleware

from actors.metrics import serve_metrics


class Metrics(Middleware):
    """An HTTP server thread from boot to end. (dramatiq's own middleware counts messages; ours counts money.)"""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Serve metrics, once the worker's threads have started."""
        serve_metrics(self._host, self._port)
