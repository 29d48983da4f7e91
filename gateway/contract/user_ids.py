"""User ids: how they may be spelled in requests, how responses spell them (`WBS_USER_IDS`, ADR 5).

In the database each is text. The models say `UserId` or `UserIdText` where a user is named, responses `UserIdBack`;
`fitted` makes of a model the one that takes only what the setting allows, and `UserIds.schema` is what the OpenAPI
document says of all three.
"""

from enum import StrEnum
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from wallet.money import AMOUNT_MAX
from wallet.user_ids import spelling

USER_ID_PATTERN = r"^[!-~]{1,128}\Z"

USER_ID = "UserId"
"""The name of the schema of all user ids in the OpenAPI document."""

_Whole = Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
_Text = Annotated[str, Meta(pattern=USER_ID_PATTERN)]

UserId = Annotated[_Whole | _Text, Meta(title=USER_ID)]
"""In bodies of requests."""
UserIdText = Annotated[_Text, Meta(title=USER_ID)]
"""In query strings and paths, where everything is text."""
UserIdBack = Annotated[int | str, Meta(title=USER_ID)]
"""In responses."""


def _pattern_up_to(greatest: int) -> str:
    """Return the pattern of the whole numbers from 0 to `greatest`, written without leading zeros."""
    digits = str(greatest)
    kinds = ["0", f"[1-9][0-9]{{0,{len(digits) - 2}}}", digits]
    for at, digit in enumerate(digits):
        least = 0 if at else 1
        if int(digit) > least:
            kinds.append(f"{digits[:at]}[{least}-{int(digit) - 1}][0-9]{{{len(digits) - at - 1}}}")
    return rf"^({'|'.join(kinds)})\Z"


WHOLE_PATTERN = _pattern_up_to(AMOUNT_MAX)

_INTEGER_SCHEMA = {"type": "integer", "minimum": 0, "maximum": AMOUNT_MAX}
_STRING_SCHEMA = {"type": "string", "pattern": USER_ID_PATTERN}


class UserIds(StrEnum):
    """`WBS_USER_IDS`: what user ids are, in requests, in responses and in the OpenAPI document."""

    AUTO = "auto"
    """Both: 42 and "42" name the same wallet, and come back as the integer."""
    STRING = "string"
    """Strings only."""
    INTEGER = "integer"
    """Integers only."""

    @property
    def schema(self) -> dict[str, Any]:
        """Return what the OpenAPI document says of a user id."""
        text = "1 to 128 printable ASCII characters, no space"
        match self:
            case UserIds.STRING:
                return {"description": f"{text}.", **_STRING_SCHEMA}
            case UserIds.INTEGER:
                return {"description": "A whole number up to 2^53-1.", **_INTEGER_SCHEMA}
            case UserIds.AUTO:
                return {
                    "description": f'A whole number up to 2^53-1, or {text}. 42 and "42" name the same wallet; '
                    "responses say 42.",
                    "anyOf": [_INTEGER_SCHEMA, _STRING_SCHEMA],
                }

    def back(self, user_id: str) -> int | str:
        """Return a user id as a response spells it.

        Where user ids are integers, one that was kept as text before that setting comes back as it is.
        """
        return spelling(self)(user_id)

    def example(self, value: Any) -> Any:
        """Return an example whose user ids, written as integers, are spelled as they have to be."""
        if self is not UserIds.STRING:
            return value
        if isinstance(value, list):
            return [self.example(item) for item in value]
        if isinstance(value, dict):
            return {
                name: str(item)
                if name.endswith("user_id") and isinstance(item, int)
                else self.example(item)
                if name != "user_ids"
                else [str(user_id) for user_id in item]
                for name, item in value.items()
            }
        return value


_ALLOWED: dict[UserIds, dict[Any, Any]] = {
    UserIds.AUTO: {},
    UserIds.STRING: {UserId: _Text},
    UserIds.INTEGER: {UserId: _Whole, UserIdText: Annotated[str, Meta(pattern=WHOLE_PATTERN)]},
}


@cache
def fitted(kind: Any, user_ids: UserIds) -> Any:
    """Return the type `kind` as it is to be read: user ids in it, at any depth, are only what `user_ids` allows.

    A model becomes a model of its own that derives from it; a type without user ids stays the same object.
    """
    allowed = _ALLOWED[user_ids]
    if kind in allowed:
        return allowed[kind]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _fitted_model(kind, user_ids)
    parts = get_args(kind)
    inner = tuple(fitted(part, user_ids) if _is_type(part) else part for part in parts)
    if inner == parts:
        return kind
    origin = get_origin(kind)
    if origin is Annotated:
        return Annotated[inner]
    return reduce(or_, inner) if origin in (Union, UnionType) else origin[inner]


def _is_type(part: Any) -> bool:
    return isinstance(part, type) or get_origin(part) is not None


def _fitted_model(kind: type[msgspec.Struct], user_ids: UserIds) -> type[msgspec.Struct]:
    fields = msgspec.structs.fields(kind)
    types = [fitted(field.type, user_ids) if _is_type(field.type) else field.type for field in fields]
    if types == [field.type for field in fields]:
        return kind
    return msgspec.defstruct(
        kind.__name__,
        [(field.name, type_, _default_of(field)) for field, type_ in zip(fields, types, strict=True)],
        bases=(kind,),
        module=kind.__module__,
        namespace={"__doc__": kind.__doc__},
        kw_only=True,
    )


def _default_of(field: msgspec.structs.FieldInfo) -> Any:
    given: dict[str, Any] = {"default": field.default, "default_factory": field.default_factory}
    return msgspec.field(**given, name=field.encode_name)
