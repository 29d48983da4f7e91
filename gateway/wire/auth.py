"""Who calls, whether they may, and how often.

A client is a name, which is written down with what it does and has its own share of requests. Its idempotency keys
are unique in a space, which is `default` for all but those who are given another one.
"""

from hashlib import sha256
from typing import NamedTuple

from gateway.contract.problems import Unauthorized
from runtime.settings import SettingsError

NAME_CHARS_MAX = 64
SECRET_CHARS_MIN = 8


class Caller(NamedTuple):
    """Whose key it is and what it allows. A name may have several keys, so that they can be rotated."""

    name: str | None
    """None while authentication is off."""
    space: str
    """What idempotency keys are unique in."""
    may_write: bool


DEFAULT_SPACE = "default"
"""Of all who are given no other. No client's name: keys may be rotated and renamed, or login be switched on, while
requests are repeated."""

NOBODY = Caller(None, DEFAULT_SPACE, may_write=True)
"""Who calls while authentication is off."""


class Authenticator:
    """Knows the API keys (`WBS_API_KEYS`), by their hashes only."""

    def __init__(self, api_keys: str) -> None:
        self._callers = _parse(api_keys)
        self.enabled = bool(self._callers)

    def identify(self, authorization: str | None) -> Caller:
        """Return who sent this `Authorization` header. Raises Unauthorized.

        The secret is looked up by its SHA-256: how long that takes says nothing about how much of a guess
        was right.
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
