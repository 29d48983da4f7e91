"""Keeps web pages out: those of other sites may order nothing, and a name that is not ours is not served.

A browser sends what a page asks for even to loopback, but it says where the page came from. By DNS rebinding a page's
own name leads here; its `Host` is then a name that nobody gave this bank.
"""

from __future__ import annotations

from collections.abc import Set

from sanic import Request

from .replies import Refusal

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""With every answer: no cache keeps it, and no page shows it."""


def check(request: Request, hosts: Set[str]) -> None:
    """Refuses what a page of another site sends. `hosts` are the names it may be called by, besides loopback."""
    host = request.headers.get("host", "").strip()
    local = request.conn_info.sockname[0] if request.conn_info and request.conn_info.sockname else ""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    may_be_missing = not host and request.version == "1.0"
    if not may_be_missing and name.lower() not in LOOPBACK | hosts | {local.removeprefix("::ffff:")}:
        raise Refusal(421, "host_not_allowed", "This bank is not called by that name (WBS_ALLOWED_HOSTS)")
    if request.method in SAFE_METHODS:
        return
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "none")
    if site not in ("none", "same-origin") or (origin is not None and origin.partition("://")[2] != host):
        raise Refusal(403, "cross_site", "Pages of other sites may not do that")
