"""API keys for tests."""

from datetime import timedelta

import asyncpg

from db import api_keys
from db.api_keys import DEFAULT_SPACE, NewApiKey
from wallet.scopes import GRANTABLE, Scope


async def create_key(
    database_url: str,
    name: str,
    *scopes: Scope,
    space: str = DEFAULT_SPACE,
    user_prefix: str | None = None,
    expires_in: timedelta | None = None,
) -> str:
    """Return the secret of a new key; without scopes named it has all."""
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        new = NewApiKey(name, frozenset(scopes) or GRANTABLE, space, user_prefix, expires_in)
        return (await api_keys.create(connection, new, "operator:test")).secret
    finally:
        await connection.close()
