"""`wbs dlq`: withdrawals that require attention, and their dead letters.

The truth is in the database: a withdrawal in `requires_attention` holds its money until it is replayed, or
the bank says that it has paid or declined. Its message in `withdrawals.XQ` is a copy for the operator, and
expires after a week.

  list              withdrawals that require attention, marked if they have a dead letter; then the first of
                    the other dead letters: of other withdrawals, or no messages of ours at all
  show ID           one withdrawal, its history and its dead letter
  replay ID… | --all
                    try again from the first rung of the ladder; the dead letters go
  discard ID… | --all | --others --yes
                    drop dead letters (others: those about nothing that requires attention). The withdrawals
                    stay as they are, and their money stays held

Exit codes: 0 done, 1 not everything could be done as asked, 2 the database (or, to discard, RabbitMQ) is
away.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from actors.dead_letters import DeadLetter, DeadLettersUnreachable, count, look_through
from db.withdrawals import Withdrawals
from ops.attention import (
    all_letters,
    all_requiring_attention,
    ids_requiring_attention,
    list_attention,
    opened,
    show,
)
from ops.environment import running_environment
from ops.errors import WrongUsage
from ops.operators import add_by, operator
from runtime.settings import Settings
from wallet.commands import OPERATOR
from wallet.errors import IllegalMove, TryLater, WithdrawalNotFound

_AT_ONCE = 200


@dataclass(slots=True)
class Replayed:
    """The result of a replay. `letters_removed` is None if RabbitMQ could not be reached."""

    replayed: list[UUID] = field(default_factory=list)
    refused: dict[UUID, str] = field(default_factory=dict)
    letters_removed: int | None = 0


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs dlq` to the command line."""
    parser = subparsers.add_parser(
        "dlq",
        help="dead letters: list, show, replay, discard",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in (
        ("list", "withdrawals that require attention"),
        ("show", "one withdrawal and its dead letter"),
        ("replay", "try again from the first rung"),
        ("discard", "drop dead letters, not money"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("--json", action="store_true", help="print JSON")
        if name == "show":
            action.add_argument("ids", metavar="ID", type=UUID, nargs=1)
        elif name in ("replay", "discard"):
            action.add_argument("ids", metavar="ID", type=UUID, nargs="*")
            action.add_argument("--all", action="store_true", help="all of them")
            action.add_argument("--dry-run", action="store_true", help="say what would be done")
        if name == "replay":
            add_by(action)
        if name == "discard":
            action.add_argument(
                "--others", action="store_true", help="those of nothing that requires attention"
            )
            action.add_argument("--yes", action="store_true", help="really drop them")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for, on the running stack or on what DATABASE_URL and RABBITMQ_URL name."""
    settings = Settings.from_env(running_environment())
    try:
        if args.action == "list":
            return asyncio.run(list_attention(settings, args.json))
        if args.action == "show":
            return asyncio.run(show(settings, args.ids[0], args.json))
        others = getattr(args, "others", False)
        if bool(args.ids) + args.all + others != 1:
            say = "--all or --others" if args.action == "discard" else "--all"
            raise WrongUsage(f"Name the withdrawals, or say {say}.")
        if args.dry_run:
            return _say_what_would_be(settings, args, others)
        if args.action == "replay":
            result = asyncio.run(replay(settings, None if args.all else args.ids, operator(args)))
            return _print_replayed(result, args.json)
        if others and args.yes:
            needing = asyncio.run(ids_requiring_attention(settings))
            return _discard(settings, lambda letter: letter.withdrawal_id not in needing, args)
        ids = set(args.ids)
        return _discard(settings, lambda letter: args.all or letter.withdrawal_id in ids, args)
    except TryLater as error:
        print(f"wbs dlq: {error}", file=sys.stderr)
        return 2


def _say_what_would_be(settings: Settings, args: argparse.Namespace, others: bool) -> int:
    """Print what a replay or a discard would be about, and change nothing."""
    needing = asyncio.run(ids_requiring_attention(settings))
    wanted = {id_ for id_ in needing if args.all or id_ in args.ids}
    if args.action == "replay":
        told: dict[str, object] = {"would_replay": sorted(map(str, wanted))}
    else:
        count_ = sum(
            (letter.withdrawal_id not in needing) if others else args.all or letter.withdrawal_id in args.ids
            for letter in all_letters(settings)
        )
        told = {"dead_letters_to_remove": count_}
    print(json.dumps(told) if args.json else "\n".join(f"{name}: {value}" for name, value in told.items()))
    return 0


# --- replay ---


async def replay(settings: Settings, ids: Sequence[UUID] | None, by: str = OPERATOR) -> Replayed:
    """Replay these withdrawals (None: all that require attention) and remove their dead letters.

    Raises TryLater if the database is away.
    """
    result = Replayed()
    letters_max = _count_letters(settings)  # later letters are about something newer
    async with opened(settings) as (reader, withdrawals):
        wanted = list(ids) if ids is not None else [a.id async for a in all_requiring_attention(reader)]
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            answers = await asyncio.gather(*(_replay_one(withdrawals, id_, by) for id_ in some))
            for id_, refusal in zip(some, answers, strict=True):
                if refusal is None:
                    result.replayed.append(id_)
                else:
                    result.refused[id_] = refusal
        needed = {a.id async for a in all_requiring_attention(reader)} if ids is None else None
    replayed = set(result.replayed)

    def is_done_with(letter: DeadLetter) -> bool:
        if letter.withdrawal_id in replayed:
            return True
        # With --all also the letters of withdrawals that were settled by the bank's word since.
        return needed is not None and letter.withdrawal_id is not None and letter.withdrawal_id not in needed

    result.letters_removed = None if letters_max is None else _remove(settings, is_done_with, letters_max)
    return result


async def _replay_one(withdrawals: Withdrawals, id_: UUID, by: str) -> str | None:
    """Replay one withdrawal; return the reason if it is refused, else None."""
    try:
        await withdrawals.replay(id_, by)
    except (IllegalMove, WithdrawalNotFound) as error:
        return str(error)
    return None


def _count_letters(settings: Settings) -> int | None:
    if settings.broker is None:
        return 0
    try:
        return count(settings.broker)
    except DeadLettersUnreachable as error:
        print(f"wbs dlq: {error}; the dead letters stay where they are", file=sys.stderr)
        return None


def _remove(settings: Settings, wanted: Callable[[DeadLetter], bool], letters_max: int | None) -> int | None:
    if settings.broker is None:  # the in-memory broker keeps none to look through
        return 0
    try:
        letters = look_through(settings.broker, wanted, letters_max=letters_max)
        return sum(removed for _, removed in letters)
    except DeadLettersUnreachable as error:
        print(f"wbs dlq: {error}; some dead letters may be left", file=sys.stderr)
        return None


def _print_replayed(result: Replayed, as_json: bool) -> int:
    if as_json:
        print(
            json.dumps(
                {
                    "replayed": [str(id_) for id_ in result.replayed],
                    "refused": {str(id_): reason for id_, reason in result.refused.items()},
                    "dead_letters_removed": result.letters_removed,
                }
            )
        )
    else:
        removed = "not known" if result.letters_removed is None else result.letters_removed
        print(f"replayed {len(result.replayed)}, dead letters removed: {removed}")
        for id_, reason in result.refused.items():
            print(f"  not {id_}: {reason}")
    return 1 if result.refused else 0


# --- discard ---


def _discard(settings: Settings, wanted: Callable[[DeadLetter], bool], args: argparse.Namespace) -> int:
    if not args.yes:
        print(
            "wbs dlq discard drops messages, not withdrawals: their money stays held, and they can still be "
            "replayed. Say --yes to do it.",
            file=sys.stderr,
        )
        return 1
    removed = _remove(settings, wanted, None)
    if removed is None:
        return 2
    print(json.dumps({"dead_letters_removed": removed}) if args.json else f"dead letters removed: {removed}")
    return 0 if removed >= len(args.ids) else 1
