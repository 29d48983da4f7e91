"""Our router finds what Sanic's finds, whatever the path."""

import itertools
from typing import Any

import pytest
from sanic.exceptions import SanicException
from sanic.router import Router

from gateway.app import create_app
from gateway.wire.router import LookUpRouter
from runtime.settings import Settings

PARTS = ("", "balance", "withdrawals", "console", "docs", "health", "cancel", "live", "a%2Fb", "42", "é")
PATHS = [
    f"/{'/'.join(parts)}{end}"
    for length in (1, 2, 3)
    for parts in itertools.product(PARTS, repeat=length)
    for end in ("", "/")
]


@pytest.fixture(scope="module")
def router() -> LookUpRouter:
    app = create_app(Settings())
    app.finalize()
    assert isinstance(app.router, LookUpRouter)
    return app.router


def outcome(router: Any, find: Any, path: str, method: str) -> Any:
    try:
        route, handler, parameters = find(router, path, method, None)
    except SanicException as error:
        return type(error), str(error), dict(error.headers)
    return route, handler, parameters


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "get"])
def test_finds_what_sanics_finds(router: LookUpRouter, method: str) -> None:
    """Goal: whatever the path, route, parameters and refusal are those of Sanic's router."""
    for path in PATHS:
        theirs = outcome(router, Router._get, path, method)
        assert outcome(router, LookUpRouter.get, path, method) == theirs, path


def test_paths_of_wallets_and_withdrawals_are_not_taken_apart(
    router: LookUpRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: the paths that most requests have are looked up."""
    monkeypatch.setattr(router, "resolve", None)
    for path in ("/balance/42", "/transactions/42", "/withdrawals/0199d3c0"):
        assert router.get(path, "GET", None)[2].popitem()[1] == path.rpartition("/")[2]
