"""The service that a client talks to, and the requests to it. Shared by both clients."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from importlib.metadata import version
from typing import Any, ParamSpec, TypeVar

import httpx

from wbs_client.call import Call

P = ParamSpec("P")
T = TypeVar("T")

USER_AGENT = f"wbs-client/{version('wbs-client')}"


@dataclass(frozen=True, slots=True)
class Target:
    """Address, API key and time limits. Raises ValueError if the address or the key can't be one."""

    url: str
    api_key: str | None
    patience_s: float
    timeout_s: float

    def __post_init__(self) -> None:
        if httpx.URL(self.url).scheme not in ("http", "https"):
            raise ValueError(f"{self.url!r} does not begin with http:// or https://")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ValueError("the API key has characters that none has")

    def request(self, http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
        """Return the request of a call."""
        headers = {"accept": call.accept, "user-agent": USER_AGENT, **call.headers}
        if self.api_key is not None:
            headers["authorization"] = f"Bearer {self.api_key}"
        if call.body is not None:
            headers["content-type"] = "application/json"
        return http.build_request(
            call.method,
            self.url.rstrip("/") + call.path,
            params=call.params,
            content=call.body,
            headers=headers,
            timeout=httpx.Timeout(self.timeout_s, read=self.timeout_s + call.waits_s),
        )


def method_of(build: Callable[..., object]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that gives a method the name, the description and the parameters of an operation."""

    def told(method: Callable[P, T]) -> Callable[P, T]:
        itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        given = inspect.signature(build).parameters.values()
        told = wraps(build)(method)
        vars(told)["__signature__"] = inspect.Signature([itself, *given])
        return told

    return told
