"""Secrets that a setting names a file for, as orchestrators hand them out."""

import os

SECRET_BYTES_MAX = 8 * 1024


class UnusableFile(ValueError):
    """A file can't be read, or holds no secret. The message names the variable, and never shows the content."""


def secret_in(variable: str, path: str) -> str:
    """Return the content of a file without the line's end. Raises UnusableFile."""
    require_readable(variable, path)
    with open(path, "rb") as file:
        content = file.read(SECRET_BYTES_MAX + 1)
    try:
        secret = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        secret = ""
    if not secret or len(content) > SECRET_BYTES_MAX:
        raise UnusableFile(f"{variable} {path!r}: empty, not UTF-8, or longer than {SECRET_BYTES_MAX} bytes")
    return secret


def require_readable(variable: str, path: str) -> None:
    """Raise UnusableFile unless the file can be read."""
    try:
        with open(path, "rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnusableFile(f"{variable} {path!r}: {reason}") from None


class WatchedFile:
    """A file in whose place somebody may put another: an orchestrator that hands out a new secret."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    def is_new(self) -> bool:
        """Return whether it is there, and another one than at the last call."""
        if not self._path:
            return False
        try:
            found = os.stat(self._path)
        except (OSError, ValueError):
            return False
        before, self._seen = self._seen, (found.st_ino, found.st_mtime_ns, found.st_size)
        return self._seen != before
