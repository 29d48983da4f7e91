"""Where webhooks may go: public addresses by https, so that nobody can make us call what only we can reach.

A name says nothing: what counts is the address that a connection is made to (`webhook_http`).
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

URL_CHARS_MAX = 2048
_LOWEST_FREE_PORT = 1024
_HTTPS_PORT = 443
_NAT64 = IPv6Network("64:ff9b::/96")
_TUNNELS = tuple(map(IPv6Network, ("2002::/16", "2001::/32", "::/96", "64:ff9b:1::/48", "fec0::/10")))
"""6to4, Teredo and others that stand for an IPv4 address, or for a network of one's own: nobody serves at them."""


def is_public(address: str) -> bool:
    """Return whether an address is one that anybody on the Internet can reach, also that of an IPv4 within an IPv6."""
    try:
        ip = ip_address(address)  # one with a zone (fe80::1%eth0) is never public
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = IPv4Address(int(ip) & 0xFFFF_FFFF)
        elif any(ip in network for network in _TUNNELS):
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def check_webhook_url(url: str, *, private: bool) -> None:
    """Raise ValueError, saying why, if webhooks can't go to `url`. `private` allows http and private addresses."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("must have visible ASCII characters only")
    if len(url) > URL_CHARS_MAX:
        raise ValueError(f"must have {URL_CHARS_MAX} characters at most")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("must be a URL") from None
    if parts.scheme not in (("https", "http") if private else ("https",)):
        raise ValueError("must begin with https://")
    if not parts.hostname:
        raise ValueError("must name a host")
    if "@" in parts.netloc:
        raise ValueError("must not hold a login")
    if "#" in url:
        raise ValueError("must not have a fragment")
    if private:
        return
    if port is not None and port != _HTTPS_PORT and port < _LOWEST_FREE_PORT:
        raise ValueError("must have port 443, or one from 1024 on")
    if _is_address(parts.hostname) and not is_public(parts.hostname):
        raise ValueError("must be a public address")
    if not _is_address(parts.hostname) and "." not in parts.hostname.strip("."):
        raise ValueError("must have a public name")


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
