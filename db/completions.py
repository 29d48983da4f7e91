"""Answers to the callers of a batch: with the batch, or later in another way."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from db.errors import is_odd, reason_of, translate
from runtime.telemetry import log
from runtime.throttle import Throttle
from wallet.errors import Unavailable, WalletError

Answer = TypeVar("Answer")


class SetApart(Generic[Answer]):
    """Takes the place of an answer: the caller keeps waiting and is answered later, not with its batch."""

    def __init__(self, take: "Callable[[asyncio.Future[Answer]], None]") -> None:
        self.take = take
        """Takes the future of the answer; may raise a WalletError."""


def kinds_written(requests: Sequence[object], answers: Sequence[object]) -> set[type]:
    """Return the kinds of those requests that were answered, not set apart."""
    pairs = zip(requests, answers, strict=True)
    return {type(request) for request, answer in pairs if not isinstance(answer, SetApart)}


def resolve(future: "asyncio.Future[Any]", answer: Any) -> None:
    """Set the answer (or raise it in the caller), unless the caller has gone away."""
    if future.done():
        return
    if isinstance(answer, SetApart):
        try:
            answer.take(future)
        except WalletError as refusal:
            future.set_exception(refusal)
    elif isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)


class Refusals:
    """Tells callers why they can't be served, and logs it from time to time."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._throttle = Throttle()

    def refuse_all(self, futures: "Sequence[asyncio.Future[Any]]", error: Exception) -> None:
        """Refuse all requests in general words: the answer to a single request may not be true for the others."""
        self._log("batch_refused", error)
        refusal = translate(error)
        words = str(refusal) if isinstance(refusal, Unavailable) else "the database has a fault"
        for future in futures:
            resolve(future, Unavailable(words, reason=reason_of(error)))

    def refuse_alone(
        self, alone: "Sequence[tuple[asyncio.Future[Any], Exception]]", *, others_went_through: bool
    ) -> None:
        """Refuse requests each of which failed on its own."""
        self._log("requests_failed", alone[0][1])
        for future, error in alone:
            resolve(future, translate(error, others_went_through=others_went_through) or error)

    def _log(self, event: str, error: Exception) -> None:
        if self._throttle.lets_through():
            log.error(event, exc_info=is_odd(error) and error, kind=self._kind, error=text_of(error))


def text_of(error: BaseException) -> str:
    """Return the error's text for the log."""
    return f"{type(error).__name__}: {error}"
