"""Commands whose servers are away, silent, or answer only errors: one sentence, an exit code, in bounded time."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from runtime.settings import Settings
from tests.integration.ops.wbs import NO_ID, run_wbs, without_database
from tests.integration.postgres_proxy import Error, Fault, Hang, Nonsense, PostgresProxy

COMMANDS = [["audit", "--no-bank"], ["reconcile"], ["dlq", "list"], ["dlq", "replay", "--all"], ["migrate"]]


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        yield listener.getsockname()[1]


@pytest_asyncio.fixture
async def proxy(database_url: str) -> AsyncIterator[PostgresProxy]:
    proxy = await PostgresProxy(database_url).start()
    yield proxy
    await proxy.stop()


async def all_say_so(folder: Path, **settings: str) -> None:
    """Run all commands at once: each has to end with 2 and one sentence."""
    ran = await asyncio.gather(*(run_wbs(folder, words, **settings) for words in COMMANDS))
    for words, (code, out, err) in zip(COMMANDS, ran, strict=True):
        assert code == 2, (words, code, out, err)
        said = without_database(err)
        assert len(said.splitlines()) == 1, (words, err)
        assert said.startswith("wbs"), (words, err)
        assert not err.rstrip().endswith(":"), "it says what, and not why"


async def test_a_database_that_says_nothing(tmp_path: Path, black_hole: int) -> None:
    """Goal: a server that takes connections and is silent keeps no command waiting for ever."""
    await all_say_so(tmp_path, DATABASE_URL=f"postgresql://wbs@127.0.0.1:{black_hole}/wbs")


FAULTS: dict[str, Fault] = {
    "silent": Hang(),
    "read only": Error("25006"),
    "broken": Error("XX000"),
    "locked": Error("55P03"),
    "a newer server's": Error("ZZ123"),
    "ended": Error("57P01", "FATAL"),
    "nonsense": Nonsense("a wrong type"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_database_in_trouble(tmp_path: Path, proxy: PostgresProxy, fault: str) -> None:
    """Goal: a server that answers statements with errors, nonsense or nothing is reported in one sentence."""
    with proxy.answering(lambda text: True, FAULTS[fault]):
        await all_say_so(tmp_path, DATABASE_URL=proxy.url)


@pytest_asyncio.fixture
async def endless_bank() -> AsyncIterator[str]:
    """The address of a bank whose books have always one page more."""
    numbers = itertools.count(1)

    async def books(request: web.Request) -> web.Response:
        number = next(numbers)
        line = {"payout_id": f"po_{number}", "reference": f"{number:032x}", "amount": 1, "currency": "USD"}
        line |= {"status": "paid", "created_at": "2026-11-27T05:00:00Z"}
        return web.json_response({"payouts": [line], "next": f"po_{number}"})

    app = web.Application()
    app.add_routes([web.get("/payouts", books)])
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_bank_whose_books_never_end(tmp_path: Path, database_url: str, endless_bank: str) -> None:
    """Goal: each command that reads the bank's books gives up in the time that was given, and says so."""
    settings = {"DATABASE_URL": database_url, "WBS_BANK_URL": endless_bank}
    unknown = ["reconcile", "--adopt", NO_ID, "--user", "ann"]
    commands = [["reconcile", "--within", "2"], ["audit", "--within", "2"], [*unknown, "--within", "2"]]
    ran = await asyncio.gather(*(run_wbs(tmp_path, words, **settings) for words in commands))
    for words, (code, out, err) in zip(commands, ran, strict=True):
        assert code == 2, (words, out, err)
        said = [line for line in without_database(err).splitlines() if not line.startswith("audit: ")]
        assert len(said) == 1, (words, err)
        assert "did not end within 2 s" in said[0]


@pytest.mark.parametrize("within", ["0", "-1", "soon", "nan", "inf"])
async def test_what_is_no_time(tmp_path: Path, within: str) -> None:
    """Goal: a time that is none is refused before anything is read."""
    for words in (["audit", "--within", within], ["reconcile", "--within", within]):
        code, _, err = await run_wbs(tmp_path, words)
        assert code == 2, (words, err)
        assert "--within" in err


async def test_a_rabbitmq_that_says_nothing(tmp_path: Path, database_url: str, black_hole: int) -> None:
    """Goal: with RabbitMQ silent, dead letters are not looked at, and that is said; withdrawals still are."""
    settings = {"DATABASE_URL": database_url, "RABBITMQ_URL": f"amqp://127.0.0.1:{black_hole}"}
    (listed, out, said), (replayed, told, _), (discarded, _, why) = await asyncio.gather(
        run_wbs(tmp_path, ["dlq", "list"], **settings),
        run_wbs(tmp_path, ["dlq", "replay", "--all"], **settings),
        run_wbs(tmp_path, ["dlq", "discard", "--all", "--yes"], **settings),
    )
    assert (listed, replayed, discarded) == (0, 0, 2), (said, why)
    assert "0 require attention" in out
    assert "other dead letters: not known" in out
    assert "dead letters removed: not known" in told
    for sentence in (said, why):
        assert len(without_database(sentence).splitlines()) == 1
        assert "RabbitMQ can't be reached" in sentence


async def test_settings_that_are_wrong(tmp_path: Path) -> None:
    """Goal: a setting that makes no sense is named in a sentence."""
    for words in COMMANDS:
        code, _, err = await run_wbs(tmp_path, words, DATABASE_URL="postgresql://", WBS_LEASE_MS="soon")
        assert (code, len(without_database(err).splitlines())) == (2, 1), err
        assert "WBS_LEASE_MS" in err or words == ["migrate"], err


def test_the_settings_of_these_tests_are_right() -> None:
    """Goal: the refusals above have the expected reasons."""
    Settings.from_env({"DATABASE_URL": "postgresql://"})
