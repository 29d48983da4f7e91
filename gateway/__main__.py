"""`python -m gateway`: one gateway process. Reads only environment variables."""

import os
import sys

import uvloop
from prometheus_client import multiprocess

from db.sessions import require_fit_server
from gateway.app import create_app
from gateway.services import Services
from gateway.wire.server import serve
from runtime.identity import name_process
from runtime.known_settings import warn_of_unknown_settings
from runtime.open_files import raise_open_files_limit
from runtime.settings import Settings, SettingsError
from runtime.spans import spans
from runtime.telemetry import configure_logging, log


def main() -> int:
    """Serve until told to stop. Return the exit code: 0, or 1 with one clear sentence in the log."""
    raise_open_files_limit()
    name_process("gateway")
    try:
        settings = Settings.from_env()
        configure_logging("gateway", settings.log_level)
        warn_of_unknown_settings()
        if settings.otel:
            spans.open("gateway")
        uvloop.run(_run(settings))
    except SettingsError as error:
        configure_logging("gateway", "info")
        log.error("bad_settings", detail=str(error))
        return 1
    except OSError as error:
        log.error("can_not_listen", detail=f"can't listen on port {settings.http_port}: {error.strerror}")
        return 1
    finally:
        spans.close()
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            multiprocess.mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]
    return 0


async def _run(settings: Settings) -> None:
    """Serve until told to stop. Raises OSError, and SettingsError if the database is one that must not be used."""
    await require_fit_server(settings.database)
    app = create_app(settings)
    services: Services = app.ctx.services
    await serve(
        app,
        services,
        host=settings.http_host,
        port=settings.http_port,
        fast_path=bool(settings.fast_path),
    )


if __name__ == "__main__":
    sys.exit(main())
