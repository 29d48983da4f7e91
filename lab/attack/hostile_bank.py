"""A bank whose replies nobody can rely on: `python -m lab.attack.hostile_bank PLAN`; prints its port, obeys its input.

It stands before the bank simulator. While it is hostile, most replies are not what the simulator said: other statuses,
other endings, other people's orders, bytes before, between and behind. What it never does is lie about an order as an
honest bank would speak: nobody could notice that. It obeys `target PORT`, `hostile` and `calm`; with the end of its
input it prints how often it did what.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

STATUSES = (
    101, 199, 204, 301, 302, 304, 307, 400, 401, 403, 404, 405, 408, 409, 418, 422, 425, 429, 451, 500, 502, 503, 504,
    599, 999,
)  # fmt: skip
HONEST_SHARE = 0.25
FLOOD_BYTES = 20_000_000
DRIP_S = 0.1
_DECLINED = b'{"status":"declined","code":"account_closed"}'


def reply(status: int, body: bytes, *lines: bytes) -> bytes:
    """Return a reply that is right in form."""
    fields = (b"Content-Type: application/json", b"Content-Length: %d" % len(body), *lines)
    return b"HTTP/1.1 %d X\r\n" % status + b"\r\n".join(fields) + b"\r\n\r\n" + body


def strange_status(random: Random, body: bytes) -> bytes:
    """Return what was said, or nothing of it, with another status."""
    said = random.choice([body, b"", b"{}", b"[]", _DECLINED, b"<html>"])
    return reply(random.choice(STATUSES), said, b"Location: http" + b"://127.0.0.1:1/payouts")


def of_another(random: Random, body: bytes) -> bytes:
    """Return what was said, about another order."""
    try:
        order = dict(json.loads(body))
    except (ValueError, TypeError):
        order = {"status": "paid", "payout_id": "po_1"}
    name, value = random.choice(
        [
            ("reference", "0" * 32),
            ("reference", None),
            ("amount", 10**9),
            ("amount", "1"),
            ("currency", "QQQ"),
        ]
    )
    return reply(random.choice([200, 201]), json.dumps({**order, name: value}).encode())


def declined(random: Random, body: bytes) -> bytes:
    """Return a decline that names no order, or another one."""
    other = {
        "reference": random.choice(["0" * 32, "", None, 7]),
        "status": "declined",
        "code": "account_closed",
    }
    return reply(422, random.choice([_DECLINED, json.dumps(other).encode()]))


def nonsense(random: Random, body: bytes) -> bytes:
    """Return bytes that are no answer, or hardly."""
    said = [
        random.randbytes(200), b"[" * 50_000, b'{"status":"paid","payout_id":"' + b"x" * 60_000 + b'"}',
        b'{"status":"pa\\u0000id"}', b'{"status":"paid","payout_id":"\\ud800"}', b'{"status":"declined","code":"\xff"}',
        b'{"status":"paid","status":"declined"}', b'{"amount":1e999}', body[: len(body) // 2],
    ]  # fmt: skip
    return reply(random.choice([200, 201, 422]), random.choice(said))


def framing(random: Random, body: bytes) -> bytes:
    """Return what was said, in a frame that can be read in several ways."""
    wrong = [
        b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n%b" % (len(body) + 50, body),
        b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n%b" % (len(body) // 2, body),
        b"HTTP/1.1 200 X\r\nContent-Length: 1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body),
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (len(body), body),
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n%b" % body,
        b"HTTP/0.9 200\r\n\r\n%b" % body,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 500 + reply(200, body),
        b"HTTP/1.1 200 X\r\n" + b"X-Pad: y\r\n" * 20_000 + b"\r\n" + body,
        random.randbytes(100),
    ]
    return random.choice(wrong)


def two(random: Random, body: bytes) -> bytes:
    """Return what was said, and a second reply behind it, for whoever asks next."""
    return reply(200, body) + reply(random.choice([200, 422]), random.choice([_DECLINED, body]))


def cut(random: Random, body: bytes) -> bytes:
    """Return the beginning of what was said."""
    raw = reply(201, body)
    return raw[: random.randrange(len(raw))]


def flood(random: Random, body: bytes) -> bytes:
    """Return a very long reply."""
    return reply(200, b" " * FLOOD_BYTES)


REPLIES: dict[str, Callable[[Random, bytes], bytes]] = {
    "status": strange_status, "another": of_another, "declined": declined, "nonsense": nonsense, "framing": framing,
    "two": two, "cut": cut, "flood": flood,
}  # fmt: skip
ACTIONS = (*REPLIES, "reset", "silence", "drip", "late")
ENDS = frozenset({"framing", "cut", "flood", "silence", "reset"})
"""After these the connection ends."""


class HostileBank:
    """Serves the processes that think it is the bank."""

    def __init__(self, seed: int) -> None:
        self._random = Random(f"{seed}:bank")
        self.target = 0
        self.is_hostile = False
        self.done: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection until it ends."""
        with suppress(OSError, asyncio.IncompleteReadError, ValueError):
            if self.is_hostile and self._random.random() < 0.05:
                self.done["before"] += 1
                writer.write(reply(422, _DECLINED))
            while await self._exchange(reader, writer):
                pass
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request. Return whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ]
        raw = head + await reader.readexactly(sum(lengths))
        if not self.is_hostile or self._random.random() < HONEST_SHARE:
            writer.write(await self._ask(raw))
            await writer.drain()
            return True
        action = self._random.choice(ACTIONS)
        self.done[action] += 1
        if action == "reset" and self._random.random() < 0.5:
            writer.transport.abort()  # the bank never heard of it
            return False
        body = (await self._ask(raw)).partition(b"\r\n\r\n")[2]
        await self._say(action, body, writer)
        return action not in ENDS

    async def _say(self, action: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if action in REPLIES:
            writer.write(REPLIES[action](self._random, body))
        elif action == "reset":
            writer.transport.abort()
        elif action == "drip":
            for byte in reply(200, body):
                if writer.is_closing():
                    return
                writer.write(bytes([byte]))
                await asyncio.sleep(DRIP_S)
        elif action == "late":
            writer.write(reply(200, body))
            await asyncio.sleep(DRIP_S)
            if writer.is_closing():
                return
            writer.write(reply(422, _DECLINED))
        await writer.drain()

    async def _ask(self, raw: bytes) -> bytes:
        """Return what the simulator replies."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            writer.write(raw)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            )
            return head + await reader.readexactly(length)
        finally:
            writer.close()

    def obey(self, line: str) -> None:
        """Do what the campaign says."""
        word, _, argument = line.strip().partition(" ")
        if word == "target":
            self.target = int(argument)
        else:
            self.is_hostile = word == "hostile"


async def main(plan: dict[str, Any]) -> None:
    """Serve until the standard input ends."""
    bank, loop = HostileBank(plan["seed"]), asyncio.get_running_loop()
    server = await asyncio.start_server(bank.serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        bank.obey(line)
    server.close()
    print(json.dumps(bank.done))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
