"""`wbs payouts`: pause and resume payouts.

  status            whether payouts go on, and why not
  pause --reason R  order no more payouts at the bank. Every actor obeys within 2 s; withdrawals are still accepted,
                    looked up and cancelled
  resume            go on, with this database as it is. After history was lost, first adopt or repeat the payouts that
                    only the bank knows (docs/OPERATIONS.md, "Restore")

Exit codes: 0 done (status: payouts go on), 1 status: they don't, 2 the database is away.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from db import stack
from db.connections import Reader, understood
from gateway.contract.request_models import Reason
from ops.arguments import require
from ops.environment import running_environment
from ops.operators import add_by, operator
from ops.tables import plain
from runtime.settings import Settings
from wallet.errors import TryLater


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs payouts` to the command line."""
    parser = subparsers.add_parser(
        "payouts",
        help="pause, resume and look at payouts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    status = actions.add_parser("status", help="whether payouts go on")
    pause = actions.add_parser("pause", help="order no more payouts at the bank")
    pause.add_argument("--reason", required=True, help="told by status, health and the heartbeats")
    resume = actions.add_parser("resume", help="go on")
    for action in (status, pause, resume):
        action.add_argument("--json", action="store_true", help="print the status as JSON")
    for action in (pause, resume):
        add_by(action)
        action.add_argument("--dry-run", action="store_true", help="change nothing, tell how payouts stand")


def run(args: argparse.Namespace) -> int:
    """Do what was asked, then tell how payouts stand. Raises OpsError if the reason is none."""
    if args.action == "pause":
        require(args.reason, Reason, "A reason")
    settings = Settings.from_env(running_environment())
    actions: dict[str, Callable[[Reader], Awaitable[object]]] = {
        "status": lambda reader: asyncio.sleep(0),
        "pause": lambda reader: understood(stack.pause, reader, operator(args), args.reason),
        "resume": lambda reader: understood(stack.resume, reader),
    }
    try:
        state = asyncio.run(_act(settings, actions["status" if _is_dry(args) else args.action]))
    except TryLater as error:
        print(f"wbs payouts: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(_plain(state)))
    else:
        print(_text(state))
    return 0 if state.allowed or args.action != "status" else 1


def _is_dry(args: argparse.Namespace) -> bool:
    return getattr(args, "dry_run", False)


async def _act(settings: Settings, action: Callable[[Reader], Awaitable[object]]) -> stack.StackState:
    reader = Reader(settings.database, size=1)
    try:
        await action(reader)
        return await understood(stack.look, reader)
    finally:
        reader.terminate()


def _plain(state: stack.StackState) -> dict[str, Any]:
    def time(at: Any) -> str | None:
        return None if at is None else at.isoformat()

    return {
        "payouts": "ok" if state.allowed else "paused" if state.paused_at else "waiting",
        "reason": state.paused_reason,
        "by": state.paused_by,
        "since": time(state.paused_at),
        "history_lost_at": time(state.history_lost_at),
    }


def _text(state: stack.StackState) -> str:
    lines = [f"payouts: {state.standing}"]
    if state.paused_at is not None:
        lines.append(f"by {state.paused_by} since {state.paused_at:%Y-%m-%d %H:%M:%S} UTC")
    if state.history_lost_at is not None:
        lines.append(
            f"history may have been lost before {state.history_lost_at:%Y-%m-%d %H:%M:%S} UTC: what is open from "
            "before is looked up at the bank first"
        )
    return "\n".join(map(plain, lines))
