"""The console's pages and the API's models: what a page reads of an answer is there under that name."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

import db
import gateway.contract
import gateway.routes

CONSOLE = Path(__file__).parents[3] / "gateway" / "static" / "console"
ROUTES = Path(__file__).parents[3] / "gateway" / "routes"
READ = re.compile(r"[\w\])]\??\.([a-z]+(?:_[a-z]+)+)\b(?!\()")
"""Members with an underscore in their names: the scripts' own names have none."""


def told() -> Iterator[str]:
    """Yield the names of all members that answers may have."""
    for package in (gateway.contract, db):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and issubclass(value, msgspec.Struct):
                    yield from value.__struct_encode_fields__
                elif isinstance(value, type) and hasattr(value, "_fields"):
                    yield from value._fields
    for file in ROUTES.glob("*.py"):
        yield from re.findall(r'"([a-z_]+)": ', file.read_text(encoding="utf-8"))


def test_pages_read_what_is_told() -> None:
    """Goal: no page shows nothing because it asks for a member by another name than the API gives it."""
    known = set(told())
    for script in sorted(CONSOLE.glob("*.js")):
        asked = set(READ.findall(script.read_text(encoding="utf-8")))
        assert asked <= known, (script.name, asked - known)
