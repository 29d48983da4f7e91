"""`wbs up`, `wbs down`, `wbs ps`: the stack of this checkout."""

import argparse
import json
import os
import signal
import sys
import time
from types import FrameType

import psutil

from ops.confirmation import confirm
from ops.errors import OpsError
from ops.local.environment import urls
from ops.local.progress import Progress
from ops.local.provision import private_servers
from ops.local.rabbitmq_docker import remove_volume
from ops.local.stack import AlreadyRunning, Stack
from ops.migration import migrate
from ops.rabbitmq_users import OPERATOR as RABBITMQ_USER
from ops.state import StateDir, read_json
from runtime.known_settings import unknown_settings, warning_of

# So that retries can be watched: most calls take 80 ms, one in a hundred 400 ms; one in twenty fails, and one
# in fifty pays but loses its reply. WBS_BANK_FAULTS (JSON, as PUT /faults takes it) replaces it: `{}` is a
# perfect bank.
DEMO_FAULTS = {
    "seed": 1,
    "latency_ms": 80,
    "latency_p99_ms": 400,
    "error_rate": 0.05,
    "lost_reply_rate": 0.02,
}


class Interrupted(Exception):
    """SIGINT or SIGTERM came."""


def run_up(args: argparse.Namespace) -> int:
    """Start the stack; return the exit code: with `--detach` at once, 1 if something is not well.

    Without it, the command stays until Ctrl-C, SIGTERM or `wbs down`.
    """
    progress = Progress.to_terminal()
    for name, nearest in unknown_settings().items():
        progress.say(warning_of(name, nearest))
    stack = _stack(args, progress)
    received = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal received
        if received:  # once is enough: a second Ctrl-C must not cut the stopping short
            progress.say("Stopping already: waiting for the processes to finish what they hold")
            return
        received = True
        raise Interrupted

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        try:
            stack.start()
        except AlreadyRunning as already:
            print(already, file=sys.stderr if args.json else sys.stdout)
            show(stack.state, as_json=args.json)
            return 0
        progress.say(f"Up, but {stack.not_well}" if stack.not_well else "Up and healthy")
        show(stack.state, stack.not_well, as_json=args.json)
        if args.detach:
            return 1 if stack.not_well else 0
        if not args.json:
            print("Ctrl-C or `wbs down` ends all of it.", flush=True)
        return _wait(stack, progress)
    except Interrupted:
        stack.stop()
        progress.say("Stopped")
        return 0


def _stack(args: argparse.Namespace, progress: Progress) -> Stack:
    if args.gateways < 1 or args.actors < 1 or args.threads < 1:
        raise OpsError("--gateways, --actors and --threads must be at least 1.")
    env = {} if os.environ.get("WBS_BANK_FAULTS") else {"WBS_BANK_FAULTS": json.dumps(DEMO_FAULTS)}
    return Stack(
        StateDir.from_env(os.environ).root,
        env=env,
        gateways=args.gateways,
        actors=args.actors,
        threads=args.threads,
        own_ports=False,
        bound=not args.detach,
        progress=progress,
    )


def _wait(stack: Stack, progress: Progress) -> int:
    """Wait for the stack's end; return 0 if it was asked to end."""
    while stack.running():
        time.sleep(0.3)
    if not stack.state.env_file.exists() or stack.exit_code() == 0:
        progress.say("Stopped by `wbs down`")
        return 0
    progress.say("The supervisor was killed; ending what is left")
    stack.stop()
    return 1


def show(state: StateDir, not_well: str = "", *, as_json: bool = False) -> None:
    """Print where everything is."""
    env = read_json(state.env_file)
    if not env:
        return
    where = urls(env)
    if as_json:
        print(json.dumps({"urls": where, "logs": str(state.log), "not_well": not_well}), flush=True)
        return
    rows = [("API", where["api"]), ("API docs", where["docs"]), ("Console", where["console"])]
    if where["rabbitmq"]:
        password = state.recall("secrets", f"rabbitmq_{RABBITMQ_USER}")
        private = f"   login: {RABBITMQ_USER} / {password}" if password else ""
        rows.append(("RabbitMQ", where["rabbitmq"] + private))
    else:
        rows.append(
            ("RabbitMQ", "the one of RABBITMQ_URL" if env["RABBITMQ_URL"] else "none (in-memory broker)")
        )
    rows += [
        ("Bank simulator", f"{where['bank']}/payouts   its faults: {where['bank']}/faults"),
        ("Metrics", f"{where['metrics']}   all targets: {state.root / 'prometheus-targets.json'}"),
        # A password made here may be seen here; one that was given may not.
        ("PostgreSQL", env["DATABASE_URL"] if "WBS_POSTGRES_BIN" in env else "the one of DATABASE_URL"),
        ("Logs", f"{state.log}{os.sep}"),
    ]
    print()
    for name, value in rows:
        print(f"  {name:<15} {value}")
    print(flush=True)


def run_down(args: argparse.Namespace) -> int:
    """Stop the stack, also what a killed one left."""
    stack = Stack(StateDir.from_env(os.environ).root, progress=Progress.to_terminal())
    stopped = stack.stop()
    _say_done(args, stopped, "Stopped." if stopped else f"Nothing is running in {stack.state.root}.")
    return 0


def _say_done(args: argparse.Namespace, done: bool, text: str) -> None:
    print(json.dumps({"done": done}) if args.json else text)


def run_ps(args: argparse.Namespace) -> int:
    """List the running processes."""
    rows = Stack(StateDir.from_env(os.environ).root).ps()
    if args.json:
        print(json.dumps(rows))
        return 0
    if not rows:
        print("Nothing is running here. `wbs up` starts it.")
        return 0
    print(f"{'KIND':<12}{'PID':>8}{'MEMORY':>10}{'UP':>10}")
    for row in rows:
        print(f"{row['kind']:<12}{row['pid']:>8}{_vitals(int(row['pid']))}")
    return 0


def _vitals(pid: int) -> str:
    """Return resident memory and age, as far as we may see them."""
    try:
        process = psutil.Process(pid)
        return f"{process.memory_info().rss / 2**20:>7.0f} MB{time.time() - process.create_time():>8.0f} s"
    except psutil.Error:
        return ""


def run_refresh_db(args: argparse.Namespace) -> int:
    """Empty the private database, and what would contradict it: queues and the bank's books. Stops the stack.

    A database given by DATABASE_URL is not ours to drop.
    """
    if os.environ.get("DATABASE_URL"):
        raise OpsError(
            "DATABASE_URL names a database that is not ours: drop and create it yourself, then `wbs migrate`."
        )
    progress = Progress.to_terminal()
    stack = Stack(StateDir.from_env(os.environ).root, progress=progress)
    _confirm_loss(args, stack.state, "its private database, the queues and the bank's books")
    stack.stop()
    stack.state.create()
    stack.state.forget_data()
    with private_servers(stack.state.root, rabbitmq=False, progress=progress) as servers:
        assert servers.stack.servers is not None
        migrate(servers.stack.servers.owner_url)
    _say_done(args, True, "The database is empty and its schema up to date. `wbs up` starts the rest.")
    return 0


def run_reset(args: argparse.Namespace) -> int:
    """Stop the stack and delete its state folder: database, queues, bank's books, ports, secrets."""
    stack = Stack(StateDir.from_env(os.environ).root, progress=Progress.to_terminal())
    _confirm_loss(
        args, stack.state, "the private database, queues, the bank's books, ports, secrets and backups"
    )
    stack.stop()
    remove_volume(stack.state, os.environ)
    stack.state.delete()
    _say_done(args, True, f"Deleted {stack.state.root}.")
    return 0


def _confirm_loss(args: argparse.Namespace, state: StateDir, what: str) -> None:
    """Ask before books are deleted. Raises OpsError. Where there are none, there is nothing to ask."""
    if state.recall("postgres", "initialized"):
        confirm(args, f"stops the stack in {state.root} and deletes for good {what}")
