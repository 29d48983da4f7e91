"""A proxy that speaks PostgreSQL's wire protocol: it lets a real server say what no test could make it say.

For statements whose text matches, it answers in the server's place: an error of any SQLSTATE, silence, or nonsense.
Everything else, the startup included, passes through to the real server. Message formats: PostgreSQL's manual,
"Frontend/Backend Protocol".
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from tests.tcp import Server, connected

_SSL_REQUEST = 80877103
_CANCEL_REQUEST = 80877102


class Error(NamedTuple):
    """The server answers with an error. FATAL ones close the connection, as the server does."""

    sqlstate: str
    severity: str = "ERROR"


class Hang(NamedTuple):
    """The server takes the statement and says nothing."""


class Nonsense(NamedTuple):
    """The server answers what makes no sense: see `_NONSENSE`. The statement was executed, or not."""

    kind: str
    executed: bool = False


Fault = Error | Hang | Nonsense


def _message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


def _error(error: Error) -> bytes:
    fields = {"S": error.severity, "V": error.severity, "C": error.sqlstate, "M": "made up by a test"}
    body = b"".join(key.encode() + value.encode() + b"\0" for key, value in fields.items())
    return _message(b"E", body + b"\0")


def _row(columns: int, value: bytes | None) -> bytes:
    one = b"\xff\xff\xff\xff" if value is None else len(value).to_bytes(4, "big") + value
    return _message(b"D", columns.to_bytes(2, "big") + one * columns)


_BOUND = _message(b"2")


def _done(tag: str) -> bytes:
    return _message(b"C", tag.encode() + b"\0")


_NONSENSE: dict[str, Callable[[int], bytes]] = {
    "no row": lambda columns: _BOUND + _done("SELECT 0"),
    "NULLs": lambda columns: _BOUND + _row(columns, None) + _done("SELECT 1"),
    "a wrong type": lambda columns: _BOUND + _row(columns, b"\xfe\x00odd") + _done("SELECT 1"),
    "a short row": lambda columns: _BOUND + _row(max(columns - 1, 0), None) + _done("SELECT 1"),
    "many rows": lambda columns: _BOUND + _row(columns, None) * 3 + _done("SELECT 3"),
    "an odd tag": lambda columns: _BOUND + _done("ROLLBACK"),
    "nothing": lambda columns: b"",
    "an unknown message": lambda columns: _message(b"!", b"what is this"),
}
NONSENSE = tuple(_NONSENSE)


@dataclass(slots=True)
class _Rule:
    matches: Callable[[str], bool]
    fault: Fault
    times: float
    met: int = 0


@dataclass(slots=True, eq=False)
class _Session:
    """One connection through the proxy."""

    proxy: "PostgresProxy"
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    texts: dict[bytes, str] = field(default_factory=dict)
    """Of prepared statements, by name."""
    columns: dict[bytes, int] = field(default_factory=dict)
    """How many a prepared statement's rows have."""
    described: list[bytes] = field(default_factory=list)
    bound: bytes = b""
    group: list[bytes] = field(default_factory=list)
    """Messages of the client up to one that asks for an answer."""
    status: bytes = b"I"
    """Of the transaction, as the server said last."""
    failed: bool = False
    """We said that its transaction had failed; the server knows nothing of it."""
    muted: Nonsense | None = None
    """The server's answer is dropped, and this said instead."""

    def from_client(self, kind: bytes, message: bytes) -> None:
        body = message[5:]
        if kind == b"P":
            name, prepared = body.split(b"\0")[:2]
            self.texts[name] = prepared.decode()
        elif kind == b"D" and body[:1] == b"S":
            self.described.append(body[1:-1])
        elif kind == b"B":
            self.bound = body.split(b"\0")[1]
        self.group.append(message)
        if kind in b"PBDEC":
            return  # there is more to come
        group, self.group = self.group, []
        kinds = [one[:1] for one in group]
        if b"E" in kinds:
            text = self.texts.get(self.bound, "")
        elif kind == b"Q":
            text = body[:-1].decode()
        else:
            text = ""
        if text:
            self.proxy.seen[text] += 1
        rule = self.proxy.rule_for(text) if text else None
        if rule is not None:
            self._answer(rule.fault, group, simple=kind == b"Q")
            return
        if self.failed and text in ("commit", "rollback"):
            self.failed = False
            group = [_message(b"Q", b"rollback\0")]  # a failed transaction can't be committed
        self.server.write(b"".join(group))

    def _answer(self, fault: Fault, group: list[bytes], *, simple: bool) -> None:
        if isinstance(fault, Hang):
            return
        if isinstance(fault, Nonsense) and fault.executed:
            self.muted = fault
            self.server.write(b"".join(group))
            return
        if isinstance(fault, Error):
            self.client.write(_error(fault))
            if fault.severity != "ERROR":
                self.client.close()
                return
            self.failed = self.status == b"T"
        else:
            self._say_nonsense(fault)
        self.client.write(_message(b"Z", b"E" if self.failed else self.status))

    def _say_nonsense(self, nonsense: Nonsense) -> None:
        words = _NONSENSE[nonsense.kind](self.columns.get(self.bound, 1))
        self.client.write(words)

    def from_server(self, kind: bytes, message: bytes) -> None:
        if kind == b"Z":
            self.status = message[5:6]
        if kind in b"Tn" and self.described:
            name = self.described.pop(0)
            self.columns[name] = int.from_bytes(message[5:7], "big") if kind == b"T" else 0
        if self.muted is None:
            self.client.write(message)
        elif kind == b"Z":
            nonsense, self.muted = self.muted, None
            self._say_nonsense(nonsense)
            self.client.write(message)


class PostgresProxy:
    """Stands before a PostgreSQL server; `url` is its database seen through it."""

    def __init__(self, database_url: str) -> None:
        self._database_url = urlsplit(database_url)
        self._server = Server(self._serve)
        self._rules: list[_Rule] = []
        self.seen: Counter[str] = Counter()
        """Texts of the statements that were executed, or would have been."""

    @property
    def url(self) -> str:
        """The database, through this proxy."""
        login, at, _ = self._database_url.netloc.rpartition("@")
        netloc = f"{login}{at}127.0.0.1:{self._server.port}"
        return urlunsplit(self._database_url._replace(netloc=netloc))

    async def start(self) -> "PostgresProxy":
        """Take connections."""
        await self._server.start()
        return self

    async def stop(self) -> None:
        """Cut all connections and take no more."""
        await self._server.stop()

    def cut(self) -> None:
        """Cut all connections."""
        self._server.cut()

    @contextmanager
    def answering(
        self, statement: str | Callable[[str], bool], fault: Fault, times: float = float("inf")
    ) -> Iterator[_Rule]:
        """Within the block, the first `times` executions of the statement are answered by the fault.

        `met` of what is yielded says how many were.
        """
        matches = statement if callable(statement) else statement.__eq__
        rule = _Rule(matches, fault, times)
        self._rules.append(rule)
        try:
            yield rule
        finally:
            self._rules.remove(rule)

    def rule_for(self, text: str) -> _Rule | None:
        """Return what to do about a statement, and count it."""
        for rule in self._rules:
            if rule.met < rule.times and rule.matches(text):
                rule.met += 1
                return rule
        return None

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            database = f"tcp://{self._database_url.hostname}:{self._database_url.port or 5432}"
            async with connected(database, timeout_s=None) as (back, server), self._server.cutting(server):
                session = _Session(self, client, server)
                if await self._start_up(reader, back, session):
                    await asyncio.gather(_read(reader, session.from_client), _read(back, session.from_server))
        finally:
            client.transport.abort()

    async def _start_up(
        self, reader: asyncio.StreamReader, back: asyncio.StreamReader, session: _Session
    ) -> bool:
        """Pass on the messages before the first typed one; False if there is nothing after them."""
        while True:
            length = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(length, "big") - 4)
            session.server.write(length + body)
            code = int.from_bytes(body[:4], "big")
            if code == _SSL_REQUEST:
                session.client.write(await back.readexactly(1))
            elif code == _CANCEL_REQUEST:
                await session.server.drain()
                return False
            else:
                return True


async def _read(reader: asyncio.StreamReader, take: Callable[[bytes, bytes], None]) -> None:
    """Hand over message by message until the end; the end of one direction ends the other."""
    while True:
        header = await reader.readexactly(5)
        rest = await reader.readexactly(int.from_bytes(header[1:], "big") - 4)
        take(header[:1], header + rest)
