"""Lists of names in settings: the names of a gateway, and the sites whose pages may use it."""

import re

_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_ORIGIN = re.compile(r"https?:/{2}(?P<host>[^\s/:?#@A-Z]+|\[[0-9a-f:.]+\])(?P<port>:[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def items(text: str) -> frozenset[str]:
    """Return the items of a comma separated list."""
    return frozenset(item.strip() for item in text.split(",") if item.strip())


def are_host_names(text: str) -> bool:
    """Return whether all items are names or addresses, without ports."""
    return all(map(_HOST.fullmatch, items(text)))


def are_origins(text: str) -> bool:
    """Return whether all items are origins in browsers' spelling."""
    return all(map(_is_origin, items(text)))


def _is_origin(text: str) -> bool:
    parts = _ORIGIN.fullmatch(text)
    return parts is not None and parts["port"] != _DEFAULT_PORTS[text.partition(":")[0]]
