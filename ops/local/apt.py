"""Installing a Debian package where that is possible, without starting the service that comes with it."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ops.local.progress import Progress, ticks
from ops.state import private_opener

INSTALL_TIMEOUT_S = 600.0

# A policy-rc.d that answers 101 keeps maintainer scripts from starting services. It is taken away again,
# and one that is already there is left alone. apt's own lock is waited for; package lists are fetched only
# if needed.
SCRIPT = """\
set -u
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\\nexit 101\\n' > "$policy" && chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' INT TERM
fi
export DEBIAN_FRONTEND=noninteractive
install() { apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@" < /dev/null; }
install "$@" || { apt-get -q -o DPkg::Lock::Timeout=120 update < /dev/null && install "$@"; }
"""


def command_prefix(environment: Mapping[str, str]) -> list[str] | None:
    """Return what stands before apt-get: `[]` as root, `[sudo, -n]` if that needs no password, None if neither works.

    `WBS_APT_INSTALL=0` forbids it.
    """
    if environment.get("WBS_APT_INSTALL", "1") == "0" or shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo is None:
        return None
    answer = subprocess.run(
        [sudo, "-n", "true"], capture_output=True, stdin=subprocess.DEVNULL, timeout=10, check=False
    )
    return [sudo, "-n"] if answer.returncode == 0 else None


def install(
    package: str,
    *,
    log: Path | None = None,
    progress: Progress | None = None,
    environment: Mapping[str, str] = os.environ,
) -> bool:
    """Install one package. False if that is not possible here, or apt-get failed (its words are in `log`)."""
    prefix = command_prefix(environment)
    if prefix is None:
        return False
    with open(log or os.devnull, "w", encoding="utf-8", opener=private_opener) as output:
        process = subprocess.Popen(
            [*prefix, "sh", "-c", SCRIPT, "install", package],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        what = f"apt-get install {package}"
        try:
            for _ in ticks(what=what, timeout_s=INSTALL_TIMEOUT_S, progress=progress or Progress()):
                if process.poll() is not None:
                    return process.returncode == 0
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=30)
    return False
