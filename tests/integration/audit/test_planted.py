"""The audit finds every change that got around triggers, constraints and code, with its place: one of each kind."""

import asyncpg
import pytest

from tests.integration.audit.conftest import Made, found_in_books
from tests.integration.audit.planted import Plant, read_plants

PLANTS = read_plants()


def test_each_plant_has_a_name_of_its_own() -> None:
    """Goal: no plant is lost in reading the file."""
    assert len({plant.name for plant in PLANTS}) == len(PLANTS) > 500


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("plant", PLANTS, ids=[plant.name for plant in PLANTS])
async def test_a_planted_error_is_named(plant: Plant, made: Made, books: asyncpg.Connection) -> None:
    """Goal: the row that was changed is named, under the invariant that it breaks."""
    await books.execute(plant.statement.format_map(made))
    violations = (await found_in_books(books)).violations
    assert any(plant.is_named(violation, made) for violation in violations), violations
