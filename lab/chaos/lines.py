"""The lines between the processes of a stack, each through a proxy of its own, so that each can be cut alone.

The proxies run on an event loop in a thread of their own, so that the load's loop can't delay them.
"""

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from lab.chaos.proxy import Mode, Proxy
from ops.local.ports import private_port
from ops.local.supervision import Program
from ops.state import StateDir

CONTROL_TIMEOUT_S = 10.0

# (kind of process, the setting with the address that it connects to, the server that it connects to)
LINES = (
    ("gateway", "DATABASE_URL", "postgres"),
    ("relay", "DATABASE_URL", "postgres"),
    ("actors", "DATABASE_URL", "postgres"),
    ("reconciler", "DATABASE_URL", "postgres"),
    ("courier", "DATABASE_URL", "postgres"),
    ("relay", "RABBITMQ_URL", "rabbitmq"),
    ("actors", "RABBITMQ_URL", "rabbitmq"),
    ("actors", "WBS_BANK_URL", "bank"),
    ("reconciler", "WBS_BANK_URL", "bank"),
    ("bank_sim", "WBS_CALLBACK_URL", "gateway"),
)
CONSUMERS = "consumers→gateway"
"""The line by which the run's own consumers of events reach the API."""
WEBHOOKS = "actors→consumers"
"""The line by which the actors reach the run's own receiver of webhooks."""
_BETWEEN = tuple(f"{kind}→{server}" for kind, _, server in LINES)
NAMES = (*_BETWEEN, CONSUMERS, WEBHOOKS)
HOSTS = ("everybody→primary", "everybody→standby")
"""With a pair of PostgreSQL servers: a line to each, instead of those to PostgreSQL above."""


class Lines:
    """The proxies. Start it before the stack, hand `rewire` to the stack, stop it after the stack.

    `host_ports` are the ports of the two servers of a pair; there is then a line to each of them.
    """

    def __init__(self, state: StateDir, host_ports: Sequence[int] = ()) -> None:
        """Take ports that the stack of this folder does not use."""
        names = (*NAMES, *HOSTS[: len(host_ports)])
        ports = [private_port(state, f"line_{number}") for number in range(len(names))]
        self.proxies = {name: Proxy(name, port) for name, port in zip(names, ports, strict=True)}
        for name, host_port in zip(HOSTS, host_ports, strict=False):
            self.proxies[name].target = ("127.0.0.1", host_port)
        self._pair = bool(host_ports)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-lines", daemon=True)

    def start(self) -> None:
        """Begin to forward."""
        self._thread.start()
        for proxy in self.proxies.values():
            self._run(proxy.start())

    def stop(self) -> None:
        """End all connections and the thread."""
        for proxy in self.proxies.values():
            self._run(proxy.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CONTROL_TIMEOUT_S)
        self._loop.close()

    def rewire(self, program: Program) -> Program:
        """Return the program, with each of its connections going through its line's proxy."""
        environment: Mapping[str, str] = program.environment
        changed = dict(environment)
        for name, (kind, setting, _) in zip(_BETWEEN, LINES, strict=True):
            url = environment.get(setting)
            if program.kind == kind and url and not (self._pair and setting == "DATABASE_URL"):
                changed[setting] = self.through(name, url)
        return replace(program, environment=changed)

    def through(self, name: str, url: str) -> str:
        """Return the URL with which a line leads to where `url` leads."""
        proxy = self.proxies[name]
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        proxy.target = (parts.hostname, parts.port)
        login, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{proxy.port}"))

    @property
    def host_ports(self) -> list[int]:
        """Ports at which the lines to the servers of a pair begin."""
        return [self.proxies[name].port for name in HOSTS if name in self.proxies]

    async def cut(self, name: str, mode: Mode, delay_s: float = 0.0) -> None:
        """Cut a line, or mend it. Await it on another loop than the proxies'."""
        future = asyncio.run_coroutine_threadsafe(self.proxies[name].set_mode(mode, delay_s), self._loop)
        async with asyncio.timeout(CONTROL_TIMEOUT_S):
            await asyncio.wrap_future(future)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(CONTROL_TIMEOUT_S)
