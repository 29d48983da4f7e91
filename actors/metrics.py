"""The Prometheus endpoint of a background process."""

from prometheus_client import start_http_server

from runtime.settings import Settings
from runtime.telemetry import log


def serve_metrics(settings: Settings) -> None:
    """Serve the metrics of this process on its metrics port, at the address the gateway has; port 0: don't.

    A port that is taken is no reason not to pay anybody: it is logged.
    """
    if settings.metrics_port == 0:
        return
    try:
        start_http_server(settings.metrics_port, addr=settings.http_host)
    except OSError as error:
        log.error("metrics_not_served", port=settings.metrics_port, error=str(error))
