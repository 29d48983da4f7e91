"""Keeps pages of other sites out: which `Host` is served, and which `Origin` may do what.

A browser sends what any page asks for, from inside the network, even to loopback. It tells the truth, though, about
where the page came from. DNS rebinding makes a page's own name lead to us; its `Host` is then a name that is not ours.
"""

from collections.abc import Iterable

from sanic import Request

from gateway.contract.problems import CrossSite, HostNotAllowed

LOOPBACK = ("localhost", "127.0.0.1", "::1")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITES = frozenset({"same-origin", "none"})
"""Values of `Sec-Fetch-Site` for our own pages, and for what people enter in the address bar."""
KNOWN_HOSTS_MAX = 1024

_PORTS = {"http": ":80", "https": ":443"}
_PREFLIGHT = {
    "access-control-allow-headers": (
        "authorization, content-type, idempotency-key, last-event-id, traceparent, x-request-id"
    ),
    "access-control-max-age": "600",
}
_EXPOSED = "idempotent-replayed, location, ratelimit, ratelimit-policy, retry-after, x-request-id"


class Admission:
    """Decides which requests get to the endpoints.

    `hosts` are names without ports. Pages of `cors_origins` may do what our own pages may.
    """

    def __init__(self, hosts: Iterable[str], cors_origins: Iterable[str] = ()) -> None:
        self._names = {name.lower() for name in (*LOOPBACK, *hosts)}
        self._origins = frozenset(cors_origins)
        self.known_hosts: set[str] = set()
        """Values of `Host` that were served before, as they were spelled; the fast path looks nowhere else."""

    def check(self, request: Request, local_address: str | None) -> None:
        """Raise HostNotAllowed or CrossSite. `local_address` is the one that the client connected to."""
        host = (request.headers.get("host") or "").strip(" \t")
        if host and not self._serves(host, local_address):
            raise HostNotAllowed(f"{host[:100]!r} is not served here (WBS_ALLOWED_HOSTS)")
        if request.method not in SAFE_METHODS and self._is_foreign(request, host):
            raise CrossSite("pages of other sites may not do that (WBS_CORS_ORIGINS)")

    def cors_lines(self, request: Request) -> bytes:
        """Return the lines of the response's head that let the page read it, or nothing."""
        origin = request.headers.get("origin")
        if origin not in self._origins:
            return b""
        return (
            f"access-control-allow-origin: {origin}\r\n"
            f"access-control-expose-headers: {_EXPOSED}\r\nvary: origin\r\n"
        ).encode("ascii")

    def preflight_headers(self, request: Request, methods: str) -> dict[str, str] | None:
        """Return the headers of the response to a preflight; None if `request` is none, or is not allowed.

        `methods` are those of the path.
        """
        headers = request.headers
        if request.method != "OPTIONS" or "access-control-request-method" not in headers:
            return None
        if headers.get("origin") not in self._origins:
            return None
        return {"access-control-allow-methods": methods, **_PREFLIGHT}

    def _serves(self, host: str, local_address: str | None) -> bool:
        if host in self.known_hosts:
            return True
        name = _name_of(host)
        if name in self._names:
            if len(self.known_hosts) < KNOWN_HOSTS_MAX:
                self.known_hosts.add(host)
            return True
        return local_address is not None and name == local_address.removeprefix("::ffff:").lower()

    def _is_foreign(self, request: Request, host: str) -> bool:
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
        if origin is not None:
            if origin in self._origins:
                return False
            if not _is_origin_of(origin, host):
                return True
        return site is not None and site not in OWN_SITES


def _name_of(host: str) -> str:
    """Return the name or address without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _is_origin_of(origin: str, host: str) -> bool:
    """Tell whether the page came from `host`. By HTTPS or not: TLS may end in a proxy before us."""
    scheme, _, authority = origin.lower().partition("://")
    port = _PORTS.get(scheme)
    return port is not None and authority.removesuffix(port) == host.lower().removesuffix(port)
