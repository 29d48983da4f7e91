"""A collector of OpenTelemetry is told of spans, if WBS_OTEL says so; whatever it does, nothing waits for it."""

import asyncio
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from tests.api_keys import create_key
from tests.integration.actors.processes import BankProcess, Process
from tests.integration.actors.receiver import Receiver
from tests.integration.gateway.collector import Collector, Told
from tests.integration.gateway.conftest import Api, StartGateway, raw_request
from tests.polling import poll_until

SHOP = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
"""The trace that the client is in, and its span."""


@pytest_asyncio.fixture
async def collector() -> AsyncIterator[Collector]:
    collector = await Collector().start()
    yield collector
    await collector.stop()


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = await Receiver().start()
    yield receiver
    await receiver.stop()


@pytest.fixture
def background(tmp_path: Path, database_url: str, collector: Collector) -> Iterator[BankProcess]:
    """Actors with their relay, a courier and the bank, which is returned."""
    bank = BankProcess(tmp_path, {}).start()
    environment = {
        **collector.settings,
        "DATABASE_URL": database_url,
        "RABBITMQ_URL": "",
        "WBS_BANK_URL": bank.url,
        "WBS_BANK_TIMEOUT_MS": "10000",
        "WBS_ROUND_DEADLINE_MS": "20000",
        "WBS_LEASE_MS": "60000",
        "WBS_WEBHOOKS_PRIVATE": "1",
    }
    others = [Process(module, tmp_path, environment).start() for module in ("actors", "actors.courier")]
    yield bank
    for process in (*others, bank):
        process.ensure_gone()


async def test_a_withdrawal_is_one_trace(
    background: BankProcess,
    collector: Collector,
    receiver: Receiver,
    start_gateway: StartGateway,
    session: aiohttp.ClientSession,
    connection: asyncpg.Connection,
) -> None:
    """Goal: from the client's span to the webhook, each piece of work is a span under what led to it, on both ways
    through the gateway; the receiver is told the span that the collector knows."""
    settings = {**collector.settings, "WBS_WEBHOOKS_PRIVATE": "1"}
    gateways = await asyncio.gather(*(start_gateway(WBS_FAST_PATH=way, **settings) for way in "10"))
    fast, sanics = (Api(gateway.url, session) for gateway in gateways)
    hook = await fast.post("/webhooks", {"url": receiver.url, "types": ["withdrawal.completed"]})
    assert hook.status == 201, hook.body
    for way, api in (("fast", fast), ("sanics", sanics)):
        client = api.with_headers(traceparent="-".join(("00", *SHOP, "01")), x_request_id=f"pay-{way}")
        assert (await client.charge("u", 100)).status == 200
        answer = await client.withdraw("u", 100, destination={"iban": "X"})
        id = answer.json["withdrawal_id"]

        def spans(name: str, request_id: str = f"pay-{way}") -> list[Told]:
            return [span for span in collector.of(request_id) if span.name == name]

        await poll_until(
            lambda: bool(spans("POST") and spans("process withdrawals") and spans("POST /payouts")),
            what="the collector was told",
        )
        (request,), (payout,), (call,) = map(
            spans, ("POST /withdraw", "process withdrawals", "POST /payouts")
        )
        delivery = spans("POST")[0]
        assert {span.trace_id for span in (request, payout, call, delivery)} == {SHOP[0]}
        assert (request.parent, payout.parent, call.parent, delivery.parent) == (
            SHOP[1],
            request.id,
            payout.id,
            request.id,
        )
        assert [span.kind for span in (request, payout, call, delivery)] == [
            "server",
            "consumer",
            "client",
            "client",
        ]
        assert [span.process for span in (request, payout)] == ["gateway", "actors"]
        assert {span.attributes["wbs.withdrawal_id"] for span in (request, payout, delivery)} == {id}
        assert not any(span.failed for span in (request, payout, call, delivery))
        told = next(one for one in receiver.received if one.headers["x-request-id"] == f"pay-{way}")
        assert told.headers["traceparent"] == f"00-{SHOP[0]}-{delivery.id}-01"
        kept = await connection.fetchval("select traceparent from withdrawals where id = $1", id)
        assert kept == f"00-{SHOP[0]}-{request.id}-01"
        assert request.attributes["http.route"] == "/withdraw"
        assert request.attributes["http.response.status_code"] == 202
        assert call.attributes["http.response.status_code"] == 201
        assert (payout.attributes["wbs.status"], call.attributes["wbs.outcome"]) == ("completed", "paid")
    said = {(name, value) for span in collector.spans for name, value in span.attributes.items()}
    assert not any("amount" in name or value in (100, "100", "u") for name, value in said)
    names = {str(resource["service.name"]) for resource in collector.resources}
    assert {"wbs-gateway", "wbs-actors"} <= names <= {"wbs-gateway", "wbs-actors", "wbs-reconciler"}
    assert [gateway.stop() for gateway in gateways] == [0, 0]


@pytest.mark.parametrize("way", ["1", "0"], ids=["fast-path", "sanics-way"])
async def test_requests_that_come_to_nothing(
    way: str,
    collector: Collector,
    start_gateway: StartGateway,
    session: aiohttp.ClientSession,
    database_url: str,
) -> None:
    """Goal: refusals are spans with their code and the key's name, under the route that was meant; no path, method,
    name or key from outside is told, and a client that says no trace begins one. Probes are no spans. What waits at the
    end is told."""
    key = await create_key(database_url, "shop")
    settings = collector.settings | {"OTEL_BSP_SCHEDULE_DELAY": "60000", "WBS_AUTH": "on"}
    gateway = await start_gateway(WBS_FAST_PATH=way, **settings)
    api = Api(gateway.url, session).with_headers(authorization=f"Bearer {key}", traceparent="secret")
    for path in ("/withdrawals/secret", "/secret", "/holds/secret"):
        assert (await api.get(path)).status == 404
    assert (await api.withdraw("secret", 0)).status == 422
    for probe in ("/health", "/health/live", "/health/ready", "/metrics"):
        await api.get(probe)
    await raw_request(api, b"SECRET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert not collector.spans
    assert await asyncio.to_thread(gateway.stop) == 0
    said = ("http.response.status_code", "wbs.code", "wbs.by")
    told = {(span.name, *map(span.attributes.get, said)) for span in collector.spans}
    assert told == {
        ("GET /withdrawals/{withdrawal_id}", 404, "withdrawal_not_found", "shop"),
        ("GET", 404, "not_found", None),
        ("GET /holds/{hold_id}", 404, "hold_not_found", "shop"),
        ("POST /withdraw", 422, "validation_failed", "shop"),
        ("HTTP", 405, "method_not_allowed", None),
    }
    assert len({span.trace_id for span in collector.spans}) == len(collector.spans)
    assert not any(span.parent or span.failed or "secret" in repr(span).lower() for span in collector.spans)
    assert key not in repr(collector.spans)


async def test_a_collector_that_hangs(start_gateway: StartGateway, session: aiohttp.ClientSession) -> None:
    """Goal: no request waits for it, nor does the end of the process; what is dropped is counted."""
    with socket.create_server(("127.0.0.1", 0)) as listener:  # it takes connections, and never answers
        gateway = await start_gateway(
            WBS_OTEL="1",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{listener.getsockname()[1]}",
            OTEL_EXPORTER_OTLP_TIMEOUT="600",
            OTEL_BSP_SCHEDULE_DELAY="10",
            OTEL_BSP_MAX_QUEUE_SIZE="8",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="8",
        )
        api = Api(gateway.url, session)
        replies = [await api.charge("u", 1) for _ in range(40)]
        assert [reply.status for reply in replies] == [200] * 40
        metrics = (await api.get("/metrics")).body.decode()
        dropped = re.search(r'^wbs_spans_dropped_total\{reason="queue_full"\} (\S+)', metrics, re.MULTILINE)
        assert dropped is not None
        assert 40 - 8 - 8 <= float(dropped[1]) <= 60
        assert await asyncio.to_thread(gateway.stop) == 0  # within half a minute, as any other


WITHOUT = (
    "import sys, runpy; sys.modules['opentelemetry'] = None; runpy.run_module('{}', run_name='__main__')"
)


@pytest.mark.parametrize(("module", "code"), [("gateway", 1), ("actors", 2), ("actors.reconciler", 2)])
def test_without_the_extra(module: str, code: int, database_url: str) -> None:
    """Goal: a process that is to tell of spans and can't does not start, and says in a sentence what is missing."""
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(module)],
        env={"WBS_OTEL": "1", "DATABASE_URL": database_url, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == code
    assert "pip install 'wallet-balance-split[otel]'" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
