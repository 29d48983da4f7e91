"""The background half of the service as it really runs: a database, RabbitMQ, a bank, and our processes."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pika
import pika.exceptions

from actors.audit import run_audit
from db.ledger import Ledger
from runtime.settings import Settings
from runtime.slices import BrokerSettings
from tests.conftest import PATIENT
from tests.integration.actors.processes import BankProcess, Process
from tests.locks import mature
from tests.polling import poll_until
from wallet.commands import Charge, Withdraw

COMPRESSED = {
    "WBS_RECONCILE_INTERVAL_MS": "100",
    "WBS_REDRIVE_AFTER_MS": "1000",
    "WBS_BANK_TIMEOUT_MS": "400",
    "WBS_BANK_CONNECT_TIMEOUT_MS": "200",
    "WBS_BANK_TRIES": "2",
    "WBS_BANK_TRY_DELAY_MS_MIN": "10",
    "WBS_BANK_TRY_DELAY_MS_MAX": "50",
    "WBS_ROUND_DEADLINE_MS": "1000",
    "WBS_LEASE_MS": "1500",
    "WBS_RETRY_DELAY_MS_MIN": "100",
    "WBS_RETRY_DELAY_MS_MAX": "500",
    "WBS_ACTOR_THREADS": "8",
}
"""The ladder and everything that waits, some twenty times faster than by default."""

OPEN = ("pending", "processing")


class Pipeline:
    """Everything, and what a test wants to know of it. Processes start when the test starts them."""

    def __init__(self, folder: Path, bank: BankProcess, environment: dict[str, str], sql: Any) -> None:
        self.environment = environment
        self.settings = Settings.from_env(environment)
        self.bank = bank
        self.relay = Process("actors.relay", folder, environment)
        self.actors = Process("actors", folder, environment)
        self.reconciler = Process("actors.reconciler", folder, environment)
        self.ledger = Ledger(Settings.from_env({**environment, **PATIENT}))
        self.ledger.start()
        self.direct_rabbitmq_url = self.settings.rabbitmq_url
        """For looking at the queues, also if the processes go by way of a proxy."""
        self._sql: asyncpg.Connection = sql
        self._number = 0

    def start(self, *processes: Process) -> None:
        for process in processes or (self.bank, self.relay, self.actors, self.reconciler):
            process.start()

    @property
    def broker(self) -> BrokerSettings:
        """RabbitMQ and its queues."""
        assert self.settings.broker is not None
        return self.settings.broker

    async def close(self) -> None:
        for process in (self.relay, self.actors, self.reconciler, self.bank):
            process.ensure_gone()
        await self.ledger.stop()

    async def withdraw(self, number: int, amount: int = 100) -> list[UUID]:
        """Charge a wallet and have `number` withdrawals accepted; return their ids."""
        self._number += 1
        user = f"user-{self._number}"
        await self.ledger.submit(Charge("test", f"charge-{self._number}", user, "USD", number * amount))
        keys = [f"withdraw-{self._number}-{index}" for index in range(number)]
        recorded = await asyncio.gather(
            *(self.ledger.submit(Withdraw("test", key, user, "USD", amount, '{"iban":"X"}')) for key in keys)
        )
        return [one.receipt.id for one in recorded]

    async def row(self, id_: UUID) -> Any:
        """The withdrawal as the database has it."""
        return await self._sql.fetchrow("select * from withdrawals where id = $1", id_)

    async def status(self, id_: UUID) -> str:
        return str((await self.row(id_))["status"])

    async def reference(self, id_: object) -> str:
        """What the bank knows a withdrawal by; of anything else, its text."""
        row = await self.row(id_) if isinstance(id_, UUID) else None
        return row["reference"].hex if row else str(id_)

    async def execute(self, statement: str, *arguments: Any) -> Any:
        return await self._sql.fetch(statement, *arguments)

    async def mature(self) -> None:
        """Let the locks of today mature."""
        await mature(self._sql)

    async def count(self, *statuses: str) -> int:
        """How many withdrawals are in one of these states."""
        return int(
            await self._sql.fetchval("select count(*) from withdrawals where status = any($1)", statuses)
        )

    async def outbox(self) -> int:
        return int(await self._sql.fetchval("select count(*) from outbox"))

    async def all_ended(self, timeout_s: float = 60) -> None:
        """Wait until no withdrawal is open."""

        async def none_open() -> bool:
            return await self.count(*OPEN) == 0

        await poll_until(none_open, timeout_s, what="no withdrawal is open")

    async def becomes(self, id_: UUID, status: str, timeout_s: float = 60) -> None:
        async def is_there() -> bool:
            return await self.status(id_) == status

        await poll_until(is_there, timeout_s, what=f"{id_} is {status}")

    async def audit(self) -> None:
        """Assert that the books are right and agree with the bank's."""
        report = await run_audit(self.settings)
        assert report.ok, report.findings.violations

    def queued(self, queue: str = "withdrawals") -> int:
        """Messages ready in RabbitMQ; 0 if there is no such queue yet."""
        connection = pika.BlockingConnection(pika.URLParameters(self.direct_rabbitmq_url))
        try:
            return int(connection.channel().queue_declare(queue, passive=True).method.message_count)
        except pika.exceptions.ChannelClosedByBroker:
            return 0
        finally:
            connection.close()
