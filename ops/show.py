"""`wbs show TEXT`: whatever a ticket, a log or the bank calls it: one withdrawal with all that happened to it.

TEXT is an id, an idempotency key, our reference for the bank or the bank's own; charges, transfers and holds are found
by their id, or by their key in the space `default`. A text that names several withdrawals lists them.

Exit codes: 0 found, 1 there is nothing of that name, 2 nothing is running here, or the database is away.
"""

import argparse
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from db import lists, transfer_reads
from db.api_keys import DEFAULT_SPACE
from db.connections import Reader
from db.operator_reads import ActionOnOne, AttemptRow, WithdrawalInFull, timeline_of, withdrawal_in_full
from db.operator_search import named
from db.reads import HistoryEntry, WithdrawalView, withdrawals
from ops.errors import OpsError
from ops.reading import Asked, add_json, when
from ops.tables import plain as visible
from ops.tables import table
from ops.withdrawals import plain_withdrawal, text

_OTHERS: dict[str, tuple[tuple[str, ...], Callable[[Reader, Sequence[UUID]], Awaitable[list[Any]]]]] = {
    "charge": (("charge",), transfer_reads.charges),
    "transfer": (("send", "capture"), transfer_reads.transfers),
    "hold": (("hold",), transfer_reads.holds),
}
"""What is no withdrawal: the kinds of its movements, and how it is read."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs show` to the command line."""
    parser = subparsers.add_parser(
        "show",
        help="one withdrawal (or charge, transfer, hold), by whatever it is called",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("text", metavar="TEXT", help="an id, a key, a reference")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print what TEXT names. Raises TryLater, OpsError."""
    asked = Asked()
    found, others, is_user = asked.run(lambda reader: _find(reader, args.text))
    if len(found) == 1:
        in_full = asked.run(lambda reader: withdrawal_in_full(reader, found[0].id))
        if args.json:
            asked.print_json({"withdrawal": _document(in_full)})
        else:
            print(_text(in_full, asked))
    elif found:
        if args.json:
            asked.print_json({"withdrawals": [plain_withdrawal(view) for view in found]})
        else:
            print(text(found, asked))
    elif others:
        if args.json:
            asked.print_json({kind: _as_dict(value) for kind, value in others.items()})
        else:
            print("\n\n".join(_fields(kind, _as_dict(value)) for kind, value in others.items()))
    elif is_user:
        raise OpsError(f"That is a user: `wbs wallet {visible(args.text)}`.")
    else:
        raise OpsError(f"There is nothing that is called {visible(args.text)!r} here.")
    return 0


async def _find(reader: Reader, text: str) -> tuple[list[WithdrawalView], dict[str, Any], bool]:
    """Return the withdrawals that the text names, or else the other things, by kind; and whether it is a user."""
    names = await named(reader, text)
    if names.found_by:
        return await withdrawals(reader, list(names.found_by)), {}, names.is_user
    others = {}
    for kind, (kinds, read) in _OTHERS.items():
        try:
            id: UUID | None = UUID(text)
        except ValueError:
            id = await lists.by_key(reader, DEFAULT_SPACE, text, kinds)
        rows = [] if id is None else await read(reader, [id])
        if rows:
            others[kind] = rows[0]
    return [], others, names.is_user


def _document(found: WithdrawalInFull) -> dict[str, Any]:
    return {
        **plain_withdrawal(found.view),
        "proposal": found.proposal and found.proposal._asdict(),
        "timeline": [{"at": at, "what": what, **entry._asdict()} for at, what, entry in timeline_of(found)],
    }


def _text(found: WithdrawalInFull, asked: Asked) -> str:
    view = found.view
    fields = {
        "status": view.status,
        "amount": asked.spelled(view.amount, view.currency),
        "user": view.user_id,
        "made": when(view.created_at),
        "destination": view.destination,
        "reference": view.reference.hex if view.reference else None,
        "the bank's": view.bank_reference,
        "why": f"{view.failure_code}: {view.failure_reason}" if view.failure_code else None,
        "due again": when(view.next_attempt_at) if view.status == "processing" else None,
        "metadata": view.metadata,
    }
    rows = [
        (f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}Z", *_told(entry))
        for at, _, entry in timeline_of(found)
    ]
    heads = ("WHEN", "WHAT", "BY", "WHY, OR WHAT THE BANK SAID")
    return f"{_fields(f'withdrawal {view.id}', fields)}\n\n{table(heads, rows)}"


def _told(entry: HistoryEntry | AttemptRow | ActionOnOne) -> tuple[str, str, str]:
    if isinstance(entry, HistoryEntry):
        return entry.status, entry.by or "", entry.reason
    if isinstance(entry, AttemptRow):
        return (
            f"round {entry.number}: {entry.outcome}",
            "bank",
            f"{entry.said or ''} (in {entry.took_ms} ms)".strip(),
        )
    return entry.action, entry.made_by, entry.reason or ""


def _as_dict(value: Any) -> Any:
    """Return what was read as JSON has it."""
    if hasattr(value, "_asdict"):
        return {name: _as_dict(member) for name, member in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [_as_dict(member) for member in value]
    return value


def _fields(title: str, fields: dict[str, Any]) -> str:
    lines = [title, *(f"  {name:<12} {value}" for name, value in fields.items() if value is not None)]
    return "\n".join(visible(line) for line in lines)
