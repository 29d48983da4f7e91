"""What several unit tests read."""

from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document
