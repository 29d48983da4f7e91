"""Where a run keeps its servers' data: in memory, if there is much.

Each of hundreds of tests has a database of its own, and to make and drop one PostgreSQL writes to the disk and waits
for it, several times. Nothing here cuts the power, and what is in memory survives any process: a test sees no
difference but the time. Speeds are compared on the disk (`python -m tests.run --on-disk …`).
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from ops import state

MEMORY = Path("/dev/shm")
FREE_MIN = 8 * 2**30
"""Bytes; the workers' servers and stacks hold about a third of that."""
AVAILABLE_MIN = 12 * 2**30
"""Bytes of memory that are left for everything else too."""
PREFIX = "wbs-tests-"
NAME = "WBS_TESTS_SCRATCH"
"""The variable that tells pytest the folder."""


@contextmanager
def scratch_folder(*, on_disk: bool) -> Iterator[None]:
    """Let what is started within the block keep its files in memory, until the end of the block."""
    if on_disk or "TMPDIR" in os.environ or not _is_roomy():
        yield
        return
    for left in MEMORY.glob(f"{PREFIX}*"):
        if not psutil.pid_exists(int(left.name.split("-")[2])):
            shutil.rmtree(left, ignore_errors=True)  # of a run that was killed
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=MEMORY)
    os.chmod(folder, 0o711)  # PostgreSQL, if root starts it, is another user, who has to pass through here
    os.environ.update({"TMPDIR": folder, NAME: folder})
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_roomy() -> bool:
    try:
        free = shutil.disk_usage(MEMORY).free
    except OSError:
        return False
    return (
        free >= FREE_MIN and psutil.virtual_memory().available >= AVAILABLE_MIN and os.access(MEMORY, os.W_OK)
    )


def use_scratch_folder() -> None:
    """Keep the files that another user must reach there too."""
    if folder := os.environ.get(NAME):
        state.PUBLIC_BASE = Path(folder)
