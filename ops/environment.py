"""The environment of the running stack: how commands find it, and how they say which database they speak to."""

import os
import sys
from collections.abc import Mapping

from db.hosts import described
from ops import processes
from ops.errors import NothingRunning
from ops.state import StateDir, read_json

BANK_SETTINGS = ("WBS_BANK_URL", "WBS_BANK_PORT", "WBS_BANK")
"""Each of them names a bank."""
DATABASE = "DATABASE_URL"


def load_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of the running stack under this process's own: `wbs audit`, `wbs dlq` … find the stack so.

    What is set in the environment counts more. If that is another database than the stack's, nothing of the stack
    counts: one stack's messages and bank would be taken for another's. Without a stack it is the environment alone.
    """
    own = dict(os.environ if environ is None else environ)
    stack = running_stack(own)
    if own.get(DATABASE) and stack.get(DATABASE) and described(own[DATABASE]) != described(stack[DATABASE]):
        stack = {}
    return {**stack, **{name: value for name, value in own.items() if value}}


def running_stack(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the stack that runs in this state folder; an empty one if none does."""
    state = StateDir.from_env(environ)
    # A stack that was killed leaves its file; another program may listen on its ports by now.
    return read_json(state.env_file) if processes.recorded(state, processes.SUPERVISOR) else {}


def running_environment(*named_by: str) -> dict[str, str]:
    """Return the environment that a command works on, and say on standard error which database (or bank) that is.

    Raises OpsError if nothing runs here and no setting names it. `named_by` are the settings of which one suffices:
    DATABASE_URL, unless told otherwise.
    """
    settings = named_by or (DATABASE,)
    environment = load_environment()
    if not any(environment.get(name) for name in settings):
        raise NothingRunning(f"Nothing is running here: start it with `wbs up`, or set {settings[0]}.")
    if DATABASE in settings:
        say_database(environment[DATABASE])
    return environment


def say_database(url: str) -> None:
    """Say which database a command speaks to, and where it was named. Never the password."""
    print(f"wbs: {told_database(url)}", file=sys.stderr, flush=True)


def told_database(url: str) -> str:
    """Return in words which database this is: `database wpdb on 127.0.0.1:5432 (DATABASE_URL)`."""
    name, hosts = described(url)
    if os.environ.get(DATABASE):
        source = DATABASE
    else:
        source = f"the stack in {StateDir.from_env(os.environ).root}"
    return f"database {name} on {hosts} ({source})"
