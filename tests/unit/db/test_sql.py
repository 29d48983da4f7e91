"""The loader of queries: blocks by name, each once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import db.sql
from db.sql import load


@pytest.fixture
def queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of queries of the test's own; the loader remembers nothing of it afterwards."""
    monkeypatch.setattr(db.sql, "_QUERIES", tmp_path)
    load.cache_clear()
    yield tmp_path
    load.cache_clear()


def test_blocks_by_name(queries: Path) -> None:
    """Goal: each block is found under its name, its comments kept, its semicolon and blank lines gone."""
    (queries / "x.sql").write_text(
        "-- About.\n\n-- name: one\n-- Why.\nselect 1;\n\n-- name: two\nselect 2;\n"
    )
    assert load("x") == {"one": "-- Why.\nselect 1", "two": "select 2"}


def test_a_name_stands_once(queries: Path) -> None:
    """Goal: a second block of the same name is an error at once, and does not win silently."""
    (queries / "x.sql").write_text("-- name: one\nselect 1;\n-- name: one\nselect 2;\n")
    with pytest.raises(ValueError, match=r"x\.sql"):
        load("x")


def test_a_statement_without_one_of_its_parts(queries: Path) -> None:
    """Goal: the same statement with and without a named part stands once; the lines that name the part are gone."""
    whole = "-- name: all\nselect 1,\n-- part: middle\n2,\n-- end of part\n3;\n"
    (queries / "x.sql").write_text(whole + "-- name: some\n-- some is all without middle\n")
    assert load("x") == {"all": "select 1,\n2,\n3", "some": "select 1,\n3"}


@pytest.mark.parametrize("missing", ["some is all without nothing", "some is none without middle"])
def test_a_part_that_is_not_there(queries: Path, missing: str) -> None:
    """Goal: a block derived from a missing block or part is an error at once."""
    whole = "-- name: all\nselect 1,\n-- part: middle\n2,\n-- end of part\n3;\n"
    (queries / "x.sql").write_text(whole + f"-- name: some\n-- {missing}\n")
    with pytest.raises(KeyError):
        load("x")


def test_the_shipped_files_load() -> None:
    """Goal: every .sql file of the project has blocks, each with one statement in it."""
    load.cache_clear()
    files = sorted(path.stem for path in (Path(db.sql.__file__).parent / "queries").glob("*.sql"))
    assert {"ledger", "outbox", "reads", "withdrawals"} <= set(files)
    for file in files:
        blocks = load(file)
        assert blocks, file
        for name, text in blocks.items():
            statement = "\n".join(line for line in text.splitlines() if not line.strip().startswith("--"))
            assert statement.strip(), f"{file}.sql: {name} is empty"
            assert ";" not in statement, f"{file}.sql: {name} holds more than one statement"
