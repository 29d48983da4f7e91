"""A whole running stack as its clients and its operator see it: HTTP, the bank's books, the `wbs` command."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self
from uuid import uuid4

import aiohttp

from actors.audit import Report, run_audit
from ops.local import supervision
from ops.local.programs import KIND_ORDER
from ops.local.stack import Stack
from ops.rabbitmq_users import ADMINISTRATOR, OPERATOR
from runtime.settings import Settings
from tests.polling import poll_until
from tests.story import EVENT_STREAM

WBS = Path(sys.executable).parent / "wbs"
CALL_TIMEOUT_S = 40.0
COMMAND_TIMEOUT_S = 120.0
INTERVAL_S = 0.05
OPEN = ("pending", "processing")

PACE = {
    "WBS_RECONCILE_INTERVAL_MS": "200",
    "WBS_REDRIVE_AFTER_MS": "2000",
    "WBS_BANK_CONNECT_TIMEOUT_MS": "500",
    "WBS_BANK_TIMEOUT_MS": "1000",
    "WBS_BANK_TRIES": "2",
    "WBS_BANK_TRY_DELAY_MS_MIN": "20",
    "WBS_BANK_TRY_DELAY_MS_MAX": "100",
    "WBS_ROUND_DEADLINE_MS": "2500",
    "WBS_LEASE_MS": "4000",
    "WBS_RETRY_ROUNDS": "8",
    "WBS_RETRY_DELAY_MS_MIN": "100",
    "WBS_RETRY_DELAY_MS_MAX": "400",
}
"""A ladder that ends within seconds, and everything that waits in proportion."""


class Answer(NamedTuple):
    """An HTTP answer, and how long it took in seconds."""

    status: int
    headers: Any
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """The stable code of a problem; None if it is none."""
        if self.headers.get("content-type") != "application/problem+json":
            return None
        return str(self.json["code"])


class Split(NamedTuple):
    """A wallet's money."""

    withdrawable: int
    locked: int = 0
    held: int = 0


class Service:
    """Clients of one stack. `user` is a wallet of the test's own."""

    def __init__(self, stack: Stack, session: aiohttp.ClientSession) -> None:
        self.stack = stack
        self.user = f"user-{uuid4().hex[:12]}"
        self._session = session

    @classmethod
    @asynccontextmanager
    async def of(cls, stack: Stack) -> AsyncIterator[Self]:
        """Open connections; as many at once as are asked for."""
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
            yield cls(stack, session)

    # --- The API ---

    async def call(self, method: str, path: str, *, base: str = "", **more: Any) -> Answer:
        """Make a request; read all of the answer unless it has no end. Raises aiohttp.ClientError, TimeoutError."""
        started = time.monotonic()
        async with self._session.request(method, (base or self.stack.urls["api"]) + path, **more) as response:
            body = b"" if response.content_type == EVENT_STREAM else await response.read()
        return Answer(response.status, response.headers, body, time.monotonic() - started)

    async def persist(self, method: str, path: str, *, timeout_s: float = 60.0, **more: Any) -> Answer:
        """Send the same request until it is answered, and not by 503: what a good client does."""
        said = "no answer"

        async def answered() -> Answer | None:
            nonlocal said
            try:
                answer = await self.call(method, path, **more)
            except (aiohttp.ClientError, TimeoutError) as error:
                said = type(error).__name__
                return None
            if answer.status != 503:
                return answer
            assert answer.headers["retry-after"].isdecimal()
            said = answer.body.decode()
            return None

        try:
            answer: Answer | None = await poll_until(answered, timeout_s, interval_s=INTERVAL_S)
        except AssertionError as error:
            raise AssertionError(f"{method} {path}: {error}; {said}") from error
        assert answer is not None
        return answer

    async def charge(self, amount: int, *, user: object = None, key: str = "", **more: Any) -> Answer:
        """Put money into a wallet; it must work."""
        answer = await self.persist("POST", "/charge", json=self.order(amount, user=user, key=key, **more))
        assert answer.status == 200, answer.body
        return answer

    async def withdraw(self, amount: int, *, user: object = None, key: str = "", **more: Any) -> str:
        """Have a withdrawal accepted; return its id."""
        answer = await self.persist("POST", "/withdraw", json=self.order(amount, user=user, key=key, **more))
        assert answer.status == 202, answer.body
        return str(answer.json["withdrawal_id"])

    def order(self, amount: int, *, user: object = None, key: str = "", **more: Any) -> dict[str, Any]:
        """Return the body of a charge or a withdrawal."""
        key = key or uuid4().hex
        return {
            "user_id": self.user if user is None else user,
            "amount": amount,
            "idempotency_key": key,
            **more,
        }

    async def split(self, user: object = None) -> Split:
        """Return how a wallet's money is split."""
        answer = await self.persist("GET", f"/balance/{self.user if user is None else user}")
        assert answer.status == 200, answer.body
        found = answer.json
        assert found["total"] == found["withdrawable"] + found["locked"] + found["held"]
        return Split(found["withdrawable"], found["locked"], found["held"])

    async def movements(self, user: object = None) -> int:
        """Return how many charges and withdrawals a wallet has seen."""
        answer = await self.persist("GET", f"/transactions/{self.user if user is None else user}?limit=1")
        return int(answer.json["total"])

    async def withdrawal(self, id_: str, *, wait_s: float = 0) -> dict[str, Any]:
        """Return a withdrawal as it is now, or after `wait_s` unless it ends before."""
        answer = await self.persist("GET", f"/withdrawals/{id_}?wait={wait_s:g}")
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json
        return found

    async def ends(self, id_: str, timeout_s: float = 60.0) -> str:
        """Return the state in which a withdrawal comes to rest."""
        deadline = time.monotonic() + timeout_s
        while True:
            status = str((await self.withdrawal(id_, wait_s=5))["status"])
            if status not in OPEN:
                return status
            assert time.monotonic() < deadline, f"{id_} is {status} after {timeout_s:g} s"

    async def all_end(self, ids: list[str], timeout_s: float = 90.0) -> list[str]:
        """Return the states in which withdrawals come to rest, in order; not too many ask at once."""
        turn = asyncio.Semaphore(32)

        async def one(id_: str) -> str:
            async with turn:
                return await self.ends(id_, timeout_s)

        return await asyncio.gather(*(one(id_) for id_ in ids))

    async def nothing_waits(self, timeout_s: float = 60.0) -> None:
        """Return when no withdrawal is under way any more."""

        async def is_empty() -> bool:
            return bool((await self.persist("GET", "/health")).json["queue_length"] == 0)

        await poll_until(is_empty, timeout_s, what="no withdrawal is under way", interval_s=INTERVAL_S)

    # --- The bank ---

    async def faults(self, **faults: Any) -> None:
        """Replace what goes wrong at the bank; nothing given: nothing goes wrong."""
        answer = await self.call("PUT", "/faults", base=self.stack.urls["bank"], json=faults)
        assert answer.status == 200, answer.body

    async def send_back(self, id_: str) -> None:
        """Have the bank return a payout's money."""
        reference = (await self.withdrawal(id_))["reference"]
        answer = await self.call("POST", f"/payouts/{reference}/return", base=self.stack.urls["bank"])
        assert answer.status == 200, answer.body

    async def paid(self, ids: Iterable[str]) -> dict[str, list[int]]:
        """Return the amounts that the bank has paid for these withdrawals: one each, if all is well."""
        by_reference = await self.paid_by_reference()
        references = {id_: (await self.withdrawal(id_))["reference"] for id_ in ids}
        return {id_: by_reference[known] for id_, known in references.items() if known in by_reference}

    async def paid_by_reference(self) -> dict[str, list[int]]:
        """Return the amounts that the bank has paid, by reference."""
        amounts: dict[str, list[int]] = {}
        after = ""
        while True:
            page = (await self.call("GET", f"/payouts?limit=1000{after}", base=self.stack.urls["bank"])).json
            for entry in page["payouts"]:
                amounts.setdefault(entry["reference"], []).append(entry["amount"])
            if page["next"] is None:
                return amounts
            after = f"&after={page['next']}"

    # --- The operator ---

    async def wbs(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a `wbs` command on this stack."""
        return await asyncio.to_thread(run_wbs, self.stack.state.root, *words)

    async def audit(self) -> Report:
        """Assert that `wbs audit` passes, with the bank's books. Return the counts of checked rows."""
        report = await run_audit(Settings.from_env(self.stack.env))
        assert report.ok, report.findings.violations
        return report

    async def stop(self, *kinds: str) -> None:
        """Stop all processes of these kinds."""
        await asyncio.gather(*(asyncio.to_thread(self.stack.stop_kind, kind) for kind in kinds))

    async def start(self, *kinds: str) -> None:
        """Start the processes of these kinds again, and wait until everything answers."""
        for kind in kinds:
            await asyncio.to_thread(self.stack.start_kind, kind)
        await asyncio.to_thread(self.stack.wait_healthy)

    async def kill(self, kind: str) -> float:
        """Kill -9 every process of a kind; return after how many seconds as many others run."""
        before = self.stack.pids(kind)
        assert before
        killed_at = time.monotonic()
        for pid in before:
            os.kill(pid, signal.SIGKILL)

        def back() -> bool:
            now = self.stack.pids(kind)
            return len(now) == len(before) and not set(now) & set(before)

        await poll_until(back, what=f"{kind} is back", interval_s=INTERVAL_S)
        return time.monotonic() - killed_at

    async def dead_letters(self) -> int:
        """Return how many messages lie in `withdrawals.XQ`, as RabbitMQ's management page says."""
        asked = {"count": 1000, "ackmode": "ack_requeue_true", "encoding": "auto"}
        answer = await self._of_dead_letters(OPERATOR, "POST", "get", json=asked)
        assert answer.status == 200, answer.body
        return len(answer.json)

    async def no_dead_letters(self) -> None:
        """Remove what earlier tests have left in `withdrawals.XQ`: a replay by the console removes no message."""
        if self.stack.servers is not None and self.stack.servers.rabbitmq is not None:
            answer = await self._of_dead_letters(ADMINISTRATOR, "DELETE", "contents")
            assert answer.status in (204, 404), answer.body  # 404: nobody has declared it yet

    async def _of_dead_letters(self, user: str, method: str, what: str, **more: Any) -> Answer:
        assert self.stack.servers is not None
        assert self.stack.servers.rabbitmq is not None
        login = aiohttp.encode_basic_auth(user, self.stack.servers.rabbitmq.passwords[user])
        path = f"/api/queues/%2F/withdrawals.XQ/{what}"
        headers = {"authorization": login}
        return await self.call(method, path, base=self.stack.urls["rabbitmq"], headers=headers, **more)


def run_wbs(state_dir: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `wbs WORDS` for a state folder, with no other settings than these."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("WBS_", "TEST_"))}
    clean = {name: text for name, text in clean.items() if name not in ("DATABASE_URL", "RABBITMQ_URL")}
    return subprocess.run(
        [WBS, *words],
        env={**clean, "WBS_STATE_DIR": str(state_dir), **settings},
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


def defaults(**settings: str) -> dict[str, str]:
    """Return an environment for a stack in which only these settings are set, whatever the shell has."""
    names = [name for name in os.environ if name.startswith("WBS_")]
    return {**dict.fromkeys((*names, "DATABASE_URL", "RABBITMQ_URL"), ""), **settings}


def make_whole(stack: Stack) -> None:
    """Undo what a test that failed in the middle left behind: frozen, stopped."""
    for kind, pid in [(str(row["kind"]), int(row["pid"])) for row in stack.ps()]:
        if kind in KIND_ORDER:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    running = {name for name, _ in supervision.running(stack.state)}
    for program in stack.programs:
        if program.name not in running:
            supervision.start_program(stack.state, program.full_name)
    stack.wait_healthy()
