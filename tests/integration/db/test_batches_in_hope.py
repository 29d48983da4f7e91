"""A batch is first written as if all its requests were new and accepted. If that was too much, nothing stays."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from db.ledger import Ledger
from db.pool import Reader
from tests.integration.db.conftest import Split, answers, charge, split, withdraw
from wallet.commands import LedgerCommand
from wallet.config import Settings

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

BATCHES: dict[str, tuple[list[LedgerCommand], dict[str, int], Split]] = {
    # name: (requests of one batch, what is answered, the wallet of 10 afterwards)
    "one key twice": ([charge(5, key="k"), charge(5, key="k")], {"new": 1, "replayed": 1}, (15, 0, 0)),
    "one key, two requests": (
        [charge(5, key="k"), charge(6, key="k")],
        {"new": 1, "IdempotencyKeyReused": 1},
        (15, 0, 0),
    ),
    "a key of an earlier batch": (
        [charge(10, key="first"), charge(5)],
        {"new": 1, "replayed": 1},
        (15, 0, 0),
    ),
    "withdrawn before it was charged": (
        [withdraw(40), charge(100)],
        {"InsufficientFunds": 1, "new": 1},
        (110, 0, 0),
    ),
    "more than there is": ([charge(1), withdraw(40)], {"new": 1, "InsufficientFunds": 1}, (11, 0, 0)),
    "a release in the past": (
        [charge(5, release_at=LONG_AGO), charge(6)],
        {"ValidationFailed": 1, "new": 1},
        (16, 0, 0),
    ),
}


@pytest.mark.parametrize("name", BATCHES)
async def test_too_much_hope(
    name: str,
    settings: Settings,
    open_ledger: Callable[[Settings], Ledger],
    reader: Reader,
    books_hold: Callable[[], Awaitable[dict[str, int]]],
) -> None:
    """Goal: each request has its own answer, and only what was accepted has moved money."""
    requests, expected, wallet = BATCHES[name]
    await open_ledger(settings).submit(charge(10, key="first"))
    # A new wallet makes a ledger careful for a while: this one has seen nothing yet, so it hopes.
    hopeful = open_ledger(settings)
    results = await asyncio.gather(*(hopeful.submit(request) for request in requests), return_exceptions=True)
    assert answers(results) == expected
    assert await split(reader) == wallet
    await books_hold()
