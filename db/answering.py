"""How whoever waits for a batch gets an answer: with the batch, or later in another way."""

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from wallet.errors import WalletError

Answer = TypeVar("Answer")


class SetApart(Generic[Answer]):
    """Instead of an answer: whoever asked waits on, and is answered in another way than with its batch."""

    def __init__(self, take: "Callable[[asyncio.Future[Answer]], None]") -> None:
        self.take = take
        """Is given what will be the answer; may raise a WalletError."""


def resolve(future: "asyncio.Future[Any]", answer: Any) -> None:
    """Hand over the answer (or raise it), unless whoever asked has gone away."""
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
