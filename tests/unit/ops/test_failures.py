"""What a person at the terminal is told of an error."""

from ops.failures import explain
from runtime.settings import SettingsError


def test_of_a_group_the_first_error_is_told() -> None:
    """Goal: "unhandled errors in a TaskGroup" helps nobody; what went wrong in the task does, however deep it is."""
    cause = SettingsError("WBS_HTTP_PORT is no port")
    group = ExceptionGroup(
        "unhandled errors in a TaskGroup", [ExceptionGroup("inner", [cause]), ValueError("x")]
    )
    assert explain(group) == "WBS_HTTP_PORT is no port"
    assert "ValueError: x" in explain(ExceptionGroup("outer", [ValueError("x")]))
