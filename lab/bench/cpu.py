"""CPU use during a measurement, by our processes and by everything else on the machine."""

import os
import resource
import time
from collections.abc import Callable
from typing import Any

import psutil


class CpuMeter:
    """Counts from its creation to `read`. `ours_s` returns the CPU seconds of our processes so far, by kind."""

    def __init__(self, ours_s: Callable[[], dict[str, float]]) -> None:
        self._ours_s = ours_s
        self._ours_before_s = ours_s()
        self._load_before_s = _load_s()
        self._machine_before_s = _machine_s()
        self._started_at = time.monotonic()

    def read(self, done: float) -> dict[str, Any]:
        """Return the CPU microseconds per request for `done` requests, by kind, and the cores that others used."""
        seconds = time.monotonic() - self._started_at
        machine_s = _machine_s() - self._machine_before_s
        load_s = _load_s() - self._load_before_s
        used_s = {kind: now - self._ours_before_s.get(kind, 0.0) for kind, now in self._ours_s().items()}
        others = (machine_s - load_s - sum(used_s.values())) / seconds
        return {
            "cpu_us": {kind: round(used / done * 1e6, 1) for kind, used in used_s.items()},
            "load_cpu_us": round(load_s / done * 1e6, 1),
            "others_cores": round(max(0.0, others), 2),
        }


def _machine_s() -> float:
    """Return the busy CPU seconds of all cores together, including those that the hypervisor took for others."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    counted_twice = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return float(sum(times) - idle - counted_twice)


def _load_s() -> float:
    """Return the CPU seconds of this process and of the load generators that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = os.times()
    return children.ru_utime + children.ru_stime + own.user + own.system
