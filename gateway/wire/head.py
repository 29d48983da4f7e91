"""Checks the head of a request to the letter, before anything is read from it (RFC 9110 and 9112).

Whatever a proxy in front could read otherwise than we do is refused: it could take one request for two, or two for one.
Sanic is lenient there; it may read what has passed.
"""

import re
from ipaddress import AddressValueError, IPv6Address

from gateway.contract.problems import ExpectationFailed, MalformedRequest

PORT_MAX = 65_535

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VALUE = rb"[\t -~\x80-\xff]*+"
_HEAD = re.compile(
    rb"(?P<method>" + TOKEN + rb") (?P<target>[!-~]+) HTTP/1\.(?P<minor>[01])"
    rb"(?P<fields>(?:\r\n" + TOKEN + rb":" + _VALUE + rb")*+)"
)
_TARGET = re.compile(rb"(?:(?i:https?)://(?P<authority>[^/?#@]+))?/(?!/)[!$-;=@-\[\]-~]*+(?:\?[!$-;=?-~]*+)?")
"""A path and perhaps a query, as browsers and RFC 3986 spell them. To some, two slashes are the start of a host."""
_NO_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
"""To some, that is a percent sign, so that a target has a second spelling; to others it is an error."""
_FIELD_LINES = re.compile(rb"(?:" + TOKEN + rb":" + _VALUE + rb"\r\n)*+")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[(?P<v6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{0,5}))?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_NAME = re.compile(TOKEN.decode())

_ONCE = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"origin",
        b"sec-fetch-site",
        b"transfer-encoding",
    }
)
"""Fields that decide something. Where one comes twice, a proxy may have decided by the other one."""

_NEVER_IN_TRAILERS = _ONCE | {b"connection", b"te", b"trailer", b"upgrade"}


def is_field_name(name: str) -> bool:
    """Tell whether a field may have this name."""
    return _NAME.fullmatch(name) is not None


def check_head(head: bytes) -> bool:
    """Check a head, without the empty line at its end. Return whether its body comes in chunks.

    Raises MalformedRequest, and ExpectationFailed for an `Expect` that means nothing to us.
    """
    parts = _HEAD.fullmatch(head)
    if parts is None:
        raise MalformedRequest("the head of the request is not HTTP/1.1")
    fields = _fields_that_decide(parts["fields"])
    _check_target(parts["method"], parts["target"], fields.get(b"host"))
    is_1_0 = parts["minor"] == b"0"
    _check_host(fields.get(b"host"), is_1_0)
    chunked = _is_chunked(fields, is_1_0)
    if fields.get(b"expect", b"100-continue").lower() != b"100-continue":
        raise ExpectationFailed("only 100-continue can be expected")
    return chunked


def check_trailers(lines: bytes) -> None:
    """Check the lines after the last chunk, each with its line end. Raises MalformedRequest."""
    if _FIELD_LINES.fullmatch(lines) is None:
        raise MalformedRequest("bad trailers")
    for line in lines.split(b"\r\n")[:-1]:
        if line.partition(b":")[0].lower() in _NEVER_IN_TRAILERS:
            raise MalformedRequest("bad trailers")


def _fields_that_decide(lines: bytes) -> dict[bytes, bytes]:
    """Return the values of the fields in `_ONCE`, by name. Raises MalformedRequest if one comes twice."""
    fields: dict[bytes, bytes] = {}
    for line in lines.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in _ONCE:
            if name in fields:
                raise MalformedRequest(f"{name.decode()} comes twice")
            fields[name] = value.strip(b" ")  # not of tabs: some parsers take them for a part of the value
    return fields


def _check_target(method: bytes, target: bytes, host: bytes | None) -> None:
    if method == b"OPTIONS" and target == b"*":
        return
    parts = _TARGET.fullmatch(target)
    if parts is None or method == b"CONNECT" or _NO_ESCAPE.search(target):
        raise MalformedRequest("the target of the request is not a path")
    if parts["authority"] not in (None, host):
        raise MalformedRequest("the target of the request and its Host differ")


def _check_host(host: bytes | None, is_1_0: bool) -> None:
    if host is None and is_1_0:
        return
    parts = None if host is None else _HOST.fullmatch(host)
    if parts is None or int(parts["port"] or 0) > PORT_MAX or not _is_address(parts["v6"]):
        raise MalformedRequest("the request must have one Host, which is a name or an address")


def _is_address(v6: bytes | None) -> bool:
    """Tell whether what stands in the brackets of a Host, if it has any, is an address."""
    try:
        return v6 is None or IPv6Address(v6.decode()) is not None
    except AddressValueError:
        return False


def _is_chunked(fields: dict[bytes, bytes], is_1_0: bool) -> bool:
    length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
    if length is not None and _LENGTH.fullmatch(length) is None:
        raise MalformedRequest("bad content-length")
    if coding is None:
        return False
    if coding.lower() != b"chunked" or length is not None or is_1_0:
        raise MalformedRequest("bad transfer-encoding")
    return True
