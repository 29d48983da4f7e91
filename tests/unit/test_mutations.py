"""The catalogue of mutations fits the code as it is now, so that `python -m tests.mutations` can be run."""

import ast
from pathlib import Path

import pytest

from tests.mutations.catalogue import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_it_can_be_applied(mutation: Mutation) -> None:
    """Goal: what a mutation replaces is there, once, and what comes in its place is different and compiles."""
    texts: dict[str, str] = {}
    for change in mutation.changes:
        text = texts.setdefault(change.file, (ROOT / change.file).read_text(encoding="utf-8"))
        assert text.count(change.old) == 1, f"{change.file}: {change.old!r}"
        assert change.new != change.old
        texts[change.file] = text.replace(change.old, change.new)
    for file, text in texts.items():
        if file.endswith(".py"):
            ast.parse(text)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_its_tests_are_there(mutation: Mutation) -> None:
    """Goal: the tests that a mutation names exist."""
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}" in (ROOT / file).read_text(encoding="utf-8"), test


def test_each_has_a_name_of_its_own() -> None:
    """Goal: a line of the report tells which mutation it is about."""
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
