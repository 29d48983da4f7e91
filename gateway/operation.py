"""What an endpoint is, said once: `gateway.endpoint` serves it, `gateway.openapi` describes it."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.body import BODY_BYTES_MAX
from gateway.http import JSON

READ_ERRORS = ("unauthorized", "rate_limited", "internal_error", "overloaded", "unavailable")
"""What every endpoint that reads the database can answer."""

WRITE_ERRORS = (
    "malformed_json",
    "unauthorized",
    "forbidden",
    "payload_too_large",
    "unsupported_media_type",
    "validation_failed",
    "rate_limited",
    "internal_error",
    "overloaded",
    "unavailable",
)
"""What every endpoint that takes a body can answer."""


@dataclass(frozen=True, slots=True)
class Body:
    """A request body: for each media type its type (None: text) and an example of it."""

    kinds: dict[str, tuple[Any, Any]]
    bytes_max: int = BODY_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Given:
    """An answer that is no refusal. `kind` is its type (None: text), `headers` are names and descriptions."""

    description: str
    kind: Any = None
    example: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    media_types: tuple[str, ...] = (JSON,)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. `{name}` in the path is a parameter, described by a field of `query`."""

    method: str
    path: str
    tag: str
    summary: str
    answers: dict[int, Given]
    errors: tuple[str, ...] = ()
    description: str = ""
    query: type[msgspec.Struct] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    """Request headers that matter here, with descriptions."""
    body: Body | None = None
    path_parameters: dict[str, str] = field(default_factory=dict)
    """Parts of the path that are no fields of `query`, with descriptions: identifiers."""
    writes: bool = False
    """An API key that may only read is refused."""
    open_to_all: bool = False
    """Needs no API key."""
    documented: bool = True
    """False: a page or file for people, not part of the API."""

    @property
    def id(self) -> str:
        """A name for generators of clients: get_balance_by_user_id."""
        words = self.path.replace("{", "by_").replace("}", "").replace(".", "_").strip("/").replace("/", "_")
        return f"{self.method.lower()}_{words or 'root'}"
