"""Spans: pieces of work in the trace of a request. A collector is told of them if WBS_OTEL says so (`runtime.otel`).

Without it, a span is no more than the place in the trace that calls to others name.
"""

import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from runtime.settings import SettingsError
from runtime.telemetry import SPANS_DROPPED, start_at_zero
from wallet.traces import Trace

Kind = Literal["server", "client", "consumer"]
"""What a span is: a request that is served, a call to others, a message that is worked on."""
Attributes = Mapping[str, Any]
"""What is said of a span: names of OpenTelemetry's semantic conventions, or ours (`wbs.…`). None is left out.

Never pass an amount, a secret, a user's id or a whole URL.
"""
NOTHING: Attributes = {}

start_at_zero(SPANS_DROPPED, ("not_taken", "queue_full"))


class Span:
    """A piece of work that nobody is told of. It ends where the block ends that it is opened by."""

    __slots__ = ("trace",)

    def __init__(self, trace: Trace | None) -> None:
        self.trace = trace
        """Its place; None: in no trace."""

    def note(self, attributes: Attributes, *, error: str | None = None) -> None:
        """Say more of it. `error`: why it failed, in one of a few words."""

    def __enter__(self) -> Self:
        """Return the span."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it. An exception that passes is its failure."""


class Tracer(Protocol):
    """Makes spans that a collector is told of."""

    def begin(
        self,
        kind: Kind,
        name: str,
        parent: Trace | None,
        attributes: Attributes,
        began_at_ns: int | None = None,
    ) -> Span:
        """Return a span, under another or as the first of a new trace. Its own trace is never None."""

    def close(self) -> None:
        """Tell the collector of what it was not told yet. The wait for it has a limit."""


def require_extra() -> Callable[[str], Tracer]:
    """Return what opens a tracer for a kind of process. Raises SettingsError if the extra `[otel]` is missing."""
    try:
        from runtime.otel import open_tracer
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"WBS_OTEL needs the extra [otel]: `pip install 'wallet-balance-split[otel]'` ({error.name} is missing)"
        ) from None
    return open_tracer


class Spans:
    """The spans of this process."""

    def __init__(self) -> None:
        self._tracer: Tracer | None = None

    @property
    def are_told(self) -> bool:
        """Whether a collector is told of them."""
        return self._tracer is not None

    def open(self, process_kind: str) -> None:
        """Tell a collector of all spans from now on. Call once, at start, in the process that makes them.

        Raises SettingsError if the extra `[otel]` is missing or an OTEL_ variable is no good.
        """
        if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return
        open_tracer = require_extra()
        try:
            self._tracer = open_tracer(process_kind)
        except ValueError as error:
            raise SettingsError(f"a variable of OpenTelemetry (OTEL_…) is no good: {error}") from None

    def close(self) -> None:
        """Tell the collector of the last ones. Whatever it does, this takes no more than a moment."""
        if self._tracer is not None:
            self._tracer.close()
            self._tracer = None

    def call(self, name: str, parent: Trace | None, attributes: Attributes) -> Span:
        """Begin a call to others, whose headers name the span's trace."""
        if self._tracer is None:
            return Span(None if parent is None else parent.next_span())
        return self._tracer.begin("client", name, parent, attributes)

    def work(self, name: str, parent: Trace | None, attributes: Attributes, began_at_ns: int) -> Span:
        """Return the span of work on a message that has begun at a time (ns since 1970)."""
        if self._tracer is None:
            return Span(parent)
        return self._tracer.begin("consumer", name, parent, attributes, began_at_ns)

    def request(self, name: str, parent: Trace | None, attributes: Attributes) -> Span:
        """Begin a request."""
        if self._tracer is None:
            return Span(parent)
        return self._tracer.begin("server", name, parent, attributes)


spans = Spans()
