"""`wbs keys` as an operator uses it."""

import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from db.api_keys import digest
from tests.integration.ops.wbs import is_one_sentence, run_wbs, without_database


async def test_a_key_from_its_first_day_to_its_last(
    tmp_path: Path, database_url: str, connection: asyncpg.Connection
) -> None:
    """Goal: the secret is shown once and kept as a hash; the list shows the key until it is revoked, and after."""

    async def keys(*words: str) -> Any:
        code, out, err = await run_wbs(tmp_path, ["keys", *words, "--json"], DATABASE_URL=database_url)
        assert (code, without_database(err)) == (0, "")
        return json.loads(out)

    words = [
        "acme",
        "--scopes",
        "read,charge",
        "--expires",
        "30d",
        "--space",
        "acme",
        "--user-prefix",
        "acme-",
    ]
    created = await keys("create", *words)
    assert created.keys() == {"name", "prefix", "secret", "scopes", "space", "user_prefix", "expires_at"}
    assert (created["name"], created["scopes"]) == ("acme", ["charge", "read"])
    assert created["secret"].startswith(created["prefix"] + "_")
    assert await connection.fetchval("select secret_hash from api_keys") == digest(created["secret"])
    assert created["secret"].removeprefix(created["prefix"]) not in str(
        await connection.fetch("select * from api_keys")
    )
    (listed,) = await keys("list")
    assert (listed["prefix"], listed["space"], listed["user_prefix"]) == (created["prefix"], "acme", "acme-")
    assert "secret" not in str(listed)
    assert await keys("revoke", "acme") == {"revoked": created["prefix"]}
    assert await keys("list") == []
    (listed,) = await keys("list", "--all")
    assert listed["revoked_at"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["shop", "--scopes", "read,pay"], "scopes"),
        (["shop", "--scopes", ","], "scopes"),
        (["shop", "--scopes", "metrics"], "scopes"),
        (["", "--scopes", "read"], "name"),
        (["x" * 65, "--scopes", "read"], "name"),
        (["wbs_abc", "--scopes", "read"], "name"),
        (["taken", "--scopes", "read"], "name"),
        (["shop", "--scopes", "read", "--expires", "0d"], "expires"),
        (["shop", "--scopes", "read", "--expires=-1d"], "expires"),
        (["shop", "--scopes", "read", "--expires", "999999d"], "expires"),
        (["shop", "--scopes", "read", "--expires", "soon"], "expires"),
        (["shop", "--scopes", "read", "--user-prefix", "acme-"], "user_prefix"),
        (["shop", "--scopes", "read", "--space", "acme", "--user-prefix", "acme"], "user_prefix"),
        (["shop", "--scopes", "read", "--space", "theirs", "--user-prefix", "acme-"], "space"),
    ],
)
async def test_what_can_not_be(tmp_path: Path, database_url: str, words: list[str], named: str) -> None:
    """Goal: a mistake gives one sentence that names the error, and makes no key."""
    for taken in (["taken", "--scopes", "read"], ["theirs", "--scopes", "read", "--space", "theirs"]):
        code, _, _ = await run_wbs(tmp_path, ["keys", "create", *taken], DATABASE_URL=database_url)
        assert code == 0
    code, out, err = await run_wbs(tmp_path, ["keys", "create", *words], DATABASE_URL=database_url)
    assert (code, out) == (1, "")
    assert is_one_sentence(err)
    assert named in err
