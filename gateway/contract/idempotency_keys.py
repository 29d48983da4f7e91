"""Idempotency keys: each way to write a key is brought to one form.

In a body or a query, the key is the text without the blanks around it. In the `Idempotency-Key` header it is plain text
too, or a string of structured fields, as draft-ietf-httpapi-idempotency-key-header says (RFC 8941, 3.3.3: in quotes,
`"` and `\\` escaped; parameters are no part of the key). The header may come several times, or joined by commas as
proxies do it (RFC 9110, 5.3), if every one names the same key. A comma within a plain key is an ordinary character.
"""

import re
from collections.abc import Sequence

BLANKS = " \t"
KEY_CHARS_MAX = 255

KEY_PATTERN = rf"^[\t ]*[!-~]([ -~]{{0,{KEY_CHARS_MAX - 2}}}[!-~])?[\t ]*$"
"""For the OpenAPI document: the texts that `plain_key` takes."""

KEY_HEADER_DOC = (
    "Instead of, or the same as, `idempotency_key` in the body; as it is, or as a quoted string (RFC 8941). "
    "Given twice, it must say the same."
)

REPLAYED_DOC = {"Idempotent-Replayed": "`true` if this is the answer to an earlier request with this key."}
"""The header of responses, and what it means."""

NO_KEY = f"must be 1 to {KEY_CHARS_MAX} printable ASCII characters"

_STRING = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
_PARAMETER = rf'[ \t]*;[ \t]*[A-Za-z*][A-Za-z0-9_.*-]*(?:=(?:{_STRING}|[^\s",;]+))?'
_ITEM = re.compile(rf"[ \t]*({_STRING})(?:{_PARAMETER})*[ \t]*")
_ESCAPE = re.compile(r'\\(["\\])')


class BadKey(ValueError):
    """A text is not a key. The message says why."""


def plain_key(text: str) -> str:
    """Return the key that a body or a query names. Raises BadKey."""
    key = text.strip(BLANKS)
    if not 0 < len(key) <= KEY_CHARS_MAX or not key.isascii() or not key.isprintable():
        raise BadKey(NO_KEY)
    return key


def header_key(lines: Sequence[str]) -> str:
    """Return the one key that the `Idempotency-Key` headers of a request name. Raises BadKey."""
    keys = {plain_key(key) for line in lines for key in _keys_in(line.strip(BLANKS))}
    if len(keys) != 1:
        raise BadKey("name different keys")
    return keys.pop()


def _keys_in(line: str) -> list[str]:
    if line.startswith('"'):
        return _quoted_keys_in(line)
    parts = {part.strip(BLANKS) for part in line.split(",")}
    return list(parts) if len(parts) == 1 and parts != {""} else [line]


def _quoted_keys_in(line: str) -> list[str]:
    keys, at = [], 0
    while item := _ITEM.match(line, at):
        keys.append(_ESCAPE.sub(r"\1", item[1][1:-1]))
        at = item.end()
        if at == len(line):
            return keys
        if line[at] != ",":
            break
        at += 1
    raise BadKey("begins with a quote but is no quoted string (RFC 8941)")
