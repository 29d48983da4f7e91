"""What an address says of who can reach it."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Return whether nobody but this machine can reach, or be, this host."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
