"""`wbs dlq`: withdrawals that require attention, and their dead letters.

The truth is in the database: a withdrawal in `requires_attention` holds its money until it is replayed, or
the bank is heard to have paid or declined. Its message in `withdrawals.XQ` only tells of it, and expires
after a week.

  list              what requires attention, and which of it has a dead letter
  show ID           one withdrawal, its history and its dead letter
  replay ID… | --all
                    try again from the first rung of the ladder; the dead letters go
  discard ID… | --all --yes
                    drop dead letters. The withdrawals stay as they are, their money stays held

Exit codes: 0 done, 1 not everything could be done as asked, 2 the database (or, to discard, RabbitMQ) is
away.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from actors.dead_letters import DeadLetter, DeadLettersUnreachable, count, look_through
from db.pool import Reader
from db.reads import Attention, WithdrawalView, requiring_attention, withdrawal
from db.withdrawals import Withdrawals
from ops.environment import load_environment
from wallet.config import Settings
from wallet.errors import IllegalMove, TryLater, WithdrawalNotFound

_PAGE = 500
_AT_ONCE = 200
_LETTERS_MAX = 100_000


@dataclass(slots=True)
class Replayed:
    """What a replay did. `letters_removed` is None if RabbitMQ could not be reached."""

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
        ("list", "what requires attention"),
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
        if name == "discard":
            action.add_argument("--yes", action="store_true", help="really drop them")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for, on the running stack or on what DATABASE_URL and RABBITMQ_URL name."""
    settings = Settings.from_env(load_environment())
    try:
        if args.action == "list":
            return asyncio.run(_list(settings, args.json))
        if args.action == "show":
            return asyncio.run(_show(settings, args.ids[0], args.json))
        if bool(args.ids) == args.all:
            print("wbs dlq: name the withdrawals, or say --all", file=sys.stderr)
            return 1
        if args.action == "replay":
            result = asyncio.run(replay(settings, None if args.all else args.ids))
            return _print_replayed(result, args.json)
        return _discard(settings, None if args.all else set(args.ids), args.yes, args.json)
    except TryLater as error:
        print(f"wbs dlq: {error}", file=sys.stderr)
        return 2


# --- replay ---


async def replay(settings: Settings, ids: Sequence[UUID] | None) -> Replayed:
    """Replay these withdrawals (None: all that require attention) and remove their dead letters.

    Raises TryLater if the database is away.
    """
    result = Replayed()
    letters_max = _count_letters(settings)  # letters that come in from here on are about something newer
    async with _opened(settings) as (reader, withdrawals):
        wanted = list(ids) if ids is not None else [a.id async for a in _all_requiring_attention(reader)]
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            answers = await asyncio.gather(*(_replay_one(withdrawals, id_) for id_ in some))
            for id_, refusal in zip(some, answers, strict=True):
                if refusal is None:
                    result.replayed.append(id_)
                else:
                    result.refused[id_] = refusal
        needed = {a.id async for a in _all_requiring_attention(reader)} if ids is None else None
    replayed = set(result.replayed)

    def is_done_with(letter: DeadLetter) -> bool:
        if letter.withdrawal_id in replayed:
            return True
        # With --all also the letters of withdrawals that were settled by the bank's word since.
        return needed is not None and letter.withdrawal_id is not None and letter.withdrawal_id not in needed

    result.letters_removed = None if letters_max is None else _remove(settings, is_done_with, letters_max)
    return result


async def _replay_one(withdrawals: Withdrawals, id_: UUID) -> str | None:
    """Return why it could not be replayed, or None."""
    try:
        await withdrawals.replay(id_)
    except (IllegalMove, WithdrawalNotFound) as error:
        return str(error)
    return None


def _count_letters(settings: Settings) -> int | None:
    if not settings.rabbitmq_url:
        return 0
    try:
        return count(settings)
    except DeadLettersUnreachable as error:
        print(f"wbs dlq: {error}; the dead letters stay where they are", file=sys.stderr)
        return None


def _remove(settings: Settings, wanted: Callable[[DeadLetter], bool], letters_max: int | None) -> int | None:
    try:
        return sum(removed for _, removed in look_through(settings, wanted, letters_max=letters_max))
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
        print(f"replayed {len(result.replayed)}, dead letters removed: {result.letters_removed}")
        for id_, reason in result.refused.items():
            print(f"  not {id_}: {reason}")
    return 1 if result.refused else 0


# --- discard ---


def _discard(settings: Settings, ids: set[UUID] | None, sure: bool, as_json: bool) -> int:
    if not sure:
        print(
            "wbs dlq discard drops messages, not withdrawals: their money stays held, and they can still be "
            "replayed. Say --yes to do it.",
            file=sys.stderr,
        )
        return 1
    removed = _remove(settings, lambda letter: ids is None or letter.withdrawal_id in ids, None)
    if removed is None:
        return 2
    print(json.dumps({"dead_letters_removed": removed}) if as_json else f"dead letters removed: {removed}")
    return 0 if ids is None or removed >= len(ids) else 1


# --- list, show ---


async def _list(settings: Settings, as_json: bool) -> int:
    async with _opened(settings) as (reader, _):
        needing = [attention async for attention in _all_requiring_attention(reader)]
    letters = _letters(settings)
    with_letter = None if letters is None else {letter.withdrawal_id for letter in letters}
    strays = None if with_letter is None else len(with_letter - {attention.id for attention in needing})
    if as_json:
        rows = [
            {**_plain(attention), "dead_letter": None if with_letter is None else attention.id in with_letter}
            for attention in needing
        ]
        print(json.dumps({"requires_attention": rows, "other_dead_letters": strays}))
        return 0
    for attention in needing:
        mark = "?" if with_letter is None else "✉" if attention.id in with_letter else "–"
        print(
            f"{attention.id}  {mark}  {attention.amount:>12} {attention.currency}  {attention.user_id}  "
            f"since {attention.updated_at:%Y-%m-%d %H:%M:%S}Z  {attention.attempts} attempts  "
            f"{attention.failure_code}: {attention.failure_reason}"
        )
    print(f"{len(needing)} require attention (✉ has a dead letter); other dead letters: {strays}")
    return 0


async def _show(settings: Settings, id_: UUID, as_json: bool) -> int:
    async with _opened(settings) as (reader, _):
        try:
            found = await withdrawal(reader, id_)
        except WithdrawalNotFound as error:
            print(f"wbs dlq: {error}", file=sys.stderr)
            return 1
    letters = _letters(settings)
    own = None if letters is None else [letter for letter in letters if letter.withdrawal_id == id_]
    document = {
        **_plain(found),
        "history": [{"status": e.status, "at": e.at.isoformat(), "reason": e.reason} for e in found.history],
        "dead_letters": None
        if own is None
        else [
            {"died_at": o.died_at and o.died_at.isoformat(), "message": o.body.decode(errors="replace")}
            for o in own
        ],
    }
    print(json.dumps(document, indent=None if as_json else 2, ensure_ascii=False))
    return 0


def _letters(settings: Settings) -> list[DeadLetter] | None:
    """Return what lies in the queue, or None if it can't be looked at."""
    if not settings.rabbitmq_url:
        return []
    try:
        return [letter for letter, _ in look_through(settings, lambda _: False, letters_max=_LETTERS_MAX)]
    except DeadLettersUnreachable as error:
        print(f"wbs dlq: {error}", file=sys.stderr)
        return None


# --- The database ---


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Reader, Withdrawals]]:
    reader = Reader(settings, size=1)
    withdrawals = Withdrawals(settings)
    withdrawals.start()
    try:
        yield reader, withdrawals
    finally:
        await withdrawals.stop()
        reader.terminate()


async def _all_requiring_attention(reader: Reader) -> AsyncIterator[Attention]:
    after: UUID | None = None
    while True:
        page = await requiring_attention(reader, after=after, limit=_PAGE)
        for attention in page:
            yield attention
        if len(page) < _PAGE:
            return
        after = page[-1].id


def _plain(row: Attention | WithdrawalView) -> dict[str, Any]:
    """Return a row's fields as JSON has them."""
    return {
        name: value
        if isinstance(value, str | int | None)
        else value.isoformat()
        if isinstance(value, datetime)
        else str(value)
        for name, value in row._asdict().items()
        if name != "history"
    }
