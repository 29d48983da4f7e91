"""The attacker, as a process of its own: `python -m lab.attack.shooter PLAN`, a JSON object; prints what came back."""

import asyncio
import json
import math
import resource
import socket
import sys
from collections import Counter
from contextlib import suppress
from random import Random
from typing import Any

from lab.attack.hostile import WAVES, Shot, Target, request

ADDRESS = "127.0.0.2"
"""The attacker's address, which differs from that of the client next to it."""
ANSWER_S_MAX = 15.0
"""Longer than any deadline of the service for a request that has arrived."""
DEAF_S_MAX = 60.0
"""Much longer than the service waits for a response to be read: before, it has to make more than the kernels take."""
LOOK_S_MAX = 5.0
FOUND_MAX = 20
_TCP_ESTABLISHED = 1


class Shooter:
    """Sends shots over some connections at once, and counts what comes back."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._target = Target(**plan["target"])
        self._random = Random(f"{plan['seed']}:{plan['wave']}")
        self._left = int(plan["shots"])
        self._until = math.inf
        self.statuses: Counter[str] = Counter()
        self.found: list[str] = []

    async def run(self) -> None:
        """Send all shots, or as many as there is time for."""
        self._until = asyncio.get_running_loop().time() + self._plan.get("until_s", math.inf)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._plan["connections"]):
                group.create_task(self._connection())

    async def _connection(self) -> None:
        make = WAVES[self._plan["wave"]]
        while self._goes_on():
            try:
                reader, writer = await asyncio.open_connection(
                    self._plan["host"], self._plan["port"], local_addr=(ADDRESS, 0)
                )
            except OSError:
                self.statuses["not connected"] += 1
                self._left -= 1
                await asyncio.sleep(0.05)
                continue
            try:
                goes_on = True
                while goes_on and self._goes_on():
                    self._left -= 1
                    shot = make(self._random, self._target)
                    goes_on = await self._shoot(shot, reader, writer) and not shot.ends
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    def _goes_on(self) -> bool:
        return self._left > 0 and asyncio.get_running_loop().time() < self._until

    async def _shoot(self, shot: Shot, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Return whether the connection goes on."""
        with suppress(OSError):
            writer.write(shot.raw)
            if not shot.complete:
                writer.write_eof()
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                status, goes_on = await _answer(reader, has_body=not shot.raw.startswith(b"HEAD "))
        except TimeoutError:
            self._find("hang", shot, "no answer")
            return False
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            if shot.complete:
                self._find("closed", shot, type(error).__name__)
            else:
                self.statuses["closed"] += 1
            return False
        self.statuses[str(status)] += 1
        if status not in shot.may:
            self._find("answer", shot, str(status))
        return goes_on

    def _find(self, kind: str, shot: Shot, what: str) -> None:
        self.statuses[f"! {kind}"] += 1
        if len(self.found) < FOUND_MAX:
            self.found.append(f"{kind} {what}: {shot.raw[:300]!r}")


async def _answer(reader: asyncio.StreamReader, *, has_body: bool) -> tuple[int, bool]:
    """Return the status, and whether the connection goes on. Raises IncompleteReadError, ValueError."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ")[1])
        if status != 100:
            break
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if has_body:
        await reader.readexactly(int(fields.get("content-length", 0)))
    return status, fields.get("connection") != "close"


class Slow:
    """Opens very many connections that send next to nothing, and keeps them for a while."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self.statuses: Counter[str] = Counter()
        self.found: list[str] = []

    async def run(self) -> None:
        """Open the connections, drip into them, let them go."""
        writers: list[asyncio.StreamWriter] = []
        gate = asyncio.Semaphore(200)

        async def open_one(number: int) -> None:
            async with gate:
                try:
                    async with asyncio.timeout(5):
                        _, writer = await asyncio.open_connection(
                            self._plan["host"], self._plan["port"], local_addr=(ADDRESS, 0)
                        )
                except (OSError, TimeoutError):
                    self.statuses["not connected"] += 1
                    return
            self.statuses["connected"] += 1
            if number % 3:
                writer.write(b"POST /charge HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"[: number % 60])
            writers.append(writer)

        await asyncio.gather(*(open_one(number) for number in range(self._plan["shots"])))
        for _ in range(int(self._plan["seconds"])):
            await asyncio.sleep(1)
            for writer in writers[::10]:
                if not writer.is_closing():
                    writer.write(b"x")
        self.statuses["closed by the service"] = sum(writer.is_closing() for writer in writers)
        for writer in writers:
            writer.transport.abort()


class Deaf:
    """Asks for very much on many connections, and reads nothing of it."""

    ASKS = 60
    BUFFER_BYTES = 8192

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._target = Target(**plan["target"])
        self.statuses: Counter[str] = Counter()
        self.found: list[str] = []

    async def run(self) -> None:
        """Ask, and wait until the service has hung up. It goes on for the plan's time at least, as at the yardstick."""
        path = f"/transactions/{self._target.victim}?limit=100"
        asks = request(self._target, "GET", path, key=self._target.strong_key) * self.ASKS
        await asyncio.gather(
            asyncio.sleep(self._plan["seconds"]), *(self._one(asks) for _ in range(self._plan["shots"]))
        )

    async def _one(self, asks: bytes) -> None:
        loop = asyncio.get_running_loop()
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.BUFFER_BYTES)
        client.setblocking(False)
        try:
            client.bind((ADDRESS, 0))
            async with asyncio.timeout(DEAF_S_MAX):
                await loop.sock_connect(client, (self._plan["host"], self._plan["port"]))
                await loop.sock_sendall(client, asks)
                while _is_established(client):  # noqa: ASYNC110 - nothing tells of a reset without reading
                    await asyncio.sleep(0.5)
            self.statuses["closed by the service"] += 1
        except TimeoutError:
            await self._look(client)
        except OSError:
            self.statuses["closed by the service"] += 1
        finally:
            client.close()

    async def _look(self, client: socket.socket) -> None:
        """Read a little: if the service has hung up without a word, its kernel says so now."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(LOOK_S_MAX):
                for _ in range(self.BUFFER_BYTES):
                    if not await loop.sock_recv(client, self.BUFFER_BYTES):
                        self.statuses["closed by the service"] += 1
                        return
        except ConnectionError:
            self.statuses["closed by the service"] += 1
            return
        except TimeoutError:
            pass
        self.statuses["! still open"] += 1


def _is_established(client: socket.socket) -> bool:
    """Tell whether the other side has not ended the connection, as far as that can be known without reading."""
    return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_ESTABLISHED


def main() -> None:
    """Carry out the plan."""
    plan = json.loads(sys.argv[1])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kinds: dict[str, type[Slow] | type[Deaf]] = {"slow": Slow, "deaf": Deaf}
    attacker = kinds.get(plan["wave"], Shooter)(plan)
    asyncio.run(attacker.run())
    print(json.dumps({"statuses": attacker.statuses, "found": attacker.found}))


if __name__ == "__main__":
    main()
