"""Whatever PostgreSQL says to a statement, or doesn't: who asked is answered, and the loop works again by itself.

Every statement of every loop, and of what is called outside of them, is answered with an error of each SQLSTATE class,
with silence, and with nonsense, by a proxy before the real server. The statements are those that loops and calls were
seen to execute; a query that none of them executes is one that this test has forgotten.
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

import db.led_session
import db.outbox
from db.errors import DATABASE_ERRORS
from db.ledger import Ledger
from db.sql import load
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from tests.integration.calls import CALLS, Call
from tests.integration.loop import Direct, Loop
from tests.integration.loops import LOOPS, Begins, Heartbeats, HeldWithdrawals, Ledgers, Transitions
from tests.integration.postgres_proxy import NONSENSE, Error, Fault, Hang, Nonsense, PostgresProxy
from tests.polling import poll_until
from wallet.errors import TryLater, ValidationFailed, WalletError

QUERIES = Path(db.outbox.__file__).parent / "queries"

CLASSES = {
    "08": "08006",
    "0A": "0A000",
    "22": "22012",
    "22 of a text": "22021",
    "23": "23514",
    "23 of a key": "23505",
    "25": "25006",
    "25 of a state": "25P02",
    "26": "26000",
    "28": "28P01",
    "40": "40P01",
    "42": "42883",
    "42 of a right": "42501",
    "53": "53100",
    "53 of connections": "53300",
    "54": "54000",
    "55": "55P03",
    "57": "57014",
    "57 of a shutdown": "57P01",
    "58": "58P01",
    "P0": "P0001",
    "XX": "XX000",
    "XX of a page": "XX001",
    "none": "ZZ999",
}
"""Errors by SQLSTATE class, and some more of those classes that mean several things."""

FAULTS: dict[str, Fault] = {
    **{f"error {name}": Error(code) for name, code in CLASSES.items()},
    "fatal": Error("57P01", "FATAL"),
    "hang": Hang(),
    **{f"{kind}": Nonsense(kind) for kind in NONSENSE},
    **{f"{kind}, though done": Nonsense(kind, executed=True) for kind in ("NULLs", "nothing", "an odd tag")},
}

ELSEWHERE = {
    "audit": "an operator's command: tests/integration/ops/test_commands_and_servers.py",
    "audit_transfers": "the same",
    "audit_events": "the same",
    "archive": "an operator's command: tests/integration/db/test_archive.py",
    "restores": "an operator's command: tests/integration/outages/test_restore.py, ops/test_backup.py",
    "ledger.write_optimistically": "never executed: it is the text of which others leave out parts",
}
"""Queries, or files of them, that neither a loop nor a call here executes, and why."""

SAID_ONCE = ("stack", "leases.look", "leases.take_free", "leases.take_over", "leases.give_up")
"""Queries, or files of them, that a loop asks at its start, its end, or when another one does."""

ASYNCPGS_OWN = ("typeinfo_tree", "set_config", "'jit'")
"""Of what asyncpg asks for itself."""

SAMPLED = 1
"""Faults for each statement in the normal run; the whole one (make test-matrix) takes all."""

FOUND: list[tuple[type[Loop], str, str]] = [
    (Begins, "withdrawals.begin", "NULLs"),
    (HeldWithdrawals, "withdrawals.begin", "NULLs, though done"),
    (Transitions, "withdrawals.step", "no row"),
    (Transitions, "withdrawals.step", "nothing"),
    (Transitions, "withdrawals.move", "no row"),
]
"""Loops that once took an answer for another one, or let a bug out; of which query, and what was said."""

Books = Callable[[], Awaitable[dict[str, int]]]
HEALS_WITHIN_S = 30.0
ANSWERED_WITHIN_S = 20.0


@pytest_asyncio.fixture
async def proxy(database_url: str) -> AsyncIterator[PostgresProxy]:
    proxy = await PostgresProxy(database_url).start()
    yield proxy
    await proxy.stop()


@pytest.fixture
def impatient(proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings through the proxy with short limits, so that a hang costs little."""
    monkeypatch.setattr(db.outbox, "_COMMAND_TIMEOUT_S", 0.4)
    monkeypatch.setattr(db.led_session, "_COMMAND_TIMEOUT_S", 0.4)
    monkeypatch.setattr("db.heartbeats.LOOK_S", 0.02)
    monkeypatch.setattr("db.vitals._COMMAND_TIMEOUT_S", 0.4)
    monkeypatch.setattr("actors.nightly._COMMAND_TIMEOUT_S", 0.4)
    limits = {
        "WBS_WRITE_TIMEOUT_MS": "600",
        "WBS_READ_TIMEOUT_MS": "600",
        "WBS_LOCK_TIMEOUT_MS": "100",
        "WBS_RECONCILE_INTERVAL_MS": "20",
    }
    return Settings.from_env({"DATABASE_URL": proxy.url, **limits})


@pytest.fixture
def direct(
    ledger: Ledger, withdrawals: Withdrawals, connection: asyncpg.Connection, settings: Settings
) -> Direct:
    return Direct(ledger, withdrawals, connection, settings)


async def tried(loop: Loop) -> bool:
    """Let the loop work once. True if it did, False if it was told to come later; anything else fails the test."""
    try:
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            await loop.work()
    except TryLater:
        return False
    return True


async def met(loop: Loop, proxy: PostgresProxy, statement: str, fault: Fault) -> None:
    """Let the loop meet the fault: it may do its work all the same, but whoever asks gets a proper answer."""
    allowed: type[WalletError] | tuple[type[WalletError], ...] = (TryLater, ValidationFailed)
    if isinstance(fault, Nonsense):
        allowed = WalletError  # to take away a row, say, is to say that there is none
    with proxy.answering(statement, fault) as rule:
        for _ in range(20):
            try:
                async with asyncio.timeout(ANSWERED_WITHIN_S):
                    await loop.work()
            except allowed:
                pass
            with suppress(AssertionError):  # what a loop does next, it may be about to do
                await poll_until(lambda: bool(rule.met), 0.3)
                break
            proxy.cut()  # what is said once to each connection is said again
        assert rule.met, "the statement was not executed any more"


async def statements_of(loop: Loop, proxy: PostgresProxy) -> list[str]:
    """Return what the loop executes again and again when all is well, without what asyncpg asks for itself."""
    async with loop.running():
        await poll_until(lambda: tried(loop), HEALS_WITHIN_S)
    once = {
        text for name, text in named_queries() if name.partition(".")[0] in SAID_ONCE or name in SAID_ONCE
    }
    once |= {"notify outbox"} if isinstance(loop, Ledgers) else set()
    if not isinstance(loop, Heartbeats):  # what a gateway says of itself in between, every three seconds
        once |= {load("reads")["beat"], load("operator")["note_activity"]}
    return sorted(text for text in set(proxy.seen) - once if not any(words in text for words in ASYNCPGS_OWN))


def named_queries() -> Iterator[tuple[str, str]]:
    """Yield each query that we have: its file and name, and its text."""
    for path in sorted(QUERIES.glob("*.sql")):
        for name, text in load(path.stem).items():
            yield f"{path.stem}.{name}", text


async def heals(
    kind: type[Loop], proxy: PostgresProxy, settings: Settings, direct: Direct, books_hold: Books, every: bool
) -> None:
    """Let a loop meet faults of all its statements, and see after each that it works again by itself."""
    statements = await statements_of(kind(settings, direct), proxy)
    assert statements
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    loop = kind(settings, direct)
    wrong: list[str] = []
    async with loop.running():
        await poll_until(lambda: tried(loop), HEALS_WITHIN_S)
        for statement in statements:
            for name in FAULTS if every else chance.sample(list(FAULTS), SAMPLED):
                try:
                    await met(loop, proxy, statement, FAULTS[name])
                    await poll_until(lambda: tried(loop), HEALS_WITHIN_S, what="it works again")
                except Exception as error:  # noqa: BLE001  # all of them are told together
                    wrong.append(f"{name}: {statement[:70]!r}: {type(error).__name__}: {str(error)[:200]}")
    assert not wrong, "\n".join(wrong)
    await books_hold()


@pytest.mark.parametrize("kind", LOOPS)
async def test_a_loop_works_again(
    kind: type[Loop], proxy: PostgresProxy, impatient: Settings, direct: Direct, books_hold: Books
) -> None:
    """Goal: after some of all the things a server can say to each of its statements, a loop goes on by itself."""
    await heals(kind, proxy, impatient, direct, books_hold, every=False)


@pytest.mark.matrix
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("kind", LOOPS)
async def test_a_loop_works_again_after_everything(
    kind: type[Loop], proxy: PostgresProxy, impatient: Settings, direct: Direct, books_hold: Books
) -> None:
    """Goal: after each of the things a server can say to each of its statements, a loop goes on by itself."""
    await heals(kind, proxy, impatient, direct, books_hold, every=True)


@pytest.mark.parametrize(("kind", "query", "fault"), FOUND)
async def test_what_was_found(
    kind: type[Loop], query: str, fault: str, proxy: PostgresProxy, impatient: Settings, direct: Direct
) -> None:
    """Goal: what samples have found once is tried each time."""
    file, _, name = query.partition(".")
    loop = kind(impatient, direct)
    async with loop.running():
        await poll_until(lambda: tried(loop), HEALS_WITHIN_S)
        await met(loop, proxy, load(file)[name], FAULTS[fault])
        await poll_until(lambda: tried(loop), HEALS_WITHIN_S, what="it works again")


async def answered(call: Call, settings: Settings, direct: Direct) -> bool:
    """Call once. True if it did what it is for, False if it failed with a name; anything else fails the test."""
    try:
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            await call(settings, direct)
    except (WalletError, *DATABASE_ERRORS):
        return False
    return True


async def recovers(call: Call, proxy: PostgresProxy, settings: Settings, direct: Direct, every: bool) -> None:
    """Let a call meet faults of all its statements: it fails properly or does its work, and works right after it."""

    async def works() -> bool:
        return await answered(call, settings, direct)

    await poll_until(works, HEALS_WITHIN_S)
    proxy.seen.clear()
    await poll_until(works, HEALS_WITHIN_S)
    statements = sorted(text for text in proxy.seen if not any(words in text for words in ASYNCPGS_OWN))
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    wrong: list[str] = []
    for statement in statements:
        for name in FAULTS if every else chance.sample(list(FAULTS), SAMPLED):
            try:
                with proxy.answering(statement, FAULTS[name]) as rule:
                    for _ in range(20):
                        await works()
                        if rule.met:
                            break
                    assert rule.met, "the statement was not executed any more"
                await poll_until(works, HEALS_WITHIN_S, what="it works again")
            except Exception as error:  # noqa: BLE001  # all of them are told together
                wrong.append(f"{name}: {statement[:70]!r}: {type(error).__name__}: {str(error)[:200]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_is_answered(
    name: str, proxy: PostgresProxy, impatient: Settings, direct: Direct, books_hold: Books
) -> None:
    """Goal: a sample of a server's possible answers to the statements outside of loops are failures with a name."""
    await recovers(CALLS[name], proxy, impatient, direct, every=False)
    await books_hold()


@pytest.mark.matrix
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_is_answered_after_everything(
    name: str, proxy: PostgresProxy, impatient: Settings, direct: Direct, books_hold: Books
) -> None:
    """Goal: all of a server's possible answers to the statements outside of loops are failures with a name."""
    await recovers(CALLS[name], proxy, impatient, direct, every=True)
    await books_hold()


async def test_no_query_is_forgotten(proxy: PostgresProxy, impatient: Settings, direct: Direct) -> None:
    """Goal: each query that we have belongs to a loop or a call that is tested here, or it is said where it is."""
    for kind in LOOPS:
        await statements_of(kind(impatient, direct), proxy)
    for call in CALLS.values():
        await call(impatient, direct)
    executed = {re.sub(r"\s+", " ", text) for text in proxy.seen}
    forgotten = {name for name, text in named_queries() if re.sub(r"\s+", " ", text) not in executed}
    unexplained = {
        name for name in forgotten if name not in ELSEWHERE and name.partition(".")[0] not in ELSEWHERE
    }
    assert not unexplained, (
        f"let a loop of tests/integration/loops.py or a call of calls.py execute: {', '.join(sorted(unexplained))}"
    )
