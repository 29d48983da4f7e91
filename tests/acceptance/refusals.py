"""What every refusal has to be, and what it must not have moved."""

import re

from tests.service import Answer, Service, Split

NOBODY = "0190a5e2-7c3b-7000-8000-000000000009"
INSIDE = re.compile(
    r"Traceback|asyncpg|psycopg|select |insert |update |File \"|line \d+|site-packages", re.IGNORECASE
)
"""What would tell a client of our insides."""


def check(answer: Answer, status: int, code: str, *, field: str = "") -> None:
    """Assert that this is the whole problem that the contract promises."""
    assert (answer.status, answer.code) == (status, code), answer.body
    problem = answer.json
    assert problem["status"] == status
    assert problem["type"] == f"/problems/{code}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert not INSIDE.search(answer.body.decode())
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    if code == "validation_failed":
        assert problem["errors"]
        assert all(error["reason"] for error in problem["errors"])
    if field:
        assert field in [error["field"] for error in problem["errors"]], answer.body


async def state(service: Service) -> tuple[Split, int]:
    """Return all of the wallet that a request could have moved."""
    return await service.split(), await service.movements()
