"""Withdrawals that were adopted from the bank's books, and the requests that they are."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from db import reads
from db.connections import Reader
from db.ledger import Ledger
from runtime.settings import Settings
from tests.integration.db.conftest import accepted, answers, charge, split, submit_twice, withdraw
from wallet.commands import Withdraw
from wallet.reference import reference_end

DESTINATION = '{"iban": "DE89"}'
METADATA = '{"note": 1}'

# What an operator books of a payout that only the bank knows: nothing that only the client knows, no key.
ADOPT = """
with forgotten as (delete from idempotency_keys where key = $1 returning movement_id)
update withdrawals set destination = null, metadata = null where id in (select movement_id from forgotten)
"""


def request(amount: int = 30) -> Withdraw:
    return withdraw(amount, key="lost", destination=DESTINATION, metadata=METADATA, by="shop")


@pytest.mark.parametrize("money", [0, 100], ids=["with nothing left", "with enough for another one"])
@pytest.mark.parametrize("locking", [False, True])
async def test_the_request_is_the_withdrawal(
    locking: bool,
    money: int,
    settings: Settings,
    open_ledger: Callable[[Settings], Ledger],
    connection: asyncpg.Connection,
    reader: Reader,
    books_hold: Callable[[], Awaitable[dict[str, int]]],
) -> None:
    """Goal: a repeated request meets the withdrawal of its reference, gets its answer and moves nothing."""
    ledger = open_ledger(settings)
    await ledger.submit(charge(30 + money))
    first = (await ledger.submit(request())).receipt
    await connection.execute(ADOPT, "lost")
    ledger = open_ledger(settings)
    if locking:
        await submit_twice(ledger, charge(1, user="bob"))
    same, other = request(), withdraw(30, key="lost", destination=DESTINATION, metadata="{}")
    results = await asyncio.gather(
        *(ledger.submit(one) for one in (same, charge(1), same, other)), return_exceptions=True
    )
    assert answers(results) == {"replayed": 2, "new": 1, "IdempotencyKeyReused": 1}
    assert [r.receipt for r in results if not isinstance(r, BaseException) and r.replayed] == [first, first]
    assert (await ledger.submit(same)).receipt == first
    assert await split(reader) == (money + 1, 0, 30)
    assert (await reads.withdrawal_by_key(reader, "shop", "lost")).id == first.id
    assert (await books_hold())["withdrawals"] == 1


async def test_many_gateways_at_once(
    settings: Settings,
    open_ledger: Callable[[Settings], Ledger],
    connection: asyncpg.Connection,
    reader: Reader,
    books_hold: Callable[[], Awaitable[dict[str, int]]],
) -> None:
    """Goal: however many are asked at a time, all of them know the withdrawal, and its key is written once."""
    ledger = open_ledger(settings)
    await ledger.submit(charge(1000))
    id = await accepted(ledger, request())
    await connection.execute(ADOPT, "lost")
    ledgers = [open_ledger(settings) for _ in range(4)]
    results = await asyncio.gather(*(ledger.submit(request()) for ledger in ledgers))
    assert {(result.receipt.id, result.replayed) for result in results} == {(id, True)}
    assert await split(reader) == (970, 0, 30)
    await books_hold()


@pytest.mark.parametrize("prefix", ["", "0123abcd"])
async def test_references(
    prefix: str,
    make_settings: Callable[..., Settings],
    open_ledger: Callable[[Settings], Ledger],
    connection: asyncpg.Connection,
) -> None:
    """Goal: both writers give what they accept its reference: the stack's prefix or the setting's, and the digest."""
    settings = make_settings(WBS_BANK_PREFIX=prefix)
    optimistic, locking_ledger = open_ledger(settings), open_ledger(settings)
    await optimistic.submit(charge(10))
    await submit_twice(locking_ledger, charge(1))
    begin = prefix or await connection.fetchval("select bank_prefix from stack")
    for ledger in (optimistic, locking_ledger):
        asked = withdraw(2, destination=DESTINATION)
        id = await accepted(ledger, asked)
        reference = await connection.fetchval("select reference from withdrawals where id = $1", id)
        assert reference.hex == begin + reference_end(asked)
