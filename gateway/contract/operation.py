"""An endpoint, described once: `gateway.wire.endpoint` serves it, `gateway.contract.openapi` documents it."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.contract.bodies import BODY_BYTES_MAX, JSON
from wallet.scopes import Scope

READ_ERRORS = ("unauthorized", "forbidden", "rate_limited", "internal_error", "overloaded", "unavailable")
"""Codes that every endpoint which reads the database can answer with."""

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
"""Codes that every endpoint which takes a body can answer with."""


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A request body: per media type its model (None: text) and an example."""

    kinds: dict[str, tuple[Any, Any]]
    bytes_max: int = BODY_BYTES_MAX


@dataclass(frozen=True, slots=True)
class ResponseSpec:
    """Describes a response, refusals apart. `kind` is its model (None: text), `headers` are names and descriptions."""

    description: str
    kind: Any = None
    example: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    media_types: tuple[str, ...] = (JSON,)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. A `{name}` in the path is a field of `query` or one of `path_parameters`."""

    method: str
    path: str
    tag: str
    summary: str
    responses: dict[int, ResponseSpec]
    errors: tuple[str, ...] = ()
    description: str = ""
    query: type[msgspec.Struct] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    """Request headers that matter here: names and descriptions."""
    body: RequestBody | None = None
    path_parameters: dict[str, str] = field(default_factory=dict)
    """Identifiers in the path that are no fields of `query`: names and descriptions."""
    scope: Scope | None = None
    """What an API key must be allowed to; None: no API key is needed."""
    documented: bool = True
    """Whether it is part of the API; pages and files for people are not."""

    @property
    def refusals(self) -> tuple[str, ...]:
        """Return the codes of all refusals that are documented with it: its own, and those of every request."""
        of_browsers = () if self.method == "GET" else ("cross_site",)
        return (*self.errors, *of_browsers, "host_not_allowed")

    @property
    def id(self) -> str:
        """Return a name for generators of clients: get_balance_by_user_id."""
        words = self.path.replace("{", "by_").replace("}", "").replace(".", "_").strip("/").replace("/", "_")
        return f"{self.method.lower()}_{words or 'root'}"
