"""A request that is ready to be sent, and how its answer is read. It knows no transport."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from wbs_client.models import Page

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One operation of the API with its arguments."""

    operation: str
    """Its `operationId` in the OpenAPI document."""
    method: str
    path: str
    read: Callable[[httpx.Response], T]
    """Reads a good answer. Raises msgspec.MsgspecError or ValueError if it can't be read."""
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    accept: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    """The idempotency key in the body."""
    repeatable: bool = True
    """Whether sending it twice is the same as sending it once."""
    waits_s: float = 0.0
    """How long the service may take to answer on purpose."""
    good: tuple[int, ...] = ()
    """Statuses besides 2xx whose bodies are answers, too."""


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """A part of a list; `following`: the parameters that ask for the next part, None at the end."""

    items: list[T]
    following: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A list, part by part."""

    first: Call[Part[T]]

    def after(self, part: Part[T]) -> Call[Part[T]] | None:
        """Return the call for the part after this one."""
        if part.following is None:
            return None
        return replace(self.first, params={**self.first.params, **part.following})


def listing(operation: str, path: str, kind: type[Page[T]], query: Mapping[str, str]) -> Listing[T]:
    """Return the list whose parts are pages of this type."""

    def read(response: httpx.Response) -> Part[T]:
        page = msgspec.json.decode(response.content, type=kind)
        return part(page.items, page.next_cursor)

    return Listing(Call(operation=operation, method="GET", path=path, read=read, params=query))


def part(items: list[T], next_cursor: str | None) -> Part[T]:
    """Return the part of a list that a page with this cursor is."""
    return Part(items, None if next_cursor is None else {"cursor": next_cursor})


def as_json(kind: type[T]) -> Callable[[httpx.Response], T]:
    """Return what reads an answer of this type."""
    return lambda response: msgspec.json.decode(response.content, type=kind)


def params(**given: object) -> dict[str, str]:
    """Return the query parameters of all that is not None; `from_` is `from`."""
    return {name.rstrip("_"): _text(value) for name, value in given.items() if value is not None}


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return f"{value:g}" if isinstance(value, float) else str(value)


def body(**given: Any) -> bytes:
    """Return the JSON object of all that is not None."""
    return msgspec.json.encode({name: value for name, value in given.items() if value is not None})


def segment(value: object) -> str:
    """Return a value as one segment of a path, also if it is `.` or `..`, which mean something else in paths."""
    text = quote(str(value), safe="")
    return text if text.strip(".") else text.replace(".", "%2E")
