"""Counts of answers, kept in plain Python and handed to Prometheus once a second.

Each of prometheus_client's operations takes a lock and, with several processes, writes to a mapped file: with
a counter and a histogram 7 µs a request, a tenth of all that a request costs. Here they are an addition and a
bisection.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

from runtime.tasks import SupervisedTask, SupervisedTasks
from runtime.telemetry import HTTP_REQUEST_SECONDS, HTTP_REQUESTS

INTERVAL_S = 1.0

_SECONDS: Any = HTTP_REQUEST_SECONDS


class RouteMetrics:
    """The answers of one route since the last flush."""

    def __init__(self, route: str) -> None:
        self._route = route
        # prometheus_client has no call to add many observations at once; `_upper_bounds`, `_buckets` and
        # `_sum` are what it has.
        self._bounds: list[float] = list(_SECONDS._upper_bounds)
        self._buckets = [0] * len(self._bounds)
        self._seconds = 0.0
        self._answers: dict[tuple[str, int], int] = {}

    def observe(self, method: str, status: int, seconds: float) -> None:
        """Count an answer."""
        key = (method, status)
        self._answers[key] = self._answers.get(key, 0) + 1
        self._buckets[bisect_left(self._bounds, seconds)] += 1
        self._seconds += seconds

    def flush(self) -> None:
        """Hand over what was counted."""
        if not self._answers:
            return
        answers, self._answers = self._answers, {}
        buckets, self._buckets = self._buckets, [0] * len(self._bounds)
        seconds, self._seconds = self._seconds, 0.0
        for (method, status), number in answers.items():
            HTTP_REQUESTS.labels(self._route, method, str(status)).inc(number)
        histogram = _SECONDS.labels(self._route)
        for bucket, number in zip(histogram._buckets, buckets, strict=True):
            if number:
                bucket.inc(number)
        histogram._sum.inc(seconds)


class MetricsFlusher:
    """Calls what hands over metrics, once a second and at the end."""

    def __init__(self, tasks: SupervisedTasks) -> None:
        self._flushes: list[Callable[[], None]] = []
        self._tasks = tasks
        self._task: SupervisedTask | None = None

    def add(self, flush: Callable[[], None]) -> None:
        """Call `flush` from now on."""
        self._flushes.append(flush)

    def flush(self) -> None:
        """Hand over all that was counted."""
        for flush in self._flushes:
            flush()

    def start(self) -> None:
        """Begin; needs a running event loop."""
        self._task = self._tasks.start("metrics-flusher", self._run)

    async def stop(self) -> None:
        """Hand over the rest and end."""
        if self._task is not None:
            await self._task.stop()
        self.flush()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            self.flush()
