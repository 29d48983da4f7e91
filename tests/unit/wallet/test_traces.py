"""Traces: a request's place is kept if it can be read, and each call made because of it has a span of its own."""

import pytest

from wallet.traces import Trace, trace_of

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_readable_place_is_kept() -> None:
    """Goal: the trace goes on at another span, with the same flags, and says where a call comes from."""
    trace = trace_of("r-1", GIVEN)
    assert trace == ("r-1", GIVEN)
    assert trace.headers() == {"traceparent": GIVEN, "x-request-id": "r-1"}
    assert Trace("", GIVEN).headers() == {"traceparent": GIVEN}
    spans = {trace.next_span() for _ in range(10)}
    assert len(spans) == 10
    for request_id, span in spans:
        assert request_id == "r-1"
        assert (span[:36], span[52:]) == (GIVEN[:36], GIVEN[52:])
        assert len(span) == 55


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "00",
        GIVEN.upper(),
        GIVEN + "-x",
        GIVEN[:-1],
        "ff" + GIVEN[2:],
        GIVEN.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        GIVEN.replace("00f067aa0ba902b7", "0" * 16),
        GIVEN + "\r\nX: y",
    ],
)
def test_anything_else_begins_a_new_one(given: str | None) -> None:
    """Goal: a header that is missing or unreadable begins a trace that nobody samples, another one each time."""
    made = {trace_of("r-1", given).traceparent for _ in range(5)}
    assert len(made) == 5
    for traceparent in made:
        assert trace_of("r-1", traceparent).traceparent == traceparent
        assert traceparent.endswith("-00")
