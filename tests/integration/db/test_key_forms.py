"""Keys of before come to the form that the same spelling has now."""

from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.migrate import MIGRATIONS
from gateway.contract.idempotency_keys import BadKey, header_key

APPLY = (
    (MIGRATIONS / "20261127_07_key_forms.sql")
    .read_text(encoding="utf-8")
    .split("-- migrate: apply")[1]
    .split("-- migrate: rollback")[0]
)


async def forms(connection: asyncpg.Connection, keys: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Write (client, key) rows, the earliest first, migrate, and return what they are then."""
    await connection.execute("delete from idempotency_keys")
    rows = [(client, key, UUID(int=number)) for number, (client, key) in enumerate(keys)]
    await connection.executemany(
        "insert into idempotency_keys (client, key, fingerprint, user_id, currency, movement_id)"
        " values ($1, $2, '', 'ann', 'USD', $3)",
        rows,
    )
    await connection.execute(APPLY)
    found = await connection.fetch("select client, key from idempotency_keys order by movement_id")
    return [tuple(row) for row in found]


async def test_each_comes_to_its_form(connection: asyncpg.Connection) -> None:
    """Goal: what a header said then is found by what it says now; what said nothing else stays."""
    lines = [
        'plain', 'in "the" middle', " before", "after  ", '"quoted"', '"with";p=1; q', r'"a\"b\\c"', '" blanks "',
        '"not closed', '"no" list', '""', "a,b", '"param";x="y;z\\""', r'"bad\escape"', "ÿ",
    ]  # fmt: skip
    found = await forms(connection, [("c", line) for line in lines])
    assert [key for _, key in found] == [
        'plain', 'in "the" middle', "before", "after", "quoted", "with", 'a"b\\c', "blanks",
        '"not closed', '"no" list', '""', "a,b", "param", r'"bad\escape"', "ÿ",
    ]  # fmt: skip


async def test_what_was_taken_for_several(connection: asyncpg.Connection) -> None:
    """Goal: where the form is used, nothing is lost or overwritten; of several, the earliest gets it."""
    found = await forms(
        connection, [("c", "k "), ("c", '"k"'), ("d", '"k"'), ("c", '"x"'), ("c", "x"), ("c", "free")]
    )
    assert found == [("c", "k"), ("c", '"k"'), ("d", "k"), ("c", '"x"'), ("c", "x"), ("c", "free")]


@pytest.fixture(scope="module")
def drawn_lines() -> list[str]:
    """Header lines as Python's side reads them, drawn once."""
    lines: list[str] = []
    pieces = st.sampled_from(['"', '"', "\\", '\\"', "\\\\", " ", ";", ";a=", "=", "a", "b1", "*x"])

    @given(st.lists(pieces, min_size=1, max_size=10))
    def draw(parts: list[str]) -> None:
        lines.append('"' + "".join(parts))

    draw()
    return lines


async def test_both_languages_agree(connection: asyncpg.Connection, drawn_lines: list[str]) -> None:
    """Goal: whatever the header, the form that it has in the database is the one that the gateway gives it."""
    compared = 0
    for number, line in enumerate(dict.fromkeys(drawn_lines)):
        [(_, found)] = await forms(connection, [(f"c{number}", line)])
        try:
            assert found == header_key([line]), line
            compared += 1
        except BadKey:
            assert found in (line, line.strip(" ")), line
    assert compared
