"""Who signs callbacks now: a file with secrets is read again once it is another one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from standardwebhooks import Webhook

from .settings import BadSettings, webhooks_in
from .telemetry import log


class Signers:
    """The secrets of a file, or the given ones if there is no file; while it holds none, those from before."""

    def __init__(self, webhooks: Sequence[Webhook], file: Path | None) -> None:
        self._webhooks = webhooks
        self._file = file
        self._seen: tuple[int, int, int] | None = None

    def now(self) -> Sequence[Webhook]:
        """Return who signs what is sent now."""
        if self._file is not None and self._is_new(self._file):
            try:
                self._webhooks = webhooks_in(self._file) or self._webhooks
            except BadSettings as error:
                log("callback_secret_unusable", logging.WARNING, problem=str(error))
        return self._webhooks

    def _is_new(self, file: Path) -> bool:
        try:
            found = file.stat()
        except OSError:
            return False
        before, self._seen = self._seen, (found.st_ino, found.st_mtime_ns, found.st_size)
        return self._seen != before
