"""Requests with a key, and account of those whose outcome nobody knows.

They are the unanswered ones, until the same request has got a certain answer. Whoever archives has to know them: once a
movement is archived, its key does not tell any more what it was.
"""

import time
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from lab.chaos.history import UNKNOWN, Call

_STALE_S = 20.0
"""A request whose client has given up takes effect within this time, if it ever does: nothing is frozen for longer."""
_DONE = (200, 202)


class Request(NamedTuple):
    """A request with an idempotency key, as it can be sent any number of times."""

    op: str
    cell: str
    wallet: str
    key: str
    body: str
    key_in_header: bool = False
    path: str = ""
    """Empty: the operation's name."""
    subject: str = ""
    """The hold, charge or transfer that it is about."""

    @classmethod
    def of(cls, call: Call) -> "Request":
        """Return the request that a recorded call sent."""
        path = "" if call.op in ("charge", "withdraw") else call.path
        return cls(
            call.op, call.cell, call.wallet, call.key, call.body, call.key_in_header, path, call.subject
        )


@dataclass(slots=True)
class _Case:
    request: Request
    since: float
    """When it was first sent; seconds since 1970."""
    underway: int = 0
    lost_at: float = -inf
    """When one of its sends ended without a certain answer."""


class Unclear:
    """Keeps account of what was sent."""

    def __init__(self) -> None:
        self._cases: dict[tuple[str, ...], _Case] = {}

    def begun(self, request: Request) -> None:
        """Note that a request is being sent."""
        self._cases.setdefault(_identity(request), _Case(request, time.time())).underway += 1

    def ended(self, request: Request, status: int) -> None:
        """Note what a request was answered with; 0: with nothing."""
        identity = _identity(request)
        case = self._cases.get(identity)
        if case is None:  # another one of its sends was accepted meanwhile
            return
        case.underway -= 1
        if status in UNKNOWN:
            case.lost_at = time.time()
        elif status in _DONE or (case.underway <= 0 and time.time() > case.lost_at + _STALE_S):
            del self._cases[identity]

    def to_send_again(self) -> list[Request]:
        """Return the requests that nobody is waiting for."""
        return [case.request for case in self._cases.values() if case.underway <= 0]

    def since(self) -> float:
        """Return when the first of them was sent, in seconds since 1970; infinity if there is none."""
        return min((case.since for case in self._cases.values()), default=inf)


def _identity(request: Request) -> tuple[str, ...]:
    """Return what makes two requests the same."""
    return request.op, request.subject, request.key, request.body
