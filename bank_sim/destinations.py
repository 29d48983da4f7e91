"""Test destinations say what becomes of their one payout, as testers know it from real banks.

The `destination` is a string. Times are in ms, amounts in minor units; `:MS`, `:CODE` and `:AMOUNT` may be left out.

    test:decline:CODE             declined
    test:pending:MS               pending, and paid MS later
    test:pending-decline:MS:CODE  pending, and declined MS later
    test:late-decline:MS:CODE     paid, and declined MS later: the money comes back
    test:return:MS                paid, and sent back MS later
    test:partial-return:AMOUNT:MS paid, and AMOUNT of it sent back MS later (half of it)
    test:lost_reply               paid, and the connection cut instead of an answer, at the first order
    test:error                    paid, and 500, at the first order
    test:hang                     paid, and no answer for 90 s, at the first order
    test:outage                   503, as often as it is ordered; nothing is taken

Any other string that begins with `test:` is refused: a mistyped one must not pay.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from .entries import PAID, Change, Plan
from .faults import DECLINE_CODES, NOTHING_WRONG, Verdict

PREFIX = "test:"
MS_DEFAULT = 1_000
MS_MAX = 30 * 24 * 3600 * 1000

_CODE = re.compile(r"[!-~]{1,255}", re.ASCII)


class UnknownTest(ValueError):
    """No such test destination; the message says what is wrong with it."""


class Wish(NamedTuple):
    """What a destination asks for: a plan for the payout, what goes wrong with its first order, no service at all."""

    plan: Plan = PAID
    first: Verdict = NOTHING_WRONG
    outage: bool = False


_FIRST = {
    "lost_reply": Verdict(lost_reply=True, after_paying=True),
    "error": Verdict(error_status=500, after_paying=True),
    "hang": Verdict(hang=True, after_paying=True),
}


def wish_of(destination: Any, amount: int) -> Wish | None:
    """Return what the destination of a payout of `amount` asks for; None if it is a destination like any other.

    Raises UnknownTest.
    """
    if not isinstance(destination, str) or not destination.startswith(PREFIX):
        return None
    name, *words = destination.removeprefix(PREFIX).split(":", 3)
    if name in _FIRST:
        _end(words)
        return Wish(first=_FIRST[name])
    match name:
        case "outage":
            _end(words)
            return Wish(outage=True)
        case "decline":
            return Wish(Plan("declined", _code(words)))
        case "pending":
            return Wish(Plan("pending", None, (Change(_us(words, last=True), "paid"),)))
        case "pending-decline":
            return Wish(Plan("pending", None, (Change(_us(words), "declined", _code(words)),)))
        case "late-decline":
            return Wish(Plan("paid", None, (Change(_us(words), "declined", _code(words)),)))
        case "return":
            return Wish(Plan("paid", None, (Change(_us(words, last=True), "returned"),)))
        case "partial-return":
            part = _number(words, max(1, amount // 2), amount)
            return Wish(Plan("paid", None, (Change(_us(words, last=True), "returned", None, max(1, part)),)))
    raise UnknownTest("no such test destination")


def _us(words: list[str], *, last: bool = False) -> int:
    milliseconds = _number(words, MS_DEFAULT, MS_MAX)
    if last:
        _end(words)
    return 1000 * milliseconds


def _number(words: list[str], default: int, most: int) -> int:
    if not words:
        return default
    word = words.pop(0)
    if not (word.isascii() and word.isdecimal() and len(word) < 20 and int(word) <= most):
        raise UnknownTest(f"{word[:40]!r} is not a whole number up to {most}")
    return int(word)


def _code(words: list[str]) -> str:
    code = ":".join(words) or DECLINE_CODES[0]
    words.clear()
    if not _CODE.fullmatch(code):
        raise UnknownTest("a code is made of visible ASCII characters")
    return code


def _end(words: list[str]) -> None:
    if words:
        raise UnknownTest(f"nothing may follow, but {words[0][:40]!r} does")
