"""The Prometheus endpoint of a background process."""

from prometheus_client import start_http_server

from runtime.telemetry import log


def serve_metrics(host: str, port: int) -> None:
    """Serve the metrics of this process there; port 0: don't.

    A port that is taken is no reason not to pay anybody: it is logged.
    """
    if port == 0:
        return
    try:
        start_http_server(port, addr=host)
    except OSError as error:
        log.error("metrics_not_served", port=port, error=str(error))
