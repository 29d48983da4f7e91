"""A batch costs the same few statements however many requests it holds."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

import asyncpg
import pytest

from db.ledger import Ledger
from db.sql import load
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from tests.integration.db.conftest import accepted, charge, withdraw
from tests.integration.link import Link
from tests.locks import in_a_month
from wallet.commands import LedgerCommand
from wallet.outcomes import Declined, Paid

SIZES = (2, 20, 200)
OpenLedger = Callable[[Settings], Ledger]


def executed(link: Link) -> list[str]:
    """Return what was executed since the last call; the notifier speaks when it likes."""
    statements = [statement for statement in link.statements if not statement.startswith("notify")]
    link.statements.clear()
    return statements


KINDS: dict[str, Callable[[int], LedgerCommand]] = {
    "charges": lambda n: charge(1, user=f"u{n}"),
    "charges of one wallet": lambda n: charge(1),
    "charges with a lock": lambda n: charge(1, user=f"u{n}", release_at=in_a_month()),
    "withdrawals": lambda n: withdraw(1, user=f"u{n}"),
    "a mixture": lambda n: charge(1, user=f"u{n}") if n % 2 else withdraw(1, user=f"u{n}"),
}
WITH_CARE: dict[str, Callable[[int], LedgerCommand]] = {
    "replays": lambda n: charge(10_000, user=f"u{n}", key=f"first-{n}"),
    "new wallets": lambda n: charge(1, user=uuid4().hex),
}


@pytest.mark.parametrize("kind", [*KINDS, *WITH_CARE])
async def test_a_batch_of_requests(
    link: Link, linked_settings: Callable[..., Settings], open_ledger: OpenLedger, kind: str
) -> None:
    """Goal: 200 requests take as many statements as 2: one if all are accepted, else fewer than ten with commit."""
    ledger = open_ledger(linked_settings())
    await asyncio.gather(
        ledger.submit(charge(10_000)),
        *(ledger.submit(charge(10_000, user=f"u{n}", key=f"first-{n}")) for n in range(max(SIZES))),
    )
    make = (KINDS | WITH_CARE)[kind]
    await asyncio.gather(*(ledger.submit(make(n)) for n in range(2)))  # what it looks up first is settled now
    counts = []
    for size in SIZES:
        executed(link)
        await asyncio.gather(*(ledger.submit(make(n)) for n in range(size)))
        statements = executed(link)
        if kind in KINDS:
            assert statements == ["prepared"], "a transaction of its own"
        elif kind == "new wallets":
            assert statements == [
                "prepared",
                "prepared",
                "begin",
                "prepared",
                "rollback",
                "prepared",
                "prepared",
            ]
        else:
            assert (statements[0], statements[-1]) == ("begin", "commit")
            assert statements.count("commit") == 1, "this was more than one batch"
        counts.append(len(statements))
    assert len(set(counts)) == 1
    assert counts[0] < 10


async def test_a_batch_of_attempts_and_outcomes(
    link: Link,
    linked_settings: Callable[..., Settings],
    ledger: Ledger,
    open_withdrawals: Callable[[Settings], Withdrawals],
) -> None:
    """Goal: attempts begun and outcomes written are as cheap, whatever the outcomes; payments take one statement."""
    withdrawals = open_withdrawals(linked_settings())
    await ledger.submit(charge(10_000))
    begins, settles, payments = [], [], []
    for size in (2, *SIZES):
        ids = await asyncio.gather(*(accepted(ledger, withdraw(1)) for _ in range(size)))
        executed(link)
        attempts = await asyncio.gather(*(withdrawals.begin_attempt(id, "ann") for id in ids))
        begins.append(len(executed(link)))
        outcomes = (Paid("p"), Declined("no"))
        await asyncio.gather(
            *(withdrawals.settle(attempt, outcomes[n % 2]) for n, attempt in enumerate(attempts) if attempt)
        )
        settles.append(len(executed(link)))
        ids = await asyncio.gather(*(accepted(ledger, withdraw(1)) for _ in range(size)))
        attempts = await asyncio.gather(*(withdrawals.begin_attempt(id, "ann") for id in ids))
        executed(link)
        await asyncio.gather(*(withdrawals.settle(attempt, Paid("p")) for attempt in attempts if attempt))
        payments.append(executed(link))
    assert payments[1:] == [["prepared"]] * len(SIZES)
    assert len(set(begins[1:])) == 1
    assert len(set(settles[1:])) == 1
    assert begins[-1] == 1
    assert settles[-1] < 8


async def test_used_keys_are_told_once(ledger: Ledger, connection: asyncpg.Connection) -> None:
    """Goal: the answer to `lock_wallets` grows with the batch, not with its square, when all of it is replayed."""
    users = [f"u{n}" for n in range(20)]
    await asyncio.gather(*(ledger.submit(charge(1, user=user, key=user)) for user in users))
    query = load("ledger")["lock_wallets"]
    rows = await connection.fetch(
        query, sorted(users), ["USD"] * 20, ["shop"] * 20, sorted(users), [], [], None
    )
    assert len(rows) == 20
    assert len(rows[0]["used"]) == 20
    assert not any(row["used"] for row in rows[1:])
