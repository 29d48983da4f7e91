"""TCP ports for servers that tests start: never the same twice, nor in two workers of one parallel run.

A port that the system picks (0) may be given to somebody's outgoing connection as soon as its server stops. These
can't: they lie below the ephemeral ones, and each worker has its own thousand.
"""

import os
import random

from ops.local import ports

FIRST = 10_000
EACH = 1_000
STACKS_FIRST, STACKS_END = ports.PORT_MIN, ports.PORT_MAX
WORKERS_MAX = (STACKS_FIRST - FIRST) // EACH

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS_MAX
# Not seeded, unlike the tests: another run on this machine begins elsewhere.
_left = random.SystemRandom().sample(range(FIRST + _worker * EACH, FIRST + (_worker + 1) * EACH), EACH)


def free_port() -> int:
    """A port on which nobody listens, for one server of one test. AssertionError if none is left."""
    while _left:
        port = _left.pop()
        if ports.is_free(port):
            return port
    raise AssertionError(f"worker {_worker} has used up its {EACH} ports")


def separate_stacks() -> None:
    """Let the stacks that this worker starts choose among ports that no other worker's stacks choose."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        each = (STACKS_END - STACKS_FIRST) // WORKERS_MAX
        ports.PORT_MIN = STACKS_FIRST + _worker * each
        ports.PORT_MAX = ports.PORT_MIN + each
