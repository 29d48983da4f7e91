"""A circuit breaker: while the bank is away, withdrawals wait at no cost.

Without it, an outage would pull every waiting withdrawal through its retry ladder: each of 50,000 withdrawals would
occupy a thread for seconds, write to the database and use up a round, only to learn what the previous one had already
learned. With it, the actors start no payouts; the messages stay in the queue and the withdrawals stay `pending`, so
clients can even cancel them. Once per `probe_interval_s` one payout goes through as a probe, and its round counts. The
first answer closes the circuit, and all of them resume at once.

The libraries for this (aiobreaker, purgatory, pybreaker) refuse calls by raising; none lets callers wait.
"""

import asyncio
from time import monotonic

from actors.bank.protocol import Bank, BooksPage, PayoutOrder
from runtime.settings import Settings
from runtime.telemetry import log
from wallet.outcomes import BankUnavailable, FindOutcome, NotFound, OutcomeUnknown, PayOutcome

FAILURES_TO_OPEN = 20
"""Calls in a row without an answer. If every second call fails, this happens once in a million calls."""

PROBE_INTERVAL_S_MAX = 1.0

_NO_ORDER = PayoutOrder("0" * 32, 1, "USD")


class Breaker:
    """Decides whether the bank may be called. Belongs to one event loop."""

    def __init__(
        self, *, failures_to_open: int = FAILURES_TO_OPEN, probe_interval_s: float = PROBE_INTERVAL_S_MAX
    ) -> None:
        self._failures_to_open = failures_to_open
        self._probe_interval_s = probe_interval_s
        self._failures = 0
        self._last_reason = ""
        self._probe_at = 0.0
        self._wake = asyncio.Event()
        self._waiting = 0
        self._stopping = False

    @classmethod
    def of(cls, settings: Settings) -> "Breaker":
        """Return a breaker whose probe interval is at most the ladder's first wait."""
        return cls(probe_interval_s=min(PROBE_INTERVAL_S_MAX, settings.retry_delay_ms_min / 1000))

    @property
    def closed(self) -> bool:
        """True while calls are not restricted."""
        return self._failures < self._failures_to_open

    @property
    def bank_state(self) -> str:
        """The bank's state, for people: `ok`, or `away` and the reason."""
        return "ok" if self.closed else f"away: {self._last_reason}"

    async def admit(self, wait_s: float) -> bool:
        """Wait until the bank may be called: the circuit is closed, or it is this caller's turn to probe.

        Return False if `wait_s` passes or the process is stopping before that.
        """
        if self.closed:
            return True
        self._waiting += 1
        try:
            return await self._wait(monotonic() + wait_s)
        finally:
            self._waiting -= 1

    async def _wait(self, give_up_at: float) -> bool:
        while not self.closed:
            now = monotonic()
            if self._stopping or now >= give_up_at:
                return False
            if now >= self._probe_at:
                self._probe_at = now + self._probe_interval_s
                return True
            try:
                async with asyncio.timeout(min(self._probe_at, give_up_at) - now):
                    await self._wake.wait()
            except TimeoutError:
                continue
        return True

    def learn(self, answer: FindOutcome) -> None:
        """Take in how a call ended."""
        if isinstance(answer, NotFound):
            return  # the bank answers look-ups; the call that follows shows whether it can pay
        was_closed = self.closed
        if isinstance(answer, BankUnavailable | OutcomeUnknown):
            self._failures += 1
            self._last_reason = answer.reason
            if was_closed and not self.closed:
                self._probe_at = monotonic() + self._probe_interval_s
                self._wake.clear()
                log.warning("bank_circuit_opened", failures=self._failures, last=answer.reason)
            return
        self._failures = 0
        if not was_closed:
            self._wake.set()
            log.info("bank_circuit_closed")

    async def probe(self, bank: Bank) -> None:
        """Look up a nonexistent order, again and again, while the circuit is open and no payout waits.

        So the bank's recovery is noticed without traffic. With traffic, the payouts themselves are the probes: they
        show whether the bank pays, and not only whether it answers look-ups.
        """
        while True:
            await asyncio.sleep(self._probe_interval_s)
            if self.closed or self._waiting:
                continue
            answer = await bank.find(_NO_ORDER)
            if not self.closed and not isinstance(answer, BankUnavailable | OutcomeUnknown):
                self._failures = self._failures_to_open - 1  # the first failure opens it again
                self._wake.set()
                log.info("bank_circuit_closed", probed=True)

    def stop(self) -> None:
        """End all waits, because the process is stopping. Must be called on the event loop."""
        self._stopping = True
        self._wake.set()


class WatchedBank:
    """A `Bank` that reports its answers to the breaker."""

    def __init__(self, bank: Bank, breaker: Breaker) -> None:
        self._bank = bank
        self._breaker = breaker

    async def pay(self, order: PayoutOrder) -> PayOutcome:
        """See `Bank.pay`."""
        answer = await self._bank.pay(order)
        self._breaker.learn(answer)
        return answer

    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        """See `Bank.find`."""
        answer = await self._bank.find(order, compare_all=compare_all)
        self._breaker.learn(answer)
        return answer

    async def read_books(self, after: str | None) -> BooksPage:
        """See `Bank.read_books`."""
        return await self._bank.read_books(after)

    async def close(self) -> None:
        """See `Bank.close`."""
        await self._bank.close()
