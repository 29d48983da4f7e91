"""The seeded decisions of the bank simulator, without a server."""

from __future__ import annotations

import pytest

from bank_sim import faults
from bank_sim.entries import Change
from bank_sim.faults import FaultInjector, Faults, Verdict

MANY = [f"reference-{number}" for number in range(20_000)]


def test_shares_are_those_asked_for() -> None:
    """Goal: over many references each fault strikes at its rate."""
    injector = FaultInjector(
        Faults(seed=1, decline_rate=0.1, error_rate=0.2, lost_reply_rate=0.05, hang_rate=0.02)
    )
    verdicts = [injector.attempt("pay", reference) for reference in MANY]
    hangs = sum(verdict.hang for verdict in verdicts) / len(MANY)
    errors = [verdict for verdict in verdicts if verdict.error_status]
    lost = sum(verdict.lost_reply for verdict in verdicts) / len(MANY)
    assert hangs == pytest.approx(0.02, abs=0.004)
    assert len(errors) / len(MANY) == pytest.approx(0.98 * 0.2, abs=0.01)
    assert lost == pytest.approx(0.98 * 0.8 * 0.05, abs=0.005)
    after = sum(verdict.after_paying for verdict in errors) / len(errors)
    assert after == pytest.approx(0.4, abs=0.03)
    assert {verdict.error_status for verdict in errors if verdict.after_paying} == {500}
    declined = sum(injector.plan(reference).status == "declined" for reference in MANY) / len(MANY)
    assert declined == pytest.approx(0.1, abs=0.01)


def test_pending_ones_are_declined_like_others() -> None:
    """Goal: a pending payout settles after its time, declined at the same rate and for the same references."""
    at_once = FaultInjector(Faults(seed=1, decline_rate=0.1))
    later = FaultInjector(Faults(seed=1, decline_rate=0.1, pending_rate=0.3, settle_after_ms=50))
    plans = {reference: later.plan(reference) for reference in MANY}
    pending = {reference for reference, plan in plans.items() if plan.status == "pending"}
    assert len(pending) / len(MANY) == pytest.approx(0.3, abs=0.015)
    for reference, plan in plans.items():
        before = at_once.plan(reference)
        if reference in pending:
            assert plan.changes == (Change(50_000, before.status, before.decline_code),)
        else:
            assert plan == before


def test_how_callbacks_are_told() -> None:
    """Goal: late by the delay and at most the shuffle more, doubled at their rate, the same each time."""
    injector = FaultInjector(
        Faults(seed=2, callback_delay_ms=100, callback_shuffle_ms=400, callback_double_rate=0.25)
    )
    plans = [injector.plan_callback("payout.paid", reference) for reference in MANY]
    assert plans == [injector.plan_callback("payout.paid", reference) for reference in MANY]
    assert 100_000 <= min(plan.delay_us for plan in plans) < 110_000
    assert 490_000 < max(plan.delay_us for plan in plans) < 500_000
    assert sum(plan.copies - 1 for plan in plans) / len(MANY) == pytest.approx(0.25, abs=0.015)


def test_order_does_not_matter() -> None:
    """Goal: a decision depends on seed, reference and attempt alone."""
    setting = Faults(
        seed=9, error_rate=0.3, lost_reply_rate=0.3, hang_rate=0.1, latency_ms=1, latency_p99_ms=9
    )
    forward, backward = FaultInjector(setting), FaultInjector(setting)
    one = {name: [forward.attempt("pay", name) for _ in range(3)] for name in MANY[:300]}
    two: dict[str, list[Verdict]] = {name: [] for name in MANY[:300]}
    for _ in range(3):
        for name in reversed(MANY[:300]):
            backward.attempt("find", name)  # questions are counted apart
            two[name].append(backward.attempt("pay", name))
    assert one == two


@pytest.mark.parametrize(("median_ms", "p99_ms"), [(200, 800), (5, 50), (0, 40)])
def test_latency_is_lognormal(median_ms: int, p99_ms: int) -> None:
    """Goal: median and 99th percentile are those asked for (a median of 0 counts as 1 ms)."""
    injector = FaultInjector(Faults(latency_ms=median_ms, latency_p99_ms=p99_ms))
    delays = sorted(injector.attempt("pay", name).delay_s for name in MANY)
    assert delays[len(delays) // 2] == pytest.approx(max(1, median_ms) / 1000, rel=0.05)
    assert delays[len(delays) * 99 // 100] == pytest.approx(p99_ms / 1000, rel=0.10)


def test_constant_latency() -> None:
    """Goal: without a 99th percentile every call takes the median."""
    injector = FaultInjector(Faults(latency_ms=200))
    assert {injector.attempt("find", name).delay_s for name in MANY[:100]} == {0.2}


def test_attempts_are_counted_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a long outage of many references does not fill the memory."""
    monkeypatch.setattr(faults, "ATTEMPTS_MAX", 100)
    injector = FaultInjector(Faults(error_rate=0.5))
    for name in MANY[:1000]:
        injector.attempt("pay", name)
    assert len(injector._attempts) == 100


def test_nothing_is_counted_without_faults() -> None:
    """Goal: the fast path keeps nothing."""
    injector = FaultInjector(Faults(seed=4, decline_rate=0.5))
    assert injector.attempt("pay", "x") == Verdict()
    assert not injector._attempts
