"""Load from outside: wrk for peaks, pgbench for the yardstick, our open-loop generator for latencies."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ops.errors import OpsError
from ops.local import apt
from ops.local.progress import Progress

CONNECTIONS = 64
FIRST_USER = 10_001
USERS = 10_000
HOT_USER = "hot"

_LUA = Path(__file__).with_name("requests.lua")
_GRACE_S = 30.0
"""Time beyond its plan after which a generator is killed."""

_PGBENCH_S_MIN = 4
"""pgbench's clock runs while its 64 clients log in."""


class InvalidRun(OpsError):
    """The run proves nothing and has no figures: requests were refused, or connections broke."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: its rate and its latencies (in a closed loop these are not the latencies that a client would see)."""

    per_s: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    mean_ms: float = 0.0
    detail: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the sample with rounded numbers."""
        return {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self).items() if v}


def require_tools(progress: Progress) -> None:
    """Install wrk if it is missing. Raises OpsError if that is not possible here."""
    if shutil.which("wrk") is None:
        progress.say("Installing wrk with apt-get")
        apt.install("wrk", progress=progress)
    if shutil.which("wrk") is None:
        raise OpsError("The benchmark needs wrk: `apt-get install wrk`, then try again.")


def wrk(
    url: str,
    kind: str,
    seconds: float,
    *,
    connections: int = CONNECTIONS,
    threads: int = 1,
    refused_share: float = 0.0,
) -> Sample:
    """Send requests of a kind (see requests.lua); each connection sends its next one after the last answer.

    Raises InvalidRun if an answer was not a success, or more than this share of them.
    """
    argv = [
        *("wrk", "-c", str(connections), "-t", str(threads), "-d", f"{seconds:.0f}s", "--timeout", "10s"),
        *("-s", str(_LUA), url, "--", kind, str(FIRST_USER), str(USERS), str(random.randrange(2**30))),
    ]
    output = _run(argv, seconds)
    found = re.search(r"^WRK (\{.*\})$", output, re.MULTILINE)
    if found is None:
        raise InvalidRun(f"wrk said nothing for {kind}: {output.strip()[-300:]}")
    told = json.loads(found.group(1))
    if (
        told["bad_statuses"] > refused_share * told["requests"]
        or told["socket_errors"]
        or not told["requests"]
    ):
        raise InvalidRun(
            f"{kind}: of {told['requests']} requests {told['bad_statuses']} were refused, "
            f"{told['socket_errors']} broke"
        )
    return Sample(told["requests"] / told["seconds"], told["p50_ms"], told["p99_ms"], told["mean_ms"])


def pgbench(bin_dir: str, database_url: str, script: str, seconds: float, folder: Path) -> Sample:
    """Run a script with pgbench: 64 clients, prepared statements. Raises InvalidRun."""
    seconds = max(seconds, _PGBENCH_S_MIN)
    path = folder / "pgbench.sql"
    path.write_text(script, encoding="utf-8")
    url = urlsplit(database_url)
    argv = [
        *(str(Path(bin_dir) / "pgbench"), "-n", "-M", "prepared", "-c", str(CONNECTIONS), "-j", "2"),
        *("-T", f"{seconds:.0f}", "-f", str(path)),
        *("-h", str(url.hostname), "-p", str(url.port), "-U", unquote(url.username or ""), url.path[1:]),
    ]
    output = _run(argv, seconds, {"PGPASSWORD": unquote(url.password or "")})
    tps = re.search(r"^tps = ([\d.]+)", output, re.MULTILINE)
    mean = re.search(r"^latency average = ([\d.]+) ms", output, re.MULTILINE)
    failed = re.search(r"^number of failed transactions: (\d+)", output, re.MULTILINE)
    if tps is None or mean is None or (failed is not None and failed.group(1) != "0"):
        raise InvalidRun(f"pgbench failed: {output.strip()[-300:]}")
    return Sample(float(tps.group(1)), mean_ms=float(mean.group(1)))


def open_loop(
    url: str, kind: str, per_s: float, seconds: float, *, requests: int | None = None, warm_up_s: float = 0.0
) -> Sample:
    """Send requests at a fixed pace, independent of the answers; each latency counts from the request's due time.

    Requests due in the first `warm_up_s` seconds are sent but not counted.
    """
    plan = {"url": url, "kind": kind, "per_s": per_s, "seconds": seconds, "requests": requests}
    plan["warm_up_s"] = warm_up_s
    plan |= {"first_user": FIRST_USER, "users": USERS, "seed": random.randrange(2**30)}
    output = _run([sys.executable, "-P", "-m", "lab.bench.open_loop", json.dumps(plan)], warm_up_s + seconds)
    told = json.loads(output.splitlines()[-1])
    if told["failures"] or not told["requests"]:
        raise InvalidRun(
            f"{kind} at {per_s:.0f}/s: of {told['requests']} requests failed: {told['failures']}"
        )
    return Sample(
        told["requests"] / told["seconds"], told["p50_ms"], told["p99_ms"], told["mean_ms"], told["detail"]
    )


def _run(argv: list[str], seconds: float, environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds + _GRACE_S,
            check=False,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise InvalidRun(f"{Path(argv[0]).name} did not end in time") from error
    except FileNotFoundError as error:
        raise OpsError(f"{argv[0]} is not here: the benchmark needs it.") from error
    if done.returncode != 0:
        raise InvalidRun(f"{Path(argv[0]).name} failed: {done.stdout.strip()[-500:]}")
    return done.stdout
