"""The client's errors: a class per code of the gateway."""

import wbs_client
from gateway.contract.problem_kinds import KINDS
from tests.clients.codes import MODULE, class_name, source
from wbs_client.codes import BY_CODE


def test_every_code_has_its_class() -> None:
    """Goal: a code that the gateway may answer is a class that a program can catch."""
    assert list(BY_CODE) == list(KINDS)
    for code, kind in BY_CODE.items():
        assert (kind.code, kind.__name__) == (code, class_name(code))
        assert getattr(wbs_client, kind.__name__) is kind


def test_the_table_is_the_gateways() -> None:
    """Goal: the classes are made from the gateway's table, and are made anew when that changes."""
    assert MODULE.read_text(encoding="utf-8") == source(), "run: .venv/bin/python -m tests.clients.codes"
