"""An endpoint, described once: `gateway.wire.endpoint` serves it, `gateway.contract.openapi` documents it."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from gateway.contract.bodies import BODY_BYTES_MAX, JSON
from wallet.scopes import Scope

USER = 42
"""The user whose story the examples tell: money comes in, and a part of it goes out. Each can be sent as it is, in the
order of the document, and again: the same request under the same key has the same answer. All users in examples are
whole numbers; `WBS_USER_IDS` says how they are spelled."""

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


class OneOf(NamedTuple):
    """A body is of one of these models. `name` is the name of that choice in the document."""

    name: str
    kinds: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A request body: per media type its model and an example. No model: lines of JSON, one per item of the example."""

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
    """Those besides JSON are text."""
    gives: dict[str, str] = field(default_factory=dict)
    """Identifiers that other operations take in their paths: name of the parameter → member of this response. They
    are links in the document; /docs fills the parameter in, once this response has come."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. A `{name}` in the path is a field of `query` or one of `path_parameters`."""

    method: str
    path: str
    tag: str
    summary: str
    responses: dict[int, ResponseSpec]
    id: str = field(kw_only=True)
    """A verb and a noun, for those who generate clients: `cancelWithdrawal`."""
    errors: tuple[str, ...] = ()
    description: str = ""
    query: type[msgspec.Struct] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    """Request headers that matter here: names and descriptions."""
    body: RequestBody | None = None
    path_parameters: dict[str, str] = field(default_factory=dict)
    """Identifiers in the path that are no fields of `query`: names and descriptions. `…_id` is a UUID."""
    examples: dict[str, Any] = field(default_factory=dict)
    """Examples of parameters, by name. Each that is required has one; users are `USER` unless said otherwise."""
    scope: Scope | None = None
    """What an API key must be allowed to; None: no API key is needed."""
    traced: bool = False
    """Whether the handler wants the request's id, as `request.ctx.request_id`."""
    documented: bool = True
    """Whether it is part of the API; pages and files for people are not."""

    @property
    def refusals(self) -> tuple[str, ...]:
        """Return the codes of all refusals that are documented with it: its own, and those of every request."""
        of_browsers = () if self.method == "GET" else ("cross_site",)
        return (*self.errors, *of_browsers, "host_not_allowed")
