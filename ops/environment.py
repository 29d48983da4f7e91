"""The environment of the running stack: how commands find it."""

import os
from collections.abc import Mapping

from ops import processes
from ops.errors import NothingRunning
from ops.state import StateDir, read_json

BANK_SETTINGS = ("WBS_BANK_URL", "WBS_BANK_PORT", "WBS_BANK")
"""Each of them names a bank."""


def load_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of the running stack under this process's own: `wbs audit`, `wbs dlq` … find the stack so.

    What is set in the environment counts more. Without a running stack it is the environment alone.
    """
    own = dict(os.environ if environ is None else environ)
    state = StateDir.from_env(own)
    # A stack that was killed leaves its file; another program may listen on its ports by now.
    stack = read_json(state.env_file) if processes.recorded(state, processes.SUPERVISOR) else {}
    return {**stack, **{name: value for name, value in own.items() if value}}


def running_environment(*named_by: str) -> dict[str, str]:
    """Return the environment that a command works on. Raises OpsError if nothing runs here and no setting names it.

    `named_by` are the settings of which one suffices: DATABASE_URL, unless told otherwise.
    """
    settings = named_by or ("DATABASE_URL",)
    environment = load_environment()
    if not any(environment.get(name) for name in settings):
        raise NothingRunning(f"Nothing is running here: start it with `wbs up`, or set {settings[0]}.")
    return environment
