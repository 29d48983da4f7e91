"""What goes wrong at the bank, on purpose, and decided by a seed.

Every decision is a pure function of (seed, kind of call, reference, attempt), so it does not depend on the
order or the time of the calls:

- a *decline*, and being *pending* first, are properties of the payout: decided by (seed, reference) alone;
- how a callback is told is decided by (seed, type, reference);
- what is transient (latency, hang, error, lost reply) is decided anew for each attempt of a reference, or an
  unlucky reference would fail for ever. Attempts are counted here, separately for paying and for asking,
  while any fault is set; setting faults (or a restart) starts all counts again.

The draws are independent. When several hit one attempt: hang before error before lost reply.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from hashlib import blake2b
from statistics import NormalDist
from typing import Annotated, Literal

from msgspec import Meta, Struct

from .entries import PAID, CallbackPlan, Change, Plan

Rate = Annotated[float, Meta(ge=0, le=1)]
LatencyMs = Annotated[int, Meta(ge=0, le=60_000)]
LongMs = Annotated[int, Meta(ge=0, le=30 * 24 * 3600 * 1000)]

Call = Literal["pay", "find"]

DECLINE_CODES = ("account_closed", "account_not_found", "payments_blocked", "limit_exceeded")

# Shares of `error_rate`. Before paying and after it the same 500, which tells the caller nothing.
_ERRORS: tuple[tuple[float, int, bool], ...] = (  # (up to, status, after paying)
    (0.40, 500, False),
    (0.80, 500, True),
    (0.90, 503, False),
    (1.00, 429, False),
)

ATTEMPTS_MAX = 200_000  # references counted at a time; beyond it the oldest starts again at its first attempt

_P99 = NormalDist().inv_cdf(0.99)
_DRAWS = struct.Struct(">5Q")
_UNIT = 1 / 2**64


class Faults(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of GET and PUT /faults. A field left out means none of it.

    latency_ms is the median in ms, latency_p99_ms the 99th percentile (lognormal between them); without
    latency_p99_ms every call takes latency_ms. Rates are shares, 0 to 1. Under `outage` every payout call
    and question is answered 503 at once.

    Payouts at `pending_rate` are pending first; settle_after_ms later they are paid, or declined at
    `decline_rate`. Orders and keys older than key_window_ms are forgotten: ordered again, they are paid again
    (0: never forgotten). Callbacks are told callback_delay_ms late, up to callback_shuffle_ms more, so that
    they come in another order, and at `callback_double_rate` twice.
    """

    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    latency_ms: LatencyMs = 0
    latency_p99_ms: LatencyMs = 0
    decline_rate: Rate = 0.0
    error_rate: Rate = 0.0
    lost_reply_rate: Rate = 0.0
    hang_rate: Rate = 0.0
    pending_rate: Rate = 0.0
    settle_after_ms: LongMs = 0
    outage: bool = False
    key_window_ms: LongMs = 0
    callback_delay_ms: LongMs = 0
    callback_shuffle_ms: LongMs = 0
    callback_double_rate: Rate = 0.0

    def __post_init__(self) -> None:
        if 0 < self.latency_p99_ms < self.latency_ms:
            raise ValueError("latency_p99_ms must not be below latency_ms (the median)")

    @property
    def transient(self) -> bool:
        """True if any fault is set that is decided for each attempt."""
        return bool(
            self.latency_ms
            or self.latency_p99_ms
            or self.error_rate
            or self.lost_reply_rate
            or self.hang_rate
        )


NO_FAULTS = Faults()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens to one attempt. `after_paying` tells on which side of the payment the fault strikes."""

    delay_s: float = 0.0
    hang: bool = False
    error_status: int = 0
    lost_reply: bool = False
    after_paying: bool = False


NOTHING_WRONG = Verdict()


class FaultInjector:
    """Decides for each call what goes wrong with it, under the faults set now."""

    def __init__(self, faults: Faults) -> None:
        self.replace(faults)

    def replace(self, faults: Faults) -> None:
        """Set the faults and start all attempts again at one, so that a seed can be replayed."""
        self.faults = faults
        self._transient = faults.transient
        self._attempts: dict[tuple[Call, str], int] = {}

    def plan(self, reference: str) -> Plan:
        """Return what becomes of this payout: the same for as long as seed and rates stay."""
        faults = self.faults
        if not (faults.decline_rate or faults.pending_rate):
            return PAID
        code = self._decline_code(reference)
        if self._draw("pending", reference) < faults.pending_rate:
            later = Change(1000 * faults.settle_after_ms, "declined" if code else "paid", code)
            return Plan("pending", None, (later,))
        return Plan("declined", code) if code else PAID

    def plan_callback(self, type_: str, reference: str) -> CallbackPlan:
        """Return how an event is told. Called by the writer's thread, too."""
        faults = self.faults
        more_ms = int(faults.callback_shuffle_ms * self._draw(f"late {type_}", reference))
        twice = self._draw(f"twice {type_}", reference) < faults.callback_double_rate
        return CallbackPlan(1000 * (faults.callback_delay_ms + more_ms), 2 if twice else 1)

    def _decline_code(self, reference: str) -> str | None:
        if not self.faults.decline_rate:
            return None
        digest = blake2b(f"{self.faults.seed}\0decline\0{reference}".encode(), digest_size=16).digest()
        if int.from_bytes(digest[:8], "big") * _UNIT >= self.faults.decline_rate:
            return None
        return DECLINE_CODES[digest[8] % len(DECLINE_CODES)]

    def _draw(self, what: str, reference: str) -> float:
        digest = blake2b(f"{self.faults.seed}\0{what}\0{reference}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") * _UNIT

    def attempt(self, call: Call, reference: str) -> Verdict:
        """Count one more attempt of this reference and decide what happens to it."""
        if not self._transient:
            return NOTHING_WRONG
        number = self._count(call, reference)
        faults = self.faults
        message = f"{faults.seed}\0{call}\0{reference}\0{number}".encode()
        hang, error, lost, which, latency = (
            draw * _UNIT for draw in _DRAWS.unpack(blake2b(message, digest_size=_DRAWS.size).digest())
        )
        delay_s = self._latency_s(latency)
        if hang < faults.hang_rate:
            return Verdict(delay_s, hang=True, after_paying=which < 0.5)
        if error < faults.error_rate:
            _, status, after = next(share for share in _ERRORS if which < share[0] or share[0] == 1.0)
            return Verdict(delay_s, error_status=status, after_paying=after)
        if call == "pay" and lost < faults.lost_reply_rate:
            return Verdict(delay_s, lost_reply=True, after_paying=True)
        return Verdict(delay_s)

    def _count(self, call: Call, reference: str) -> int:
        number = self._attempts.pop((call, reference), 0) + 1
        self._attempts[(call, reference)] = number
        if len(self._attempts) > ATTEMPTS_MAX:
            del self._attempts[next(iter(self._attempts))]
        return number

    def _latency_s(self, draw: float) -> float:
        """Return the latency (s) at the quantile `draw` of the lognormal given by median and 99th percentile."""
        median_ms = self.faults.latency_ms
        p99_ms = self.faults.latency_p99_ms
        if p99_ms <= median_ms:
            return median_ms / 1000
        median_ms = max(1, median_ms)  # a lognormal has no median of 0
        sigma = math.log(p99_ms / median_ms) / _P99
        quantile = min(max(draw, 1e-9), 1 - 1e-9)
        return min(median_ms * math.exp(sigma * NormalDist().inv_cdf(quantile)), LATENCY_MS_CAP) / 1000


LATENCY_MS_CAP = 60_000  # ms; the far tail of a wide lognormal must not hold calls for hours
