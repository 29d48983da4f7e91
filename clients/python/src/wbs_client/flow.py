"""What is sent when, without sending anything: tries, pauses, waiting. The clients drive these generators.

A generator yields a call, and is sent the response or the error of the transport; or it yields a Pause.
"""

import random
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from uuid import UUID

import httpx
import msgspec

from wbs_client import reads
from wbs_client.call import Call
from wbs_client.codes import error_of_problem
from wbs_client.enumerations import WithdrawalStatus
from wbs_client.errors import ApiError, Unanswered, WbsError
from wbs_client.models import Problem, Withdrawal

T = TypeVar("T")

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
LONGEST_WAIT_S = 30
"""The longest that the service waits before it answers."""
BUSY = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which the same may be sent again."""
UNTOUCHED = frozenset({408, 429})
"""Those after which it surely has not taken effect."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is to be sent for a while."""

    seconds: float


Said = httpx.Response | httpx.RequestError | None
Steps = Generator[Call[Any] | Pause, Said, T]


def answered(call: Call[T], patience_s: float) -> Steps[T]:
    """Send a call until there is an answer, the same each time. Raises ApiError, Unanswered."""
    end = time.monotonic() + patience_s
    pause_s = FIRST_PAUSE_S
    while True:
        said = yield call
        if isinstance(said, httpx.Response) and (said.is_success or said.status_code in call.good):
            try:
                return call.read(said)
            except (msgspec.MsgspecError, ValueError) as unreadable:
                error: WbsError = Unanswered(f"unreadable answer: {unreadable}", idempotency_key=call.key)
                again, asked_s = call.repeatable, 0.0
        elif isinstance(said, httpx.Response):
            error = error_of(said, call.key)
            again = said.status_code in (BUSY if call.repeatable else UNTOUCHED)
            asked_s = retry_after_s(said) or 0.0
        elif isinstance(said, httpx.LocalProtocolError):  # can't be sent at all
            raise said
        else:
            error = Unanswered(f"{call.method} {call.path}: {said!r}", idempotency_key=call.key)
            error.__cause__ = said
            never_sent = isinstance(said, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
            again, asked_s = call.repeatable or never_sent, 0.0
        wait_s = max(asked_s, random.uniform(pause_s / 2, pause_s))
        if not again or time.monotonic() + wait_s > end:
            raise error
        yield Pause(wait_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def ended(withdrawal_id: UUID | str, timeout_s: float, patience_s: float) -> Steps[Withdrawal]:
    """Ask for a withdrawal until it has ended, needs an operator, or `timeout_s` are over."""
    end = time.monotonic() + timeout_s
    while True:
        left_s = end - time.monotonic()
        call = reads.watch_withdrawal(withdrawal_id, max(0, min(LONGEST_WAIT_S, int(left_s))))
        withdrawal, pause_s = yield from answered(call, patience_s)
        at_rest = withdrawal.status.ended or withdrawal.status == WithdrawalStatus.REQUIRES_ATTENTION
        if at_rest or time.monotonic() + pause_s >= end:
            return withdrawal
        yield Pause(pause_s)


def error_of(response: httpx.Response, key: str | None = None) -> ApiError:
    """Return what a bad answer says, also if it is a proxy's and says nothing that can be read."""
    members: dict[str, Any] = {}
    try:
        members = msgspec.json.decode(response.content, type=dict[str, Any])
        problem = msgspec.convert(members, Problem)
    except (msgspec.MsgspecError, ValueError):
        status = response.status_code
        problem = Problem(code=f"http_{status}", status=status, title=response.reason_phrase)
    return error_of_problem(problem, members, key, retry_after_s(response))


def retry_after_s(response: httpx.Response) -> float | None:
    """Return how many seconds the service asks to wait (RFC 9110: a number, or a date)."""
    text = response.headers.get("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def drive(steps: Steps[T], take: Callable[[Call[Any] | Pause], Said]) -> T:
    """Go through the steps, each taken by `take`."""
    said: Said = None
    while True:
        try:
            step = steps.send(said)
        except StopIteration as end:
            value: T = end.value
            return value
        said = take(step)


async def drive_async(steps: Steps[T], take: Callable[[Call[Any] | Pause], Awaitable[Said]]) -> T:
    """Go through the steps, each taken by `take`."""
    said: Said = None
    while True:
        try:
            step = steps.send(said)
        except StopIteration as end:
            value: T = end.value
            return value
        said = await take(step)
