"""Finds out which client calls, and what it may do.

A client has a name, which is recorded with everything that it writes, and its own rate limit. Its idempotency keys are
unique in a space: `default`, unless the setting gives it another one.
"""

from hashlib import sha256
from typing import NamedTuple

from gateway.contract.problems import Unauthorized
from runtime.settings import SettingsError

NAME_CHARS_MAX = 64
SECRET_CHARS_MIN = 8


class Caller(NamedTuple):
    """The client that sends a request, and its rights. It may have several API keys, so that they can be rotated."""

    name: str | None
    """None while authentication is off."""
    space: str
    """Idempotency keys are unique within it."""
    may_write: bool


DEFAULT_SPACE = "default"
"""The space of all clients that are given no other. It is not a client's name: API keys may be rotated or renamed, and
login switched on, while clients repeat their requests."""

NOBODY = Caller(None, DEFAULT_SPACE, may_write=True)
"""The caller of every request while authentication is off."""


class Authenticator:
    """Knows the API keys (`WBS_API_KEYS`), by their hashes only."""

    def __init__(self, api_keys: str) -> None:
        self._callers = _parse(api_keys)
        self.enabled = bool(self._callers)

    def identify(self, authorization: str | None) -> Caller:
        """Return the caller that an `Authorization` header names. Raises Unauthorized.

        The secret is looked up by its SHA-256, so that the time it takes does not tell how much of a guess was right.
        """
        if not authorization:
            raise Unauthorized("send Authorization: Bearer <key>")
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized("send Authorization: Bearer <key>")
        caller = self._callers.get(_digest(secret.strip()))
        if caller is None:
            raise Unauthorized("this key is not known")
        return caller


def _digest(secret: str) -> bytes:
    return sha256(secret.encode(errors="surrogateescape")).digest()


def _parse(api_keys: str) -> dict[bytes, Caller]:
    callers: dict[bytes, Caller] = {}
    for number, item in enumerate(filter(None, (item.strip() for item in api_keys.split(","))), start=1):
        label, _, secret = item.partition("=")
        name, at, space = label.partition("@")
        space = space if at else DEFAULT_SPACE
        may_write = not secret.endswith(":read")
        secret = secret.removesuffix(":read")
        if not _is_name(name) or not _is_name(space) or len(secret) < SECRET_CHARS_MIN:
            raise SettingsError(
                f"WBS_API_KEYS: entry {number} must be name=secret or name@space=secret, perhaps with :read at its "
                f"end, name and space of at most {NAME_CHARS_MAX} printable characters without blanks around them, "
                f"the secret of at least {SECRET_CHARS_MIN}"
            )
        if _digest(secret) in callers:
            raise SettingsError(f"WBS_API_KEYS: entry {number} has the secret of an earlier one")
        callers[_digest(secret)] = Caller(name, space, may_write)
    return callers


def _is_name(text: str) -> bool:
    return 0 < len(text) <= NAME_CHARS_MAX and text.isprintable() and text == text.strip()
