"""The Prometheus endpoint of a background process."""

from prometheus_client import start_http_server

from runtime.telemetry import log


def serve_metrics(host: str, port: int) -> None:
    """Serve the metrics of this process at this address, unless the port is 0.

    If the port is taken, log it: payouts must go on.
    """
    if port == 0:
        return
    try:
        start_http_server(port, addr=host)
    except OSError as error:
        log.error("metrics_not_served", port=port, error=str(error))
