"""Parameters in query strings and paths, read into types that validate. Each parameter is checked by itself.

Numbers are read as JSON numbers are: `limit=10` is one, `limit=1e1` and `limit=ten` are not.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import parse_qsl, unquote
from uuid import UUID

import msgspec
from msgspec import Meta

from gateway.contract.reasons import NO_TIME, readable_reason
from gateway.contract.request_models import CURRENCY_OR_ALL_PATTERN, CURRENCY_PATTERN
from gateway.contract.user_ids import UserIds, UserIdText, fitted
from wallet.errors import ValidationFailed, WalletError

PARAMETERS_MAX = 16
LIMIT_MAX = 100
LIMIT_DEFAULT = 20
OFFSET_MAX = 10_000
"""The deepest row that `page` reaches: skipped rows are read too. A cursor has no such limit."""
WAIT_S_MAX = 30

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Nothing counts from an earlier instant."""
_LAST_INSTANT = datetime.max.replace(tzinfo=UTC)
"""With an offset, later ones can be spelled, which UTC has no spelling for."""

CurrencyText = Annotated[
    str,
    Meta(pattern=CURRENCY_PATTERN, description="One that `GET /currencies` lists. Left out, the default."),
]


AtText = Annotated[
    datetime,
    Meta(
        tz=True,
        description="RFC 3339 with an offset, in the past: what it was then. Left out, what it is now.",
    ),
]


class BalanceQuery(msgspec.Struct):
    """Names a wallet, or all of a user's, and a time."""

    user_id: UserIdText
    currency: (
        Annotated[
            str,
            Meta(
                pattern=CURRENCY_OR_ALL_PATTERN,
                extra_json_schema={
                    "documented_pattern": CURRENCY_PATTERN
                },  # `all` has an answer of another kind
                description="One that `GET /currencies` lists, or `all`. Left out, the default.",
            ),
        ]
        | None
    ) = None
    at: AtText | None = None


class WalletsQuery(msgspec.Struct):
    """Names a user, and a time."""

    user_id: UserIdText
    at: AtText | None = None


class WithdrawalQuery(msgspec.Struct, kw_only=True):
    """Says how long to wait."""

    wait: Annotated[
        float,
        Meta(
            ge=0,
            le=WAIT_S_MAX,
            description="Seconds to wait for an end state before answering; the answer comes as soon as "
            "there is one.",
        ),
    ] = 0.0


class NoQuery(msgspec.Struct):
    """No parameters at all."""


Query = TypeVar("Query", bound=msgspec.Struct)


class ParameterReader(Generic[Query]):
    """Reads the parameters that `kind` has fields for, and refuses all others and user ids that are not allowed."""

    def __init__(self, kind: type[Query], user_ids: UserIds) -> None:
        self._kind: type[Query] = fitted(kind, user_ids)
        self._fields = {field.encode_name: field for field in msgspec.structs.fields(self._kind)}
        self._required = [name for name, field in self._fields.items() if field.required]
        self._decoders = {
            name: None if takes_text(field.type) else msgspec.json.Decoder(field.type)
            for name, field in self._fields.items()
        }

    def read(self, query_string: str, **path: str) -> Query:
        """Return the parameters. `path` holds the parts of the path that are parameters, percent-encoded.

        Raises ValidationFailed, naming each bad parameter.
        """
        if not query_string:  # the usual case: read all parameters of the path at once
            try:
                return msgspec.convert(
                    {name: unquote(raw, errors="strict") for name, raw in path.items()}, self._kind
                )
            except (msgspec.ValidationError, UnicodeError):
                pass  # the code below tells what is wrong
        errors: list[tuple[str, str]] = []
        values: dict[str, Any] = {}
        for name, text in self._given(query_string, path, errors):
            if name not in self._fields:
                errors.append((name[:64], "is not a parameter of this request"))
            elif name in values:
                errors.append((name, "is given twice"))
            else:
                values[name] = self._value(name, text, errors)
        for name in self._required:
            if name not in values:
                errors.append((name, "is required"))
        if errors:
            raise ValidationFailed(errors)
        return self._kind(**{self._fields[name].name: value for name, value in values.items()})

    def _given(
        self, query_string: str, path: dict[str, str], errors: list[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        given: list[tuple[str, str]] = []
        for name, raw in path.items():
            try:
                given.append((name, unquote(raw, errors="strict")))
            except UnicodeDecodeError:
                given.append((name, "\ufffd"))
        if not query_string:
            return given
        try:
            return given + parse_qsl(
                query_string, keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX
            )
        except ValueError:  # not UTF-8, or too many
            errors.append(("$", "the query string can't be read"))
            return given

    def _value(self, name: str, text: str, errors: list[tuple[str, str]]) -> Any:
        decoder = self._decoders[name]
        try:
            if decoder is None:
                return msgspec.convert(text, self._fields[name].type)
            # JSON would overlook blanks, and take null for what is left out.
            if not text[:1].isspace() and not text[-1:].isspace() and text != "null":
                return decoder.decode(text)
            errors.append((name, "must be a number"))
        except msgspec.ValidationError as error:
            errors.append((name, self._reason(name, error)))
        except (msgspec.DecodeError, UnicodeEncodeError):
            errors.append((name, "must be a number"))
        return None

    def _reason(self, name: str, error: Exception) -> str:
        for member in _members(self._fields[name].type):
            if isinstance(member, msgspec.inspect.LiteralType):
                return f"must be one of {', '.join(map(str, member.values))}"
            if isinstance(member, msgspec.inspect.DateTimeType):
                return f"{NO_TIME} (Z; a + is %2B in a query)"
        return readable_reason(error).replace(" or null", "", 1)  # which is what is left out


def within_books(at: datetime) -> datetime:
    """Return the instant in UTC: the beginning of the books for what is before it, the last one for what is later."""
    return min(max(at, BEGINNING), _LAST_INSTANT).astimezone(UTC)


def takes_text(type_: Any) -> bool:
    """Return whether a parameter of this type is text; if not, it is a number."""
    kinds = (msgspec.inspect.StrType, msgspec.inspect.LiteralType, msgspec.inspect.DateTimeType)
    return any(isinstance(member, kinds) for member in _members(type_))


def _members(type_: Any) -> list[Any]:
    """Return the types that a parameter's type is made of."""
    info = msgspec.inspect.type_info(type_)
    members = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    return [member.type if isinstance(member, msgspec.inspect.Metadata) else member for member in members]


def read_id(text: str, otherwise: WalletError) -> UUID:
    """Return the identifier in a path. Raises `otherwise`: any other text names nothing."""
    id = read_uuid(text)
    if id is None:
        raise otherwise
    return id


def read_uuid(text: str) -> UUID | None:
    """Return the identifier, or None: only the canonical spelling of a UUID names anything."""
    try:
        read = UUID(text)
    except ValueError:
        return None
    return read if str(read) == text.lower() else None
