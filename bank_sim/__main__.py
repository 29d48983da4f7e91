"""`python -m bank_sim`: runs the bank until SIGTERM or Ctrl-C. Exit 0 then, 2 if it cannot start."""

from __future__ import annotations

import os
import socket
import sqlite3
import sys

from .app import create_app
from .book_file import BookFile
from .book_schema import BooksInUse, BooksOfTheFuture
from .settings import BadSettings, Settings
from .telemetry import log, set_up_logging

BACKLOG = 1024  # connections not accepted yet


def main() -> int:
    """Read the environment, open the books and serve. Return the exit code."""
    set_up_logging()
    try:
        settings = Settings.from_env(os.environ)
        listener = _listen(settings.host, settings.port)
        file = BookFile(settings.data)
    except (BadSettings, BooksInUse, BooksOfTheFuture, OSError, sqlite3.Error) as error:
        log("cannot_start", 40, problem=str(error))
        return 2
    app = create_app(settings, file)
    app.run(sock=listener, single_process=True, access_log=False, motd=False, backlog=BACKLOG)
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """Return a bound socket. Made here and not by the server, where a taken port would be a traceback."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}; set WBS_BANK_PORT") from error
    return listener


if __name__ == "__main__":
    sys.exit(main())
