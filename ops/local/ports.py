"""TCP ports: free ones below the ephemeral range, and the holder of one that is taken."""

import errno
import socket
from collections.abc import Collection, Mapping

import psutil

from ops.errors import OpsError
from ops.state import StateDir, read_json
from runtime.address_rules import PORT_MAX as TCP_PORT_MAX

# Linux gives 32768 and above to outgoing connections: a server that stopped there may find its port taken.
PORT_MIN = 20_000
PORT_MAX = 32_000

FAMILIAR = frozenset({3000, 5432, 5672, 8080, 8090, 8282, 9090, 15672})
"""The defaults of `wbs up` and what docker-compose.yml publishes: none of them is proposed in another one's place."""


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether a server may listen there now."""
    return obstacle(port, host) is None


def obstacle(port: int, host: str) -> OSError | None:
    """Return what keeps a server from listening there now; None if nothing does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Connections in TIME_WAIT do not keep a server from listening again; listening sockets do.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            return error
        return None


def accepts(port: int, host: str = "127.0.0.1", timeout_s: float = 0.5) -> bool:
    """Tell whether a server accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def private_port(state: StateDir, name: str) -> int:
    """Return the port kept for `name`, chosen at the first request, and anew if another program has taken it since."""
    known = state.recall("ports", name)
    others = [port for other, port in state_ports(state).items() if other != name]
    if isinstance(known, int) and is_free(known) and known not in others:
        return known
    chosen = set(others)
    span = PORT_MAX - PORT_MIN
    # Two stacks that start at once begin their search at different places.
    first = int(state.digest, 16) % span
    for step in range(span):
        port = PORT_MIN + (first + step * 7) % span
        if port not in chosen and is_free(port):
            state.remember("ports", name, port)
            return port
    raise OpsError(f"No free TCP port between {PORT_MIN} and {PORT_MAX} on 127.0.0.1: end some servers.")


def state_ports(state: StateDir) -> dict[str, int]:
    """Return all ports kept in a state folder, by their names."""
    ports: dict[str, int] = read_json(state.private_file).get("ports", {})
    return ports


def require_free(port: int, host: str, *, what: str, setting: str, ours: Collection[int]) -> None:
    """Raise OpsError naming what is in the way and the setting to change, if a server can't listen there.

    The port that is proposed instead is none of `ours`.
    """
    error = obstacle(port, host)
    if error is None:
        return
    if error.errno != errno.EADDRINUSE:
        raise OpsError(
            f"{what[0].upper()}{what[1:]} cannot listen on {host}, port {port} ({error.strerror}): "
            f"set WBS_HTTP_HOST to an address of this machine and {setting} to a port you may use."
        )
    raise OpsError(
        f"Port {port} on {host}, wanted for {what}, is taken{holder(port)}: "
        f"set {setting} to a free port (for example {setting}={next_free(port, host, ours)}) and start again."
    )


def reserved(state: StateDir, environment: Mapping[str, str], *, name: str) -> set[int]:
    """Return the ports that a stack uses or is told to use, without the one kept for `name`."""
    kept = {port for other, port in state_ports(state).items() if other != name}
    told = [text.strip() for setting, text in environment.items() if setting.endswith("_PORT")]
    return kept | {int(text) for text in told if text.isdecimal()}


def next_free(port: int, host: str, ours: Collection[int]) -> int:
    """Return the first port above `port` that is free and that nothing of ours uses.

    Raises OpsError if there is none.
    """
    for candidate in range(port + 1, TCP_PORT_MAX + 1):
        if candidate not in FAMILIAR and candidate not in ours and is_free(candidate, host):
            return candidate
    raise OpsError(f"No TCP port above {port} is free on {host}: end some servers.")


def holder(port: int) -> str:
    """Return ` by NAME (pid N)` for a listening port, as far as we may see it; else an empty text."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.pid or not connection.laddr:
                continue
            if connection.laddr.port == port:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.Error, OSError):
        pass
    return ""


def listener(port: int) -> socket.socket:
    """Return a socket on loopback that can be made to listen; 0: on any free port. OSError if it is taken."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.setblocking(False)
    return sock
