"""Serves one gateway process on a socket that several share (SO_REUSEPORT), from its start to its graceful end.

Sanic does not start its own workers again when they are killed (a known bug of 25.12). So each process is a whole one
under a supervisor, and arranges its end by itself: stop accepting, answer all requests that were taken, write what is
waiting, close. Each step has its limit.
"""

import asyncio
import contextlib
import gc
import signal
import socket
from typing import Any, Protocol

from sanic.http.constants import Stage

from gateway.wire.application import Application
from gateway.wire.protocol import protocol_class
from gateway.wire.unread import bound_what_is_unread
from runtime import beat
from runtime.tasks import SupervisedTasks
from runtime.telemetry import log

BACKLOG = 1024
"""Connections that the kernel holds until they are accepted."""
GRACE_S = 0.3
"""Requests on open connections are still taken for this time after SIGTERM; their responses say `close`."""
DRAIN_S_MAX = 10.0
"""Requests under way have this time to finish; the supervisor kills after 20 s."""
DRAIN_STEP_S = 0.02


class Lifecycle(Protocol):
    """The services that run beside the server, as long as it does."""

    tasks: SupervisedTasks

    async def start(self) -> None:
        """Start the services; the database may be away."""

    def begin_draining(self) -> None:
        """Prepare the end: report not ready, let no request wait."""

    async def stop(self) -> None:
        """End the services. Commands that were taken are still written."""


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket that other gateways may share. Raises OSError if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound_what_is_unread(listener)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


async def serve(app: Application, services: Lifecycle, *, host: str, port: int, fast_path: bool) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Raises OSError if the port is taken."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listener = listen(host, port)
    await services.start()
    beat.start(services.tasks)
    server = await app.create_server(
        sock=listener,
        protocol=protocol_class(fast_path=fast_path),
        access_log=False,
        backlog=BACKLOG,
        asyncio_server_kwargs={"start_serving": False},
    )
    assert server is not None
    await server.startup()  # type: ignore[no-untyped-call]
    await server.start_serving()  # type: ignore[no-untyped-call]
    # Objects that exist by now stay. A full garbage collection would look through them, and answer nobody for 25 ms.
    gc.collect()
    gc.freeze()
    log.info("gateway_ready", host=host, port=port)
    await stop.wait()
    log.info("gateway_draining", connections=len(server.connections))
    await drain(app, server, services)
    await services.stop()
    log.info("gateway_stopped")


async def drain(app: Application, server: Any, services: Lifecycle) -> None:
    """Take no new connections and answer the requests that were taken, within GRACE_S + DRAIN_S_MAX."""
    services.begin_draining()
    app.config.KEEP_ALIVE = False  # for requests still to come …
    for connection in server.connections:
        if connection.http is not None:
            connection.http.keep_alive = False  # … and for those under way
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
        with contextlib.suppress(AttributeError):  # it closed in the meantime
            connection.abort()


def _is_idle(connection: Any) -> bool:
    """Tell whether nothing of a request has arrived on the connection."""
    http = connection.http
    return http is None or (http.stage is Stage.IDLE and not connection.recv_buffer)
