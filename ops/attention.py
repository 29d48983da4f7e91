"""Withdrawals that require attention, and dead letters, as `wbs dlq list` and `show` print them."""

import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from actors.dead_letters import DeadLetter, DeadLettersUnreachable, look_through
from db.connections import Reader
from db.reads import Attention, WithdrawalView, requiring_attention, withdrawal
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from wallet.errors import WithdrawalNotFound

_PAGE = 500
_LETTERS_MAX = 100_000
_OTHERS_SHOWN = 20
_TEXT_SHOWN = 100


@dataclass(slots=True)
class _Letters:
    """The dead letters, sorted by whether they are about withdrawals that require attention."""

    about: set[UUID] = field(default_factory=set)
    """Withdrawals that require attention and have a dead letter."""
    others: list[DeadLetter] = field(default_factory=list)
    """The first dead letters about nothing that requires attention."""
    others_total: int = 0


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[tuple[Reader, Withdrawals]]:
    """Open a reader and a writer of withdrawals for the length of the block."""
    reader = Reader(settings.database, size=1)
    withdrawals = Withdrawals(settings)
    withdrawals.start()
    try:
        yield reader, withdrawals
    finally:
        await withdrawals.stop()
        reader.terminate()


async def ids_requiring_attention(settings: Settings) -> set[UUID]:
    """Return all withdrawals that require attention. Raises TryLater."""
    async with opened(settings) as (reader, _):
        return {attention.id async for attention in all_requiring_attention(reader)}


async def all_requiring_attention(reader: Reader) -> AsyncIterator[Attention]:
    """Yield all withdrawals that require attention, the oldest first. Raises TryLater."""
    after: UUID | None = None
    while True:
        page = await requiring_attention(reader, after=after, limit=_PAGE)
        for attention in page:
            yield attention
        if len(page) < _PAGE:
            return
        after = page[-1].id


async def list_attention(settings: Settings, as_json: bool) -> int:
    """Print what requires attention and the dead letters about nothing that does; return the exit code."""
    async with opened(settings) as (reader, _):
        needing = [attention async for attention in all_requiring_attention(reader)]
    try:
        letters = _sort_letters(settings, {attention.id for attention in needing})
    except DeadLettersUnreachable as error:
        print(f"wbs dlq: {error}", file=sys.stderr)
        letters = None
    if as_json:
        print(json.dumps(_as_plain(needing, letters)))
        return 0
    spelled = settings.taken_currencies.spelled
    for attention in needing:
        mark = "?" if letters is None else "✉" if attention.id in letters.about else "–"
        print(
            f"{attention.id}  {mark}  {spelled(attention.amount, attention.currency):>20}  {attention.user_id}  "
            f"since {attention.updated_at:%Y-%m-%d %H:%M:%S}Z  {attention.attempts} attempts  "
            f"{attention.failure_code}: {attention.failure_reason}"
        )
    for letter in letters.others if letters else ():
        died = f"{letter.died_at:%Y-%m-%d %H:%M:%S}Z" if letter.died_at else "?"
        print(
            f"{letter.withdrawal_id or 'no message of ours'!s:<36}  ✉  since {died}  {letter.text[:_TEXT_SHOWN]}"
        )
    if letters and letters.others_total > len(letters.others):
        print(f"… and {letters.others_total - len(letters.others)} more")
    total = letters.others_total if letters else "not known"
    print(f"{len(needing)} require attention (✉ has a dead letter); other dead letters: {total}")
    return 0


def _as_plain(needing: Sequence[Attention], letters: _Letters | None) -> dict[str, Any]:
    return {
        "requires_attention": [
            {**_plain(attention), "dead_letter": None if letters is None else attention.id in letters.about}
            for attention in needing
        ],
        "other_dead_letters": None if letters is None else letters.others_total,
        "others": [_plain_letter(letter) for letter in letters.others] if letters else [],
    }


async def show(settings: Settings, id_: UUID, as_json: bool) -> int:
    """Print one withdrawal, its history and its dead letters; return the exit code."""
    async with opened(settings) as (reader, _):
        try:
            found = await withdrawal(reader, id_)
        except WithdrawalNotFound as error:
            print(f"wbs dlq: {error}", file=sys.stderr)
            return 1
    own: list[dict[str, Any]] | None = None
    try:
        own = [_plain_letter(letter) for letter in all_letters(settings) if letter.withdrawal_id == id_]
    except DeadLettersUnreachable as error:
        print(f"wbs dlq: {error}", file=sys.stderr)
    document = {
        **_plain(found),
        "history": [{"status": e.status, "at": e.at.isoformat(), "reason": e.reason} for e in found.history],
        "dead_letters": own,
    }
    print(json.dumps(document, indent=None if as_json else 2, ensure_ascii=False))
    return 0


def _sort_letters(settings: Settings, needing: set[UUID]) -> _Letters:
    sorted_ = _Letters()
    for letter in all_letters(settings):
        if letter.withdrawal_id in needing:
            sorted_.about.add(letter.withdrawal_id)
        else:
            sorted_.others_total += 1
            if len(sorted_.others) < _OTHERS_SHOWN:
                sorted_.others.append(letter)
    return sorted_


def all_letters(settings: Settings) -> Iterator[DeadLetter]:
    """Yield the dead letters in the queue. Raises DeadLettersUnreachable."""
    if settings.broker is not None:
        for letter, _ in look_through(settings.broker, lambda _: False, letters_max=_LETTERS_MAX):
            yield letter


def _plain_letter(letter: DeadLetter) -> dict[str, Any]:
    died_at = letter.died_at and letter.died_at.isoformat()
    return {"died_at": died_at, "size": letter.size, "message": letter.text}


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
