"""The yardstick: a server that only refuses. `python -m lab.attack.refuser`; prints its port, ends with its input.

What an attacker costs others is measured against this: the attacker's own work, and that of the kernel, is not ours.
"""

import asyncio
import sys

ANSWER = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Refuser(asyncio.Protocol):
    """Answers the first bytes of a connection, and closes it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Refuse."""
        assert isinstance(self._transport, asyncio.Transport)
        if not self._transport.is_closing():
            self._transport.write(ANSWER)
            self._transport.close()


async def main() -> None:
    """Serve until the standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Refuser, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
