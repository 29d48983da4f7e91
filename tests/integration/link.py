"""The network between us and PostgreSQL, as a proxy that loses exactly what a test wants lost."""

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from urllib.parse import urlsplit, urlunsplit

from tests.integration.actors.proxy import Proxy

_SSL_REQUEST = (80877103).to_bytes(4, "big")
_IDLE = b"Z\x00\x00\x00\x05I"
"""The end of a reply: the server is in no transaction (any more)."""

_OF_A_NEW_CONNECTION = (b"typeinfo_tree", b"'jit'", b"as is_standby")
"""Of what is asked on each new connection: by asyncpg, about the types of parameters, and by db.sessions."""


class _Messages:
    """Reads the frontend's messages (PostgreSQL's manual, "Message Formats") of one connection."""

    def __init__(self) -> None:
        self._rest = b""
        self._started = False
        self._prepared: dict[bytes, bytes] = {}
        """The text of each prepared statement."""
        self._bound = b""
        self._in_transaction = False
        self.commits = False
        """What was executed last, commits: `commit`, or a statement that is a transaction of its own."""

    def statements_in(self, data: bytes) -> list[str]:
        """Return what is executed by the messages that are complete with this piece of data."""
        found: list[str] = []
        self._rest += data
        while True:
            header = 5 if self._started else 4  # until the startup message they have no type
            if len(self._rest) < header:
                return found
            length = int.from_bytes(self._rest[header - 4 : header], "big") + header - 4
            if len(self._rest) < length:
                return found
            message, self._rest = self._rest[:length], self._rest[length:]
            if self._started:
                found += self._executed(message[:1], message[5:])
            self._started = self._started or message[4:8] != _SSL_REQUEST

    def _executed(self, kind: bytes, body: bytes) -> list[str]:
        if kind == b"P":
            name, query = body.split(b"\0")[:2]
            self._prepared[name] = query
        elif kind == b"B":
            self._bound = self._prepared[body.split(b"\0")[1]]
        elif kind == b"Q":
            statement = body[:-1].decode()
            self._in_transaction = statement == "begin" or (
                self._in_transaction and statement not in ("commit", "rollback")
            )
            self.commits = statement == "commit"
            return [statement]
        elif kind == b"E" and not any(words in self._bound for words in _OF_A_NEW_CONNECTION):
            self.commits = not self._in_transaction
            return ["prepared"]
        return []


_MESSAGES: ContextVar[_Messages] = ContextVar("messages")
"""Of the connection whose two directions are passed on in this context."""


class Link(Proxy):
    """Passes everything on until told otherwise; `url` is the database seen through it."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        super().__init__(parts.hostname or "127.0.0.1", parts.port or 5432)
        self._database_url = parts
        self.commits_done_to_lose = 0
        """So many commits take place, but the answer never comes: the connection is reset instead."""
        self.commits_undone_to_lose = 0
        """So many commits never reach the server: the connection is reset instead."""
        self.freezes_after = b""
        """Freeze once a request that contains this has been passed on."""
        self.statements: list[str] = []
        """What was executed: the text of simple queries, and `prepared` for each execution of a prepared one."""
        self._thawed = asyncio.Event()
        self._thawed.set()

    @property
    def url(self) -> str:
        """The database, through this link."""
        netloc = f"{self._database_url.username}@127.0.0.1:{self.port}"
        if self._database_url.password:
            password = f":{self._database_url.password}@"
            netloc = netloc.replace("@", password, 1)
        return urlunsplit(self._database_url._replace(netloc=netloc))

    def freeze(self) -> None:
        """Let nothing through in either direction; connections stay open, as with a frozen server."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Let everything through again, also what was held back."""
        self.freezes_after = b""
        self._thawed.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _MESSAGES.set(_Messages())
        await super()._serve(reader, writer)

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_reply: bool = False
    ) -> None:
        messages = _MESSAGES.get()
        with suppress(ConnectionError):
            while data := await source.read(65536):
                if not is_reply:
                    self.statements += messages.statements_in(data)
                if messages.commits and self._loses(data, is_reply):
                    break
                await self._thawed.wait()
                sink.write(data)
                if self.freezes_after and not is_reply and self.freezes_after in data.lower():
                    self.freeze()
                await sink.drain()
        sink.transport.abort()

    def _loses(self, data: bytes, is_reply: bool) -> bool:
        """Tell whether the connection is to be reset instead of passing on a commit, or the answer to one."""
        if is_reply and self.commits_done_to_lose and _IDLE in data:
            self.commits_done_to_lose -= 1
            return True
        if not is_reply and self.commits_undone_to_lose:
            self.commits_undone_to_lose -= 1
            return True
        return False
