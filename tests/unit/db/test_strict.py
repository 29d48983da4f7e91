"""Impossible answers of the server are reported as such, and not as a bug of ours."""

from collections.abc import Callable
from typing import Any

import pytest

from db.errors import Fault, MalformedAnswer, fault_of, translate
from db.strict import one, require, require_tag, rows_of, whole
from wallet.errors import Unavailable

WRONG: dict[str, Callable[[], Any]] = {
    "not so": lambda: require(False, "it"),
    "no row": lambda: whole(None),
    "a NULL": lambda: whole({"id": 1, "amount": None}, ("id",)),
    "no row of one": lambda: one([]),
    "two rows of one": lambda: one([{"id": 1}, {"id": 1}]),
    "a NULL in one": lambda: one([{"id": None}]),
    "another number": lambda: require_tag("DELETE 2", "DELETE 3"),
    "another tag": lambda: rows_of("ROLLBACK", "UPDATE"),
    "another command": lambda: rows_of("DELETE 3", "UPDATE"),
    "no number": lambda: rows_of("UPDATE x", "UPDATE"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_can_not_be(name: str) -> None:
    """Goal: whatever is wrong with an answer, the caller may try again, even if others got good answers."""
    with pytest.raises(MalformedAnswer) as raised:
        WRONG[name]()
    assert fault_of(raised.value) is Fault.SERVER
    for others_went_through in (False, True):
        refusal = translate(raised.value, others_went_through=others_went_through)
        assert isinstance(refusal, Unavailable)
        assert refusal.reason == "database_broken"


def test_what_can_be() -> None:
    """Goal: a sound answer is passed on as it is."""
    row = {"id": 1, "reason": None, "is_late": False}
    assert whole(row, ("reason",)) is row
    assert one([row], ("reason",)) is row
    assert rows_of("INSERT 0 12", "INSERT 0") == 12
    require_tag("UPDATE 0", "UPDATE 0")
