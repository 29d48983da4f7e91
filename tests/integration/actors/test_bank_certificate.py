"""The real processes and a bank behind https whose certificate expires."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.integration.actors.authority import Authority
from tests.integration.actors.pipeline import Pipeline
from tests.polling import poll_until
from tests.tcp import connected, serving


@asynccontextmanager
async def tls_before(port_of_bank: Callable[[], int], tls: ssl.SSLContext) -> AsyncIterator[int]:
    """A port where TLS ends; what comes is passed on to the bank."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with connected(port_of_bank(), timeout_s=None) as (there, back):
            await asyncio.gather(copy(reader, back), copy(there, writer))

    async with serving(serve, tls=tls) as port:
        yield port


async def test_a_certificate_that_expired(
    make_pipeline: Callable[..., Pipeline], rabbitmq_url: str, tmp_path: Path
) -> None:
    """Goal: meanwhile nothing is paid or declined and all say why; with a new certificate all is paid, by itself."""
    authority = Authority(tmp_path / "authority")
    tls = authority.server(*authority.issue("old", days=-1))
    pipelines: list[Pipeline] = []
    async with tls_before(lambda: pipelines[0].bank.port, tls) as port:
        pipeline = make_pipeline(
            rabbitmq_url,
            WBS_BANK_URL=f"https://127.0.0.1:{port}",
            WBS_BANK_CA_FILE=str(authority.file),
            WBS_BANK_TOKEN="s3cret-of-the-bank",
            WBS_RETRY_ROUNDS="1000",
        )
        pipelines.append(pipeline)
        pipeline.start()
        ids = await pipeline.withdraw(30)

        async def all_say_why() -> bool:
            rows = await pipeline.execute(
                "select detail from heartbeats where kind in ('actors', 'reconciler')"
            )
            said = [json.loads(row["detail"]).get("bank", "") for row in rows]
            return len(said) == 2 and all(
                "away: " in one and "certificate has expired" in one for one in said
            )

        await poll_until(all_say_why)
        assert await pipeline.count("pending", "processing") == 30
        assert not await pipeline.bank.books()
        tls.load_cert_chain(*authority.issue("new"))
        await pipeline.all_ended()
        assert await pipeline.count("completed") == len(ids)
        await pipeline.audit()
    for process in (pipeline.actors, pipeline.reconciler, pipeline.relay):
        assert "s3cret-of-the-bank" not in process.log.read_text()
