"""What the client wants to have, as its request says."""

from types import SimpleNamespace
from typing import Any

import pytest
from sanic.compat import Header

from gateway.wire.request import wants

CSV = "text/csv"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ([], False),
        (["*/*"], False),
        (["application/json"], False),
        (["text/csv"], True),
        (["TEXT/CSV"], True),
        (["text/csv; charset=utf-8"], True),
        (["text/*"], True),
        (["text/csv, application/json"], True),
        (["application/json", "text/csv"], True),
        (["text/csv, */*;q=0.8"], True),
        (["text/csv;q=0.5, text/html"], True),
        (["text/csv;q=0"], False),
        (["text/csv;q=0, */*"], False),
        (["text/csv;q=0.1, application/json"], False),
        (["application/json;q=0.1, text/csv;Q=0.2"], True),
        (["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], False),
        (["text/csvx"], False),
        (["x/text/csv"], False),
        (['text/html;level="text/csv"'], False),
        (["text/csv;q=much"], True),
        ([",,;q=,"], False),
        (["\xe9"], False),
    ],
)
def test_a_file_for_who_wants_one(accept: list[str], wanted: bool) -> None:
    """Goal: a client gets a file if it asks for one and would not rather have JSON, however it spells that."""
    request: Any = SimpleNamespace(headers=Header([("accept", line) for line in accept]))
    assert wants(request, CSV) is wanted
