"""Parameters in query strings and paths, read into types that validate. Each parameter is checked by itself.

Numbers are read as JSON numbers are: `limit=10` is one, `limit=1e1` and `limit=ten` are not.
"""

from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import parse_qsl, unquote
from uuid import UUID

import msgspec
from msgspec import Meta

from gateway.contract.idempotency_keys import KEY_PATTERN, BadKey, plain_key
from gateway.contract.request_errors import readable_reason
from gateway.contract.request_models import CURRENCY_PATTERN, CURSOR_PATTERN
from gateway.contract.user_ids import UserIds, UserIdText, fitted
from wallet.errors import ValidationFailed

PARAMETERS_MAX = 16
LIMIT_MAX = 100
LIMIT_DEFAULT = 20
OFFSET_MAX = 10_000
"""The deepest row that `page` reaches: skipped rows are read too. A cursor has no such limit."""
WAIT_S_MAX = 30

CurrencyText = Annotated[
    str,
    Meta(pattern=CURRENCY_PATTERN, description="One that `GET /currencies` lists. Left out, the default."),
]


class BalanceQuery(msgspec.Struct):
    """Names a wallet."""

    user_id: UserIdText
    currency: CurrencyText | None = None


class TransactionsQuery(msgspec.Struct):
    """Names a wallet and a part of its list."""

    user_id: UserIdText
    currency: CurrencyText | None = None
    page: (
        Annotated[
            int,
            Meta(
                ge=1, description=f"From 1; page × limit may reach {OFFSET_MAX}. Further down, use `cursor`."
            ),
        ]
        | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="Transactions on a page.")] = LIMIT_DEFAULT
    cursor: (
        Annotated[
            str,
            Meta(
                pattern=CURSOR_PATTERN,
                description="`next_cursor` of the page before; not together with `page`.",
            ),
        ]
        | None
    ) = None


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


class WithdrawalByKeyQuery(WithdrawalQuery, kw_only=True):
    """Names a withdrawal by the key of the request that made it, and says how long to wait."""

    idempotency_key: Annotated[
        str,
        Meta(
            extra_json_schema={"pattern": KEY_PATTERN},
            description="Key of the request that made it: what is within the quotes, if it came in quotes. Blanks "
            "around it are no part of it.",
        ),
    ]

    def key(self) -> str:
        """Return the key in its one form. Raises ValidationFailed."""
        try:
            return plain_key(self.idempotency_key)
        except BadKey as bad:
            raise ValidationFailed([("idempotency_key", str(bad))]) from None


class NoQuery(msgspec.Struct):
    """No parameters at all."""


Query = TypeVar("Query", bound=msgspec.Struct)


class ParameterReader(Generic[Query]):
    """Reads the parameters that `kind` has fields for, and refuses all others and user ids that are not allowed."""

    def __init__(self, kind: type[Query], user_ids: UserIds) -> None:
        self._kind: type[Query] = fitted(kind, user_ids)
        self._fields = {field.name: field for field in msgspec.structs.fields(self._kind)}
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
        return self._kind(**values)

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
            if not text[:1].isspace() and not text[-1:].isspace():  # JSON would overlook blanks
                return decoder.decode(text)
            errors.append((name, "must be a number"))
        except msgspec.ValidationError as error:
            errors.append((name, readable_reason(error)))
        except (msgspec.DecodeError, UnicodeEncodeError):
            errors.append((name, "must be a number"))
        return None


def takes_text(type_: Any) -> bool:
    """Return whether a parameter of this type is text; if not, it is a number."""
    info = msgspec.inspect.type_info(type_)
    members = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    return any(
        isinstance(
            member.type if isinstance(member, msgspec.inspect.Metadata) else member, msgspec.inspect.StrType
        )
        for member in members
    )


def read_uuid(text: str) -> UUID | None:
    """Return the identifier, or None: only the canonical spelling of a UUID names anything."""
    try:
        read = UUID(text)
    except ValueError:
        return None
    return read if str(read) == text.lower() else None
