"""Percentiles of latencies and lags, for the generators and receivers that run in processes of their own."""

from collections.abc import Sequence


def percentile_ms(ordered_s: Sequence[float], percent: float) -> float:
    """Return a percentile (0 to 100) in milliseconds of times in seconds, which are in order; 0 if there are none."""
    if not ordered_s:
        return 0.0
    return ordered_s[min(len(ordered_s) - 1, int(len(ordered_s) * percent / 100))] * 1000
