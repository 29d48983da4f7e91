"""A stack with the limits of a service in use, which these tests check."""

from collections.abc import Iterator

import pytest

from ops.local.stack import Stack
from tests.conftest import running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything, as `make run` starts it, with a fast ladder; started once. Tests take `service`."""
    with running_stack(tmp_path_factory.mktemp("outages")) as stack:
        yield stack
