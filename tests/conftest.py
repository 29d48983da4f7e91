"""What every test may ask for: real servers, a database of its own, and a way to wait.

TEST_DATABASE_URL and TEST_RABBITMQ_URL name servers to be used; without them private ones are started, on
loopback and for this run only. A machine that has no RabbitMQ skips the tests that need one, except in CI
(CI=true), where a test that can't run is a failure.
"""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import hypothesis
import pika
import pytest
import pytest_asyncio

from db.connections import Reader
from db.ledger import Ledger
from db.migrate import migrate
from db.withdrawals import Withdrawals
from ops.local.provision import private_servers
from ops.local.stack import Stack
from runtime.settings import Settings
from tests import polling, spread
from tests.archiving import wbs_archive as wbs_archive
from tests.ports import separate_stacks
from tests.scratch import use_scratch_folder
from tests.service import PACE, Service, defaults, make_whole

PATIENT = {
    "WBS_WRITE_TIMEOUT_MS": "15000",
    "WBS_READ_TIMEOUT_MS": "15000",
    "WBS_LOCK_TIMEOUT_MS": "5000",
}
"""Limits that no test checks, so wide that a machine which stalls for a second fails no test."""

TEMPLATE = f"wbs_test_template_{os.getpid()}"
_numbers = itertools.count(1)

# The machine is shared: that an example is slow, or slow to make, says nothing about the code.
hypothesis.settings.register_profile(
    "default", deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "thorough", hypothesis.settings.get_profile("default"), max_examples=2000
)
# Where only failing matters (tests/mutations): looking for the smallest example takes minutes.
hypothesis.settings.register_profile(
    "unshrunk",
    hypothesis.settings.get_profile("default"),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

separate_stacks()
use_scratch_folder()

THOROUGH = (
    "acceptance/test_interrupted.py",
    "chaos/test_chaos_run.py",
    "integration/actors/test_outages.py",
    "integration/crash/",
    "integration/outages/",
    "integration/test_monitoring.py",
    "model/",
)
"""What takes minutes: `make test-thorough`, so that `make test` stays within ten."""
ALONE = "bench/"
"""What compares speeds: `make test-speed`, with nothing else on the machine."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by where they stand."""
    root = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(root).as_posix()
        if place.startswith(THOROUGH):
            item.add_marker("thorough")
        elif place.startswith(ALONE):
            item.add_marker("alone")
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=spread.turn_of)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> spread.ByGroup:
    """Spread the tests over the workers of a parallel run."""
    return spread.ByGroup(config, log)


def unavailable(reason: str) -> NoReturn:
    """Skip the test; in CI fail it, where everything has to be there."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"in CI nothing may be missing: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def poll_until() -> Callable[..., object]:
    """`await poll_until(condition, timeout_s)`: see tests/polling.py."""
    return polling.poll_until


# --- PostgreSQL ---


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server, as the URL of a database from which others can be made."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
        return
    folder = tmp_path_factory.mktemp("postgres")
    with private_servers(folder, rabbitmq=False, env={"DATABASE_URL": ""}, delete=True) as servers:
        yield servers.database_url


@pytest.fixture(scope="session")
def template_database(postgres_url: str) -> Iterator[str]:
    """Name of a database that is migrated once; each test gets a copy, which takes some 50 ms."""
    asyncio.run(execute(postgres_url, f"drop database if exists {TEMPLATE}", f"create database {TEMPLATE}"))
    asyncio.run(migrate(with_database(postgres_url, TEMPLATE)))
    yield TEMPLATE
    asyncio.run(execute(postgres_url, f"drop database {TEMPLATE} with (force)"))


@pytest_asyncio.fixture
async def database_url(postgres_url: str, template_database: str) -> AsyncIterator[str]:
    """A migrated, empty database of this test alone."""
    name = f"wbs_test_{os.getpid()}_{next(_numbers)}"
    await execute(postgres_url, copy_of(template_database, name))
    yield with_database(postgres_url, name)
    await execute(postgres_url, f"drop database {name} with (force)")


@pytest_asyncio.fixture
async def empty_database_url(postgres_url: str) -> AsyncIterator[str]:
    """A database with nothing in it, for tests of the migrations."""
    name = f"wbs_test_{os.getpid()}_{next(_numbers)}"
    await execute(postgres_url, f"create database {name}")
    yield with_database(postgres_url, name)
    await execute(postgres_url, f"drop database {name} with (force)")


def copy_of(template: str, name: str) -> str:
    """Return the statement that makes a copy of a database; page by page through the log takes twice the CPU time."""
    return f"create database {name} template {template} strategy file_copy"


def with_database(url: str, name: str) -> str:
    """Return the same server's URL of another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def execute(url: str, *statements: str) -> None:
    """Run statements that take no parameters."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        for statement in statements:
            await connection.execute(statement, timeout=60)
    finally:
        await connection.close(timeout=10)


@pytest_asyncio.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A plain connection to the test's database, without any of our session settings."""
    connection = await asyncpg.connect(database_url, timeout=10)
    yield connection
    await connection.close(timeout=10)


# --- The parts of db/ ---


@pytest.fixture
def make_settings(database_url: str) -> Callable[..., Settings]:
    """`make_settings(WBS_LEASE_MS="50", …)`: settings for the test's database."""

    def make(**environment: str) -> Settings:
        return Settings.from_env({**PATIENT, "DATABASE_URL": database_url, **environment})

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """Settings for the test's database: the default ones, but patient."""
    return make_settings()


@pytest_asyncio.fixture
async def ledger(settings: Settings) -> AsyncIterator[Ledger]:
    """A ledger that writes to the test's database."""
    ledger = Ledger(settings)
    ledger.start()
    yield ledger
    await ledger.stop()


@pytest_asyncio.fixture
async def withdrawals(settings: Settings) -> AsyncIterator[Withdrawals]:
    """Transitions of withdrawals in the test's database."""
    withdrawals = Withdrawals(settings)
    withdrawals.start()
    yield withdrawals
    await withdrawals.stop()


@pytest_asyncio.fixture
async def reader(settings: Settings) -> AsyncIterator[Reader]:
    """The reads of the test's database."""
    reader = Reader(settings.database, settings.db_pool_size)
    yield reader
    reader.terminate()


# --- RabbitMQ ---


@pytest.fixture(scope="session")
def rabbitmq_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A RabbitMQ node; its queues are whatever earlier tests left."""
    given = os.environ.get("TEST_RABBITMQ_URL")
    if given:
        yield given
        return
    folder = tmp_path_factory.mktemp("rabbitmq")
    # A database is named so that none is started; nothing connects to it.
    env = {"RABBITMQ_URL": "", "DATABASE_URL": "postgresql://127.0.0.1/unused"}
    with private_servers(folder, env=env, delete=True) as servers:
        if not servers.rabbitmq_url:
            unavailable("no RabbitMQ here, and none can be installed: set TEST_RABBITMQ_URL")
        yield servers.rabbitmq_url


@pytest.fixture
def rabbitmq_url(rabbitmq_server_url: str) -> Iterator[str]:
    """A RabbitMQ in which our queues do not exist yet."""
    delete_queues(rabbitmq_server_url)
    yield rabbitmq_server_url
    delete_queues(rabbitmq_server_url)


QUEUES = ("withdrawals", "withdrawals.DQ", "withdrawals.XQ", "webhooks", "webhooks.DQ")


def delete_queues(url: str, names: tuple[str, ...] = QUEUES) -> None:
    """Delete queues with their messages, by default all of ours: the next test may want other arguments."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        channel = connection.channel()
        for name in names:
            channel.queue_delete(name)
    finally:
        connection.close()


# --- The whole service ---


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything, as `make run` starts it, with a fast ladder; started once. Tests take `service`."""
    with running_stack(tmp_path_factory.mktemp("stack"), **PATIENT) as stack:
        yield stack


@contextmanager
def running_stack(folder: Path, **settings: str) -> Iterator[Stack]:
    """A stack with a fast ladder, until the end of the block."""
    stack = Stack(folder, env=defaults(**PACE, **settings))
    try:
        with stack:
            if stack.servers is None or stack.servers.rabbitmq is None:
                unavailable("no RabbitMQ here, and none can be installed")
            yield stack
            assert not denied(stack), "a process lacks a right"
    finally:
        stack.state.delete()


def denied(stack: Stack) -> list[str]:
    """Return what the private PostgreSQL refused for want of a right."""
    lines = (stack.state.log / "postgres.log").read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if "permission denied" in line or "must be owner" in line]


@pytest_asyncio.fixture
async def service(stack: Stack) -> AsyncIterator[Service]:
    """The running stack and its clients; before each test it is whole, at rest, the bank without faults."""
    await asyncio.to_thread(make_whole, stack)
    async with Service.of(stack) as service:
        await service.faults()
        await service.nothing_waits()
        await service.no_dead_letters()
        yield service
