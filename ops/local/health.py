"""Whether a stack is up: every process answers where it should. And where Prometheus finds them."""

import http.client
import json
from collections.abc import Callable, Mapping

import psutil

from ops.errors import OpsError
from ops.local import supervision
from ops.local.ports import accepts
from ops.local.progress import Progress, ticks
from ops.local.servers import Servers
from ops.local.supervision import Program
from ops.state import StateDir, write_private

STARTS_MAX = 4  # a program that starts more often than that during the wait does not come up by itself
LOG_LINES_SHOWN = 8
VERDICT_TIMEOUT_S = 10.0


def wait_for_server(
    state: StateDir, name: str, ready: Callable[[], bool], timeout_s: float, progress: Progress
) -> None:
    """Wait for PostgreSQL or RabbitMQ. Raises OpsError with the end of its log if it does not come up."""
    starts_before = supervision.starts(state, name)
    for _ in ticks(what=name, timeout_s=timeout_s, progress=progress):
        if ready():
            return
        require_stays_up(state, name, starts_before)
    raise OpsError(f"{name} is not ready after {timeout_s:.0f} s. {log_end(state, name)}")


def wait(
    state: StateDir, programs: list[Program], env: Mapping[str, str], timeout_s: float, progress: Progress
) -> str:
    """Wait until all our processes answer; return in words what is not well all the same, or an empty text.

    Raises OpsError that names the processes that do not answer, with the end of a log.
    """
    pending = {
        program.name: program for program in programs if program.kind not in ("", "postgres", "rabbitmq")
    }
    starts_before = {name: supervision.starts(state, name) for name in pending}
    what = "the processes"
    for _ in ticks(what=what, timeout_s=timeout_s, progress=progress):
        pids = dict(supervision.running(state))
        pending = {name: one for name, one in pending.items() if not answers(one, pids.get(name), env)}
        if not pending:
            break
        for name in pending:
            require_stays_up(state, name, starts_before[name])
    else:
        name = next(iter(pending))
        raise OpsError(f"{', '.join(pending)}: no answer after {timeout_s:.0f} s. {log_end(state, name)}")
    return wait_for_verdict(env, progress)


def wait_for_verdict(env: Mapping[str, str], progress: Progress) -> str:
    """Give the service a moment to see all its parts; return what is not well then, in words."""
    host, port = reachable(env), int(env["WBS_HTTP_PORT"])
    verdict = ""
    for _ in ticks(what="GET /health to say ok", timeout_s=VERDICT_TIMEOUT_S, progress=progress):
        verdict = get(host, port, "/health")[1]
        if '"status":"ok"' in verdict[:20]:
            return ""
    return in_words(verdict)


def in_words(verdict: str) -> str:
    """Return as one line what GET /health reports as wrong."""
    try:
        report = json.loads(verdict)
        reasons = [
            f"{reason['code']} ({reason['detail']})" if reason.get("detail") else str(reason["code"])
            for reason in report["reasons"]
        ]
        return f"{report['status']}: {'; '.join(reasons)}"
    except (ValueError, LookupError, TypeError):
        return f"GET /health says {verdict[:500] or 'nothing'}"


def reachable(env: Mapping[str, str]) -> str:
    """Return the address by which to call what listens on WBS_HTTP_HOST."""
    host = env["WBS_HTTP_HOST"]
    return "127.0.0.1" if host in ("", "0.0.0.0", "::") else host


def answers(program: Program, pid: int | None, env: Mapping[str, str]) -> bool:
    """Tell whether this very process listens, and reports that it is ready if it can report it."""
    if pid is None:
        return False
    host = reachable(env)
    if program.kind == "gateway":
        # The gateways share their port: an answer may come from another gateway than this one.
        port = int(env["WBS_HTTP_PORT"])
        return listens(pid, port) and get(host, port, "/health/ready")[0] == 200
    if program.kind == "bank_sim":
        return get("127.0.0.1", int(env["WBS_BANK_PORT"]), "/health")[0] == 200
    return accepts(int(program.environment["WBS_METRICS_PORT"]), host)


def listens(pid: int, port: int) -> bool:
    """Tell whether the process listens on the port."""
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections)


def get(host: str, port: int, path: str) -> tuple[int, str]:
    """Return the status code and body of a GET; 0 and no text if there is no answer."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(10_000).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def require_stays_up(state: StateDir, name: str, starts_before: int) -> None:
    """Raise OpsError if a program keeps ending right after its start. Starts before the wait don't count."""
    if supervision.starts(state, name) - starts_before > STARTS_MAX:
        raise OpsError(f"{name} ends as soon as it is started. {log_end(state, name)}")


def log_end(state: StateDir, name: str) -> str:
    """Return the last lines of a program's log, for an error message."""
    path = state.log / f"{name}.log"
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    except OSError:
        lines = []
    if not lines:
        return f"Its log {path} is empty."
    return f"The end of {path}:\n" + "\n".join(f"    {line[:300]}" for line in lines)


def write_targets(
    state: StateDir, programs: list[Program], env: Mapping[str, str], chosen: Servers | None
) -> None:
    """Write `prometheus-targets.json`, in the form of Prometheus' file_sd_configs: one entry per job."""
    addresses: dict[str, list[str]] = {}
    for program in programs:
        if port := program.environment.get("WBS_METRICS_PORT"):
            addresses.setdefault(program.kind, []).append(f"127.0.0.1:{port}")
    kinds = {program.kind for program in programs}
    if "gateway" in kinds:
        addresses["gateway"] = [f"127.0.0.1:{env['WBS_HTTP_PORT']}"]
    if "bank_sim" in kinds:
        addresses["bank_sim"] = [f"127.0.0.1:{env['WBS_BANK_PORT']}"]
    if chosen is not None and chosen.rabbitmq is not None:
        addresses["rabbitmq"] = [f"127.0.0.1:{chosen.rabbitmq.prometheus_port}"]
    document = [{"targets": targets, "labels": {"job": job}} for job, targets in sorted(addresses.items())]
    write_private(state.root / "prometheus-targets.json", json.dumps(document, indent=1) + "\n")
