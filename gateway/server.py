"""One gateway process on a socket that several share (SO_REUSEPORT), from its start to its graceful end.

Not Sanic's own workers: those that are killed are not started again (a known bug of 25.12), so each process
is a whole one under a supervisor, and its end is ours to arrange: stop accepting, answer all that was taken,
write what is waiting, close. Each step has its limit.
"""

import asyncio
import contextlib
import gc
import signal
import socket
from typing import Any

from sanic import Sanic
from sanic.http.constants import Stage

from db.sessions import require_fit_server
from gateway.app import create_app
from gateway.protocol import PlainProtocol
from gateway.services import Services
from runtime import beat
from runtime.settings import Settings
from runtime.telemetry import log

BACKLOG = 1024
"""Connections that the kernel holds until they are accepted."""
GRACE_S = 0.3
"""Requests on open connections are still taken for so long after SIGTERM; their answers say `close`."""
DRAIN_S_MAX = 10.0
"""What was taken is answered within this time; the supervisor kills after 20 s."""
DRAIN_STEP_S = 0.02


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket that other gateways may share. Raises OSError if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Raises OSError if the port is taken, SettingsError if the database is one that must not be used.
    """
    await require_fit_server(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app = create_app(settings)
    services: Services = app.ctx.services
    listener = listen(settings.http_host, settings.http_port)
    await services.start()
    beat.start(services.tasks)
    server = await app.create_server(
        sock=listener,
        protocol=PlainProtocol,
        access_log=False,
        backlog=BACKLOG,
        asyncio_server_kwargs={"start_serving": False},
    )
    assert server is not None
    await server.startup()  # type: ignore[no-untyped-call]
    await server.start_serving()  # type: ignore[no-untyped-call]
    # What is loaded by now stays. A full garbage collection would look through it, for 25 ms without an answer.
    gc.collect()
    gc.freeze()
    log.info("gateway_ready", host=settings.http_host, port=settings.http_port)
    await stop.wait()
    log.info("gateway_draining", connections=len(server.connections))
    await drain(app, server, services)
    await services.stop()
    log.info("gateway_stopped")


async def drain(app: Sanic[Any, Any], server: Any, services: Services) -> None:
    """Take no new connections and answer what was taken, within GRACE_S + DRAIN_S_MAX."""
    services.draining = True
    app.config.KEEP_ALIVE = False  # for requests still to come …
    for connection in server.connections:
        if connection.http is not None:
            connection.http.keep_alive = False  # … and for those under way
    services.watcher.release()
    server.server.close()
    loop = asyncio.get_running_loop()
    idle_at, end_at = loop.time() + GRACE_S, loop.time() + DRAIN_S_MAX
    while server.connections and loop.time() < end_at:
        if loop.time() >= idle_at:
            for connection in list(server.connections):
                if _is_idle(connection):
                    connection.close()
        await asyncio.sleep(DRAIN_STEP_S)
    if server.connections:
        log.warning("connections_cut", connections=len(server.connections))
    for connection in list(server.connections):
        with contextlib.suppress(AttributeError):  # gone between the look and the call
            connection.abort()


def _is_idle(connection: Any) -> bool:
    """Tell whether nothing of a request has arrived on the connection."""
    http = connection.http
    return http is None or (http.stage is Stage.IDLE and not connection.recv_buffer)
