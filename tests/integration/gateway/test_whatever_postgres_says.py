"""Whatever PostgreSQL answers, a client gets 503 with Retry-After, never 500, and all is well right afterwards."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.gateway.conftest import Api, Reply, StartGateway, together
from tests.integration.postgres_proxy import Error, Fault, Nonsense, PostgresProxy
from tests.polling import poll_until

FAULTS: dict[str, Fault] = {
    **{
        code: Error(code)
        for code in (
            *(
                "08006",
                "0A000",
                "22003",
                "22012",
                "23502",
                "25006",
                "25P02",
                "26000",
                "40001",
                "42501",
                "42883",
            ),
            *("53100", "53200", "54000", "55P03", "57014", "58P01", "XX000", "XX001", "ZZ999"),
        )
    },
    "fatal": Error("57P01", "FATAL"),
    "a wrong type": Nonsense("a wrong type"),
}


def is_ours(text: str) -> bool:
    """Tell a statement of a request from what is asked when a session is opened."""
    return any(
        words in text for words in ("wallets", "transfers", "withdrawals", "idempotency_keys")
    ) or text in ("begin", "commit")


@pytest_asyncio.fixture
async def proxy(database_url: str) -> AsyncIterator[PostgresProxy]:
    proxy = await PostgresProxy(database_url).start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def api(start_gateway: StartGateway, proxy: PostgresProxy, session: object) -> Api:
    gateway = await start_gateway(DATABASE_URL=proxy.url)
    return Api(gateway.url, session)  # type: ignore[arg-type]


async def everything(api: Api) -> list[Reply]:
    """Make each call that needs the database."""
    return await together(
        api.charge(),
        api.withdraw(amount=1),
        api.get("/balance/42"),
        api.get("/transactions/42"),
        api.get("/withdrawals", idempotency_key="none"),
        api.get("/withdrawals/01234567-0123-7123-8123-012345678901"),
        api.post("/withdrawals/01234567-0123-7123-8123-012345678901/cancel"),
    )


async def test_never_a_500(api: Api, proxy: PostgresProxy) -> None:
    """Goal: reads and writes alike answer 503 with Retry-After to whatever the server can't do, and recover at once."""

    async def all_is_well() -> bool:
        return [reply.status for reply in await everything(api)] == [200, 202, 200, 200, 404, 404, 404]

    await poll_until(all_is_well)
    for name, fault in FAULTS.items():
        with proxy.answering(is_ours, fault):
            for reply in await everything(api):
                assert reply.status == 503, (name, reply)
                assert int(reply.headers["retry-after"]) >= 1
                assert reply.code == "unavailable"
        await poll_until(all_is_well, what=f"all is well after {name}")
