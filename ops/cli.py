"""The `wbs` command.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, nothing is running, or a server is away or answers errors;
other codes as a command says. One sentence tells what went wrong; with WBS_LOG_LEVEL=debug, the traceback follows.
"""

import argparse
import importlib
import importlib.util
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version

from ops.confirmation import add_yes
from ops.errors import NothingRunning, OpsError, ServerAway, WrongUsage

DISTRIBUTION = "wallet-balance-split"
"""The name under which pyproject.toml has our version."""

LOCAL = "ops.local.up"
"""Commands that need the extra `[local]`: they are described without importing it."""
THREADS_DEFAULT = 50

# Commands in modules of their own: `add_parser(subparsers)` describes one, `run(args)` executes it. Some load
# a lot (plots, load generators), so only the module of the command at hand is imported.
MODULES = {
    "adjust": ("ops.adjust", "add money to a wallet, or take some, and say why"),
    "archive": ("ops.archive", "move what is old and closed out of the books into files"),
    "audit": ("ops.audit", "prove that the books balance"),
    "backup": ("ops.backup", "dump the database into a file"),
    "bank": ("ops.bank", "try whether the bank does what it must"),
    "config": ("ops.config", "show the settings, or check them"),
    "dlq": ("ops.dlq", "dead letters: list, show, replay, discard"),
    "keys": ("ops.keys", "API keys: create, list, revoke"),
    "logs": ("ops.logs", "read the logs of all processes, in the order of time"),
    "payouts": ("ops.payouts", "pause, resume and look at payouts"),
    "rabbitmq-users": (
        "ops.rabbitmq_users",
        "make the users of RabbitMQ: print their definitions, or send them",
    ),
    "reconcile": ("ops.reconcile", "compare our withdrawals with the bank's books"),
    "restart": ("ops.restart", "restart the processes of a kind, one after the other"),
    "restore": ("ops.restore", "put a dump in the place of the database"),
    "roles": ("ops.roles", "make the roles of PostgreSQL: print the SQL, or run it"),
    "scale": ("ops.scale", "run more or fewer processes of a kind, without downtime"),
    "show": ("ops.show", "one withdrawal (or charge, transfer, hold), by whatever it is called"),
    "status": ("ops.status", "how everything stands"),
    "top": ("ops.top", "rates and processes, again and again"),
    "wallet": ("ops.wallet", "all of a user's money"),
    "withdrawals": ("ops.withdrawals", "withdrawals by status, age, user, reason or amount"),
}
EXIT_CODES = "0 done, 1 failed, 2 wrong usage or settings, nothing is running, or a server is away"

LABORATORY = {
    "attack": ("lab.attack", "attack a stack of its own with hostile requests"),
    "bench": ("lab.bench", "measure the service on its own stack"),
    "chaos": ("lab.chaos", "kill and freeze everything under load, then check the books"),
}
"""Not part of the wheel: these commands exist where the source tree is."""
if importlib.util.find_spec("lab"):
    MODULES |= LABORATORY


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    words = list(sys.argv[1:] if argv is None else argv)
    # Logging is for the logs of processes; here it would come between the sentence and its reader.
    logging.getLogger().addHandler(logging.NullHandler())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that has no ✉ shows a question mark
            stream.reconfigure(errors="replace")
    try:
        _require_text(words)
        args = build_parser(words[0] if words else "").parse_args(words)
        command: Callable[[argparse.Namespace], int] = args.command
        status = command(args)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except Exception as error:  # noqa: BLE001  # the one place where a command's failure becomes a sentence
        return _fail(words[0], error)


def _require_text(words: Sequence[str]) -> None:
    """Raise WrongUsage if a word is no text in the terminal's encoding: nothing here is called so."""
    for word in words:
        if any("\ud800" <= character <= "\udfff" for character in word):
            raise WrongUsage(f"{word!a} is no text in this terminal's encoding.")


def _fail(command: str, error: Exception) -> int:
    """Say in one sentence what went wrong; return the exit code."""
    if os.environ.get("WBS_LOG_LEVEL") == "debug":
        traceback.print_exception(error)
    if isinstance(error, OpsError):
        print(f"wbs: {error}", file=sys.stderr)
        return 2 if isinstance(error, NothingRunning | ServerAway | WrongUsage) else 1
    from ops.failures import explain

    print(f"wbs {command}: {explain(error)}", file=sys.stderr)
    return 2


def build_parser(asked_for: str) -> argparse.ArgumentParser:
    """Return the parser: complete for the command that is asked for, names and one line for the others."""
    parser = argparse.ArgumentParser(
        prog="wbs", description="Wallet Balance Split: run, check and measure it."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version(DISTRIBUTION)}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_up(subparsers)
    _add_json(_add_simple(subparsers, "down", LOCAL, "run_down", "stop everything"))
    ps = _add_simple(subparsers, "ps", LOCAL, "run_ps", "list the running processes")
    ps.add_argument("--json", action="store_true", help='[{"kind": "gateway", "pid": 1}, …]')
    migrate = _add_simple(
        subparsers, "migrate", "ops.migration", "run", "bring the database schema up to date"
    )
    migrate.add_argument("--json", action="store_true", help='{"ok": true}')
    refresh = "empty the private database, the queues and the bank's books"
    add_yes(_add_json(_add_simple(subparsers, "refresh-db", LOCAL, "run_refresh_db", refresh)))
    reset = "stop everything and delete the state folder"
    add_yes(_add_json(_add_simple(subparsers, "reset", LOCAL, "run_reset", reset)))
    for name, (module, text) in MODULES.items():
        if name == asked_for:
            loaded = importlib.import_module(module)
            loaded.add_parser(subparsers)
            # A module may give its subcommands functions of their own; the others run `run`.
            subparsers.choices[name].set_defaults(command=loaded.run)
        else:
            subparsers.add_parser(name, help=text)
    for command in subparsers.choices.values():
        _tell_exit_codes(command, EXIT_CODES)
    return parser


def _tell_exit_codes(parser: argparse.ArgumentParser, above: str) -> None:
    """Add the exit codes to the help of a command and of each of its actions: its own, or the command's."""
    own = (parser.description or "").partition("Exit codes:")[2]
    if not own:
        parser.epilog = f"Exit codes: {above}"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                _tell_exit_codes(below, own.strip() or above)


def _add_simple(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    module: str,
    function: str,
    text: str,
) -> argparse.ArgumentParser:
    """Add a command whose module is imported when it is run."""

    def run(args: argparse.Namespace) -> int:
        status: int = getattr(importlib.import_module(module), function)(args)
        return status

    parser = subparsers.add_parser(name, help=text, description=text)
    parser.set_defaults(command=run)
    return parser


def _add_json(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument(
        "--json", action="store_true", help='{"done": true}: false if there was nothing to do'
    )
    return parser


def _add_up(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _add_simple(subparsers, "up", LOCAL, "run_up", "provision, migrate and start everything")
    parser.add_argument("--detach", action="store_true", help="return when it is healthy")
    parser.add_argument(
        "--json", action="store_true", help='{"urls": {"api": …}, "not_well": ""} when it is healthy'
    )
    parser.add_argument("--gateways", type=int, default=2, metavar="N", help="gateway processes (default 2)")
    parser.add_argument("--actors", type=int, default=1, metavar="N", help="actor processes (default 1)")
    parser.add_argument(
        "--threads",
        type=int,
        default=THREADS_DEFAULT,
        metavar="N",
        help="payouts at once per process (default 50)",
    )


if __name__ == "__main__":
    sys.exit(main())
