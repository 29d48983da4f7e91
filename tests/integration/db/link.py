"""The network between us and PostgreSQL, as a proxy that loses exactly what a test wants lost."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

from tests.integration.actors.proxy import Proxy


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

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_reply: bool = False
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                if self._loses(data, is_reply):
                    break
                await self._thawed.wait()
                sink.write(data)
                if self.freezes_after and not is_reply and self.freezes_after in data.lower():
                    self.freeze()
                await sink.drain()
        sink.transport.abort()

    def _loses(self, data: bytes, is_reply: bool) -> bool:
        """Tell whether the connection is to be reset instead of passing this on."""
        if is_reply and self.commits_done_to_lose and b"COMMIT\x00" in data:
            self.commits_done_to_lose -= 1
            return True
        if not is_reply and self.commits_undone_to_lose and b"commit" in data.lower():
            self.commits_undone_to_lose -= 1
            return True
        return False
