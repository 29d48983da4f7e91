"""API keys: the callers and their rights. A secret is shown once, when its key is created; the database has its hash.

A gateway reads the live keys after each change, which it notices within seconds (`revision`).
"""

import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

from db.connections import transaction
from db.sql import load
from db.strict import at_most_one, one, whole
from wallet.errors import ValidationFailed
from wallet.scopes import GRANTABLE, Scope

_SQL = load("api_keys")
_LOCK = 7_823_733
"""Advisory: keys are created one after the other. The operator may not lock the whole table."""

NAME_CHARS_MAX = 64
LIVE_MAX = 10_000
"""Maximum number of live keys: a gateway keeps them all in memory."""
DEFAULT_SPACE = "default"
"""The space of all keys without another one. It is not a key's name, so that keys may be rotated or renamed, and logins
switched on, while clients repeat their requests."""
SEPARATORS = "-_.:/|@#~"
"""A prefix of users ends in one of these: `acme-` binds to `acme-1`, and `acme` would bind to `acmeville`, too."""
EXPIRES_MAX = timedelta(days=3650)

_SECRET_BYTES = 32
_VISIBLE_CHARS = 8
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_NULLABLE = ("user_prefix", "expires_at", "revoked_at", "last_used_at")


class Session(Protocol):
    """A connection, a reader, or any other object with a `fetch` like theirs."""

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Return the rows."""


class ApiKey(NamedTuple):
    """A live key, as gateways know it."""

    name: str
    scopes: frozenset[Scope]
    space: str
    """The namespace in which its idempotency keys are unique."""
    user_prefix: str | None
    """The key reads and changes only wallets of users whose ids begin with this; None: all wallets."""
    expires_at: datetime | None
    secret_hash: bytes = b""
    """Which key it is: a name is free again once its key is revoked."""


class NewApiKey(NamedTuple):
    """The properties of a key to be created."""

    name: str
    scopes: frozenset[Scope]
    space: str = DEFAULT_SPACE
    user_prefix: str | None = None
    expires_in: timedelta | None = None

    def check(self) -> None:
        """Raise ValidationFailed, naming each field at fault."""
        errors = []
        if self.name.startswith("wbs_"):
            errors.append(("name", "must not begin as a secret does"))
        if not _is_name(self.name):
            errors.append(
                ("name", f"must be 1 to {NAME_CHARS_MAX} printable characters without blanks around")
            )
        if not self.scopes or not self.scopes <= GRANTABLE:
            errors.append(("scopes", f"must be some of {', '.join(sorted(GRANTABLE))}"))
        if not _is_name(self.space):
            errors.append(
                ("space", f"must be 1 to {NAME_CHARS_MAX} printable characters without blanks around")
            )
        if self.user_prefix is not None:
            if self.space == DEFAULT_SPACE:
                errors.append(("user_prefix", "needs a space of its own"))
            if not _is_name(self.user_prefix) or self.user_prefix[-1] not in SEPARATORS:
                errors.append(("user_prefix", f"must end in a separator, one of {SEPARATORS}"))
        if self.expires_in is not None and not timedelta() < self.expires_in <= EXPIRES_MAX:
            errors.append(("expires", f"must be in the future, at most {EXPIRES_MAX.days} days from now"))
        if errors:
            raise ValidationFailed(errors)


class CreatedApiKey(NamedTuple):
    """A key that was created. The secret can't be read again."""

    prefix: str
    secret: str
    expires_at: datetime | None


class Revision(NamedTuple):
    """The number of changes of the keys, and whether there ever was a key."""

    number: int
    any_key: bool


def digest(secret: str) -> bytes:
    """Return the stored hash of a secret. It has 256 random bits, so a plain hash is as good as a slow one."""
    return sha256(secret.encode(errors="surrogateescape")).digest()


async def create(connection: Any, new: NewApiKey, by: str) -> CreatedApiKey:
    """Create a key. Raises ValidationFailed, also if the name or the space is taken."""
    new.check()
    visible = "wbs_" + "".join(secrets.choice(_ALPHABET) for _ in range(_VISIBLE_CHARS))
    secret = f"{visible}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    async with transaction(connection):
        # One change at a time, so that the rules between keys hold.
        await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
        rows = await connection.fetch(_SQL["neighbours"], new.name, new.space)
        _check_neighbours(new, rows)
        row = one(
            await connection.fetch(
                _SQL["create"],
                new.name,
                visible,
                digest(secret),
                sorted(new.scopes),
                new.space,
                new.user_prefix,
                new.expires_in,
                by,
            ),
            _NULLABLE,
        )
    return CreatedApiKey(visible, secret, row["expires_at"])


async def revoke(session: Session, name_or_prefix: str, by: str) -> str | None:
    """Revoke a key, for good: every gateway refuses it within 5 s. Return its prefix, or None if there is none."""
    row = at_most_one(await session.fetch(_SQL["revoke"], name_or_prefix, by))
    return None if row is None else str(row["prefix"])


async def list_keys(session: Session) -> list[Any]:
    """Return all keys, revoked ones too, the oldest first: rows with the columns of `-- name: all`."""
    return [whole(row, _NULLABLE) for row in await session.fetch(_SQL["all"])]


async def revision(session: Session) -> Revision:
    """Return the number of changes of the keys."""
    row = one(await session.fetch(_SQL["revision"]))
    return Revision(row["number"], row["any_key"])


async def live_keys(session: Session) -> dict[bytes, ApiKey]:
    """Return the keys that are not revoked, by the hashes of their secrets.

    A scope of a later version, which is unknown here, is left out.
    """
    known = set(Scope)
    return {
        bytes(row["secret_hash"]): ApiKey(
            row["name"],
            frozenset(Scope(scope) for scope in row["scopes"] if scope in known),
            row["space"],
            row["user_prefix"],
            row["expires_at"],
            bytes(row["secret_hash"]),
        )
        for row in (whole(row, _NULLABLE) for row in await session.fetch(_SQL["live"]))
    }


async def write_used(session: Session, used: Mapping[bytes, datetime]) -> None:
    """Record the last use of keys, by the hashes of their secrets."""
    if used:
        await session.fetch(_SQL["used"], list(used), list(used.values()))


def _check_neighbours(new: NewApiKey, rows: Iterable[Any]) -> None:
    for row in (whole(row, ("name", "space", "user_prefix")) for row in rows):
        if row["live"] >= LIVE_MAX:
            raise ValidationFailed([("name", f"there are {LIVE_MAX} keys already; revoke some")])
        if row["name"] == new.name:
            raise ValidationFailed(
                [("name", "another key has it; revoke that one first, or choose another name")]
            )
        if row["space"] == new.space and row["user_prefix"] != new.user_prefix:
            raise ValidationFailed(
                [("space", "keys of other users are in it; a prefix needs a space of its own")]
            )


def _is_name(text: str) -> bool:
    return 0 < len(text) <= NAME_CHARS_MAX and text.isprintable() and text == text.strip()
