"""contract <- wire <- routes: where a change of the gateway belongs, and what it may know."""

import pytest

from tests.test_tidy import ROOT, modules_imported, name, sources

LAYERS = ("contract", "wire", "services", "routes", "app")
"""Each may import itself and those before it."""


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_import_downwards_only(layer: str) -> None:
    """Goal: the contract knows no server, and the server knows no route."""
    above = tuple(f"gateway.{one}" for one in LAYERS[LAYERS.index(layer) + 1 :])
    modules = [
        path for path in sources("gateway") if path.relative_to(ROOT).with_suffix("").parts[1] == layer
    ]
    assert modules
    wrong = {
        name(path): found
        for path in modules
        if (found := {module for module in modules_imported(path) if above and module.startswith(above)})
    }
    assert not wrong
