"""Bounds on the connections of one gateway process, and who its clients are."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from sanic import Request

from runtime.settings import SettingsError
from runtime.telemetry import CONNECTIONS_REFUSED, log, start_at_zero
from runtime.throttle import Throttle

LINGERING_MAX = 500
"""Refused connections that are still told so; beyond, they are cut."""
LINGER_S = 0.5

start_at_zero(CONNECTIONS_REFUSED, ("total", "address"))


class TrustedProxies:
    """The proxies whose word on the client's address counts (`WBS_TRUSTED_PROXIES`)."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._networks = tuple(networks)
        self.includes = lru_cache(10_000)(self._includes)

    @classmethod
    def from_setting(cls, text: str) -> "TrustedProxies":
        """Read addresses and networks, comma separated. Raises SettingsError."""
        try:
            return cls([ip_network(word.strip()) for word in text.split(",") if word.strip()])
        except ValueError as error:
            raise SettingsError(f"WBS_TRUSTED_PROXIES: {error}") from None

    def client_of(self, request: Request) -> str:
        """Return the address that a request comes from: what the last proxy that is not ours said or was.

        `X-Forwarded-For` grows at its end, so it is read from there: what stands before the first address that is no
        proxy of ours may be invented.
        """
        address: str = request.ip
        if not self._networks or not self.includes(address):
            return address
        for word in reversed(",".join(request.headers.getall("x-forwarded-for", ())).split(",")):
            word = word.strip()
            if not _is_address(word):
                break
            address = word
            if not self.includes(word):
                break
        return address

    def _includes(self, address: str) -> bool:
        if not _is_address(address):
            return False
        ip = ip_address(address)
        # A socket for both kinds of addresses spells those of IPv4 so.
        ip = (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip
        return any(ip in network for network in self._networks)


class ConnectionLimits:
    """Counts connections, in all and per address."""

    def __init__(self, total_max: int, per_address_max: int, proxies: TrustedProxies) -> None:
        self._total_max = total_max
        self._per_address_max = per_address_max
        self._proxies = proxies
        self._by_address: Counter[str] = Counter()
        self._total = 0
        self.lingering = 0
        """Refused connections that are still told so."""
        self._throttle = Throttle()

    def admit(self, address: str) -> bool:
        """Count a new connection, or return False: there are too many. A trusted proxy has many clients."""
        if self._total >= self._total_max:
            return self._refuse("total", address)
        if self._by_address[address] >= self._per_address_max and not self._proxies.includes(address):
            return self._refuse("address", address)
        self._total += 1
        self._by_address[address] += 1
        return True

    def release(self, address: str) -> None:
        """Forget a connection that was admitted."""
        self._total -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    def _refuse(self, bound: str, address: str) -> bool:
        CONNECTIONS_REFUSED.labels(bound).inc()
        if self._throttle.lets_through():
            log.warning("connection_refused", bound=bound, address=address, left_out=self._throttle.left_out)
        return False


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
