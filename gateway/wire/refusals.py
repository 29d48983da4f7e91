"""Slows down whoever is refused much, so that refusals never take more than a small part of a process.

A refusal costs one, and one for each millisecond that was worked for it and for each RECEIVED_BYTES of its body. What
was free is used up first; then each refusal waits until it is paid. Others are not delayed by that.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator
from time import monotonic, thread_time
from typing import Any, Generic, TypeVar

from runtime.telemetry import REFUSALS_DELAYED

REFUSED_PER_S, REFUSED_BURST = 100, 200
"""A client can pay so much per second, and has so much free: a tenth of the process's time, in the long run."""
RECEIVED_BYTES = 256 * 1024
"""To receive so many bytes takes about a millisecond."""
WAIT_S_MAX = 5.0
"""Nobody waits longer for one refusal."""
CLIENTS_MAX = 10_000
"""Clients that are remembered; the one that was refused longest ago is forgotten first."""

Result = TypeVar("Result")


class Refusals:
    """What each client, a key or an address, still has to pay for its refusals."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._paid_at: OrderedDict[str, float] = OrderedDict()

    async def pay(self, client: str, worked_s: float = 0.0, size: int = 0) -> None:
        """Wait for a refusal. `size` is that of the request's body in bytes."""
        self.owe(client, worked_s, size)
        await self.settle(client)

    def owe(self, client: str, worked_s: float = 0.0, size: int = 0) -> None:
        """Count a refusal that its client does not wait for now, such as a part of a bulk that was done otherwise."""
        price = 1 + 1000 * worked_s + size / RECEIVED_BYTES
        now = self._clock()
        paid_at = max(self._paid_at.pop(client, now), now) + price / REFUSED_PER_S
        self._paid_at[client] = min(paid_at, now + REFUSED_BURST / REFUSED_PER_S + WAIT_S_MAX)
        if len(self._paid_at) > CLIENTS_MAX:
            self._paid_at.popitem(last=False)

    async def settle(self, client: str) -> None:
        """Wait until the client has paid for its refusals up to now: before a long body is received and read."""
        wait_s = self.debt_s(client)
        if wait_s > 0:
            REFUSALS_DELAYED.inc()
            await asyncio.sleep(wait_s)

    def debt_s(self, client: str) -> float:
        """Return how long the client has to wait, in seconds."""
        paid_at = self._paid_at.get(client, 0.0)
        return max(0.0, paid_at - self._clock() - REFUSED_BURST / REFUSED_PER_S)


class Worked(Generic[Result]):
    """Awaits something, and measures for how long this thread worked on it, in seconds."""

    def __init__(self, work: Awaitable[Result]) -> None:
        self._work = work
        self.seconds = 0.0

    def __await__(self) -> Generator[Any, Any, Result]:
        """Return the result. Raises what the work raises."""
        steps: Any = self._work.__await__()
        step: Callable[[], Any] = steps.__next__
        while True:
            started = thread_time()
            try:
                waits_for = step()
            except StopIteration as end:
                result: Result = end.value
                return result
            finally:
                self.seconds += thread_time() - started
            try:
                yield waits_for
                step = steps.__next__
            except BaseException as error:  # noqa: BLE001 - passed on: the task was cancelled
                step = _thrower(steps, error)


def _thrower(steps: Any, error: BaseException) -> Callable[[], Any]:
    return lambda: steps.throw(error)
