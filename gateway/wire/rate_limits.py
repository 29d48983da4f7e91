"""Limits how much each client may ask for per second, and tells it (draft-ietf-httpapi-ratelimit-headers).

The gateways divide the limit among themselves. About once per second each one tells the others what its clients have
used and asked for, and learns the same of them (`gateway.rate_sharing`); nothing is asked while a request waits. In
between, a gateway assumes that the others go on as before, and takes their part of the tokens for used.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from time import monotonic
from typing import NamedTuple

from gateway.contract.problems import RateLimited

PERIOD_S = 1.0
"""How often the gateways tell each other."""
STALE_S = 3.0
"""After so long without the others' reports, each gateway takes an equal part of the limit."""
CLIENTS_MAX = 10_000
"""Clients that are remembered; the one that was heard of longest ago is forgotten first."""

_SHARE_MIN = 0.001
_IDLE_PER_S = 0.01
"""Who asks for less is not reported."""
_UNREPORTED_S_MAX = 2.0


class Usage(NamedTuple):
    """What a client did at one gateway."""

    used: float
    """Items let in since it began to be reported."""
    used_per_s: float
    """Items let in lately."""
    asked_per_s: float
    """Items asked for lately, those refused included."""


class Report(NamedTuple):
    """The usage of another gateway's clients, as it was `age_s` seconds ago."""

    age_s: float
    usage: Mapping[str, Usage]


class _Bucket:
    """The tokens of one client."""

    __slots__ = (
        "asked",
        "asked_per_s",
        "at",
        "cost",
        "known",
        "others_per_s",
        "since_learned",
        "tokens",
        "unreported",
        "used",
        "used_per_s",
    )

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens, self.at = tokens, now  # as of that time
        self.cost = 1.0
        """Tokens per item: one, and what the other gateways will have taken meanwhile."""
        self.known = tokens
        """Tokens that were left when the others last reported, less what we have not been told of."""
        self.others_per_s = self.unreported = 0.0
        """Items that the others let in per second, and probably have let in since they reported."""
        self.used = self.since_learned = 0  # items let in, in all and since `known`
        self.asked = 0  # items since our last report
        self.asked_per_s = self.used_per_s = 0.0


class RateLimiter:
    """One token bucket per client, for all gateways: it fills by `per_s` tokens per second and holds `burst`.

    An item costs a token. A bulk may cost more than a bucket holds. It is let in while there is any token, and what it
    costs too much has to fill up first, so that over time nobody gets more.
    """

    def __init__(
        self,
        per_s: float,
        burst: float | None = None,
        *,
        detail: str = "too many requests from this client",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        assert per_s > 0
        self._per_s = float(per_s)
        self._burst = float(burst or per_s)
        self._policy = f'"default";q={per_s:.0f};w=1'
        self._detail = detail
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._reported_at = self._learned_at = clock()
        self._reports: Mapping[str, Report] = {}
        self._counted: dict[str, dict[str, float]] = {}
        """What is known already of the items of other gateways' clients, by gateway."""

    def take(self, client: str | None, items: int = 1, *, taken: int = 0) -> None:
        """Take a token for each item. Raises RateLimited, which tells when there is one again.

        `taken`: so many items of the same request were let in already; what they cost does not count against it.
        """
        bucket, now = self._bucket(client)
        bucket.asked += items
        if items and bucket.tokens + taken * bucket.cost < 1:
            raise RateLimited(self._wait_s(bucket, now), self._detail)
        bucket.tokens -= items * bucket.cost
        bucket.used += items
        bucket.since_learned += items

    def headers(self, client: str | None) -> dict[str, str]:
        """Return what a client is told: its rate, what is left of it, and in how many seconds there is more."""
        bucket, now = self._bucket(client)
        left, wait_s = 0, 1
        if bucket.tokens >= 1:
            left = max(1, int(bucket.tokens / bucket.cost))
        else:
            wait_s = math.ceil(self._wait_s(bucket, now))
        return {"ratelimit-policy": self._policy, "ratelimit": f'"default";r={left};t={wait_s}'}

    def report(self) -> dict[str, Usage]:
        """Return what each client has done since the last report."""
        now = self._clock()
        seconds, self._reported_at = max(now - self._reported_at, 0.001), now
        found = {}
        for client, bucket in list(self._buckets.items()):
            # Of rates that jump, half is believed: the gateways would else hand the limit to and fro.
            bucket.asked_per_s = (bucket.asked_per_s + bucket.asked / seconds) / 2
            bucket.used_per_s = bucket.since_learned / max(now - self._learned_at, 0.001)
            bucket.asked = 0
            if bucket.asked_per_s >= _IDLE_PER_S:
                found[client] = Usage(bucket.used, round(bucket.used_per_s, 3), round(bucket.asked_per_s, 3))
                continue
            bucket.used, bucket.asked_per_s = 0, 0.0
            self._fill(bucket, now)
            if bucket.tokens >= self._burst:
                del self._buckets[client]  # a new one is no different
        return found

    def learn(self, reports: Mapping[str, Report]) -> None:
        """Count what the other gateways' clients have used, and divide the limit anew."""
        now = self._clock()
        elapsed_s, self._learned_at = now - self._learned_at, now
        if elapsed_s > STALE_S:
            self._counted.clear()  # what was used since then was within each one's part
        others = self._newly_used(reports)
        self._reports = reports
        for client, bucket in self._buckets.items():
            self._fill(bucket, now)
            alone = not any(client in report.usage for report in reports.values())
            if elapsed_s > STALE_S or (alone and bucket.cost == 1 and client not in others):
                bucket.known = bucket.tokens
            else:
                filled = bucket.known + elapsed_s * self._per_s
                left = filled - bucket.since_learned - others.get(client, 0.0)
                bucket.known = min(self._burst, left)
            bucket.since_learned = 0
            self._divide(client, bucket)

    def fall_back(self, gateways: int) -> None:
        """Take an equal part of the limit: nobody knows what the other gateways do."""
        now = self._clock()
        self._reports = {}
        for bucket in self._buckets.values():
            self._fill(bucket, now)
            bucket.cost = float(gateways)

    def _newly_used(self, reports: Mapping[str, Report]) -> dict[str, float]:
        """Return the items that other gateways let in and that were not counted yet, by client."""
        found: dict[str, float] = {}
        for gateway, report in reports.items():
            counted = self._counted.get(gateway)
            # At first sight it is not known how long ago they were used.
            for client, usage in report.usage.items() if counted is not None else ():
                before = counted.get(client, 0.0) if counted else 0.0
                # A client that was not reported for a while starts from 0.
                new = usage.used - before if usage.used >= before else usage.used
                found[client] = found.get(client, 0.0) + new
            self._counted[gateway] = {client: usage.used for client, usage in report.usage.items()}
        for gateway in self._counted.keys() - reports.keys():
            del self._counted[gateway]
        return found

    def _divide(self, client: str, bucket: _Bucket) -> None:
        """Set the tokens and the cost of an item by what is known of the others."""
        usages = [
            (report.age_s, usage) for report in self._reports.values() if (usage := report.usage.get(client))
        ]
        asked_per_s = sum(usage.asked_per_s for _, usage in usages)
        bucket.others_per_s = sum(usage.used_per_s for _, usage in usages)
        bucket.unreported = sum(usage.used_per_s * min(age_s, _UNREPORTED_S_MAX) for age_s, usage in usages)
        bucket.tokens = bucket.known - bucket.unreported
        bucket.cost = 1.0
        if asked_per_s > 0:
            available = bucket.tokens + self._per_s * PERIOD_S
            wanted = (bucket.asked_per_s + asked_per_s) * PERIOD_S
            if wanted < available:  # we may have all but what the others will ask for
                share = 1 - asked_per_s * PERIOD_S / available
            else:
                share = bucket.asked_per_s * PERIOD_S / wanted
            bucket.cost = 1 / max(share, _SHARE_MIN)

    def _bucket(self, client: str | None) -> tuple[_Bucket, float]:
        """Return the client's bucket, filled up to now, and the time."""
        now, name = self._clock(), client or ""
        bucket = self._buckets.get(name)
        if bucket is not None:
            self._buckets.move_to_end(name)
            self._fill(bucket, now)
            return bucket, now
        bucket = self._buckets[name] = _Bucket(self._burst, now)
        self._divide(name, bucket)
        if len(self._buckets) > CLIENTS_MAX:
            self._buckets.popitem(last=False)
        return bucket, now

    def _fill(self, bucket: _Bucket, now: float) -> None:
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._per_s)
        bucket.at = now

    def _wait_s(self, bucket: _Bucket, now: float) -> float:
        wait_s = (1 - bucket.tokens) / self._per_s
        if bucket.cost == 1:
            return wait_s
        # Costs are worked out anew with each report; only a debt of all gateways' lasts longer.
        filled = (now - self._learned_at) * (self._per_s - bucket.others_per_s)
        left = bucket.known - bucket.unreported - bucket.since_learned + filled
        return min(wait_s, max(PERIOD_S, (1 - left) / self._per_s))
