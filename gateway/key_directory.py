"""The API keys, as this process knows them: read again after each change, checked once per second whether there is one.

A key that was revoked is refused within STALE_S at the latest. Where the database can't be asked for longer, nobody is
let in: a gateway that can't learn of a revocation must not go on believing.
"""

import asyncio
import time
from datetime import UTC, datetime

from db import api_keys
from db.api_keys import ApiKey, Revision, digest
from db.connections import Reader, understood
from runtime.settings import Settings
from runtime.tasks import SupervisedTask, SupervisedTasks
from runtime.telemetry import log
from wallet.errors import TryLater, Unavailable

INTERVAL_S = 1.0
STALE_S = 5.0
"""For so long the keys are believed after they were last known to be the present ones."""
WRITE_USED_S = 10.0
"""How often it is written down which keys were used."""


class KeyDirectory:
    """Finds API keys by their secrets."""

    def __init__(self, settings: Settings, tasks: SupervisedTasks) -> None:
        self._tasks = tasks
        self._reader = Reader(settings.database, 1)
        self._keys: dict[bytes, ApiKey] = {}
        self._revision: Revision | None = None
        self._read_at = float("-inf")
        self._used: dict[bytes, float] = {}
        self._used_written_at = 0.0
        self._task: SupervisedTask | None = None

    async def start(self) -> None:
        """Read the keys, and go on doing so. The database may be away: then nobody is let in until it is there."""
        self._task = self._tasks.start("api-keys", self._run)
        # Requests that arrive with the first moment of the process should not meet a directory that was never read.
        try:
            await self._look()
        except TryLater as error:
            log.warning("api_keys_not_read", detail=str(error))

    async def stop(self) -> None:
        """Stop reading; write down what was used."""
        if self._task is not None:
            await self._task.stop()
        try:
            await self._write_used()
        except TryLater as error:
            log.debug("use_of_api_keys_not_written", detail=str(error))
        self._reader.terminate()

    def any_key(self, *, as_last_known: bool = False) -> bool:
        """Tell whether a key was ever created. Raises Unavailable if that can't be told now.

        `as_last_known`: whatever was known last will do, and nothing is as no key.
        """
        if not as_last_known:
            self._require_fresh()
        return self._revision is not None and self._revision.any_key

    def find(self, secret: str, *, as_last_known: bool = False) -> ApiKey | None:
        """Return the key with this secret, or None if it is unknown, revoked or expired.

        The secret is looked up by its hash, so the time it takes does not tell how much of a guess was right. Raises
        Unavailable while keys can't be checked, unless they will do as they were last known.
        """
        if not as_last_known:
            self._require_fresh()
        hashed = digest(secret)
        key = self._live(hashed)
        if key is not None:
            self._used[hashed] = time.time()
        return key

    def is_known(self, secret_hash: bytes) -> bool:
        """Tell whether this very key is there, neither revoked nor expired; False while that can't be told."""
        return self._is_fresh() and self._live(secret_hash) is not None

    def _live(self, secret_hash: bytes) -> ApiKey | None:
        key = self._keys.get(secret_hash)
        has_ended = key is not None and key.expires_at is not None and key.expires_at <= datetime.now(UTC)
        return None if has_ended else key

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._read_at <= STALE_S

    def _require_fresh(self) -> None:
        if not self._is_fresh():
            raise Unavailable("API keys can't be checked now", reason="api_keys_unknown")

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                await self._look()
                if time.monotonic() - self._used_written_at > WRITE_USED_S:
                    await self._write_used()
            except TryLater as error:
                log.debug("api_keys_not_read", detail=str(error))

    async def _look(self) -> None:
        """Read the keys if they have changed. Raises Unavailable."""
        asked_at = time.monotonic()
        found = await understood(api_keys.revision, self._reader)
        if self._revision is None or found != self._revision:
            # Read after the revision: newer keys than it says do no harm, they are read once more.
            self._keys = await understood(api_keys.live_keys, self._reader)
            self._revision = found
        self._read_at = asked_at

    async def _write_used(self) -> None:
        self._used_written_at = time.monotonic()
        used, self._used = self._used, {}
        at = {hashed: datetime.fromtimestamp(when, UTC) for hashed, when in used.items()}
        await understood(api_keys.write_used, self._reader, at)
