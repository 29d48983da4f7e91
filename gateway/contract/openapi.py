"""The OpenAPI 3.1 document, made from the operations that are served and the models that validate.

Nothing is described twice: a field, a limit or an error code that is added to a model is in the document.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.contract.bodies import JSON
from gateway.contract.openapi_schemas import Schemas
from gateway.contract.operation import USER, Operation, RequestBody, ResponseSpec
from gateway.contract.problem_kinds import KINDS
from gateway.contract.problems import PROBLEM_JSON, FieldError, Problem, encode_problem
from gateway.contract.user_ids import UserIds
from gateway.contract.webhook_operations import delivery_headers
from wallet.errors import ValidationFailed
from wallet.events import MEANINGS, TYPES
from wallet.events import MODELS as EVENT_MODELS

_REQUEST_ID = {
    "description": "The request's id: yours if you sent X-Request-Id, else a new one.",
    "schema": {"type": "string"},
}
_RETRY_AFTER = {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}}
_ERROR_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "How to log in.", "schema": {"type": "string"}}},
    405: {"Allow": {"description": "The methods that are.", "schema": {"type": "string"}}},
    429: {"Retry-After": _RETRY_AFTER},
    503: {"Retry-After": _RETRY_AFTER},
}

INTRODUCTION = """\
Money comes in by charges and goes out by withdrawals, which a bank pays. The balance of a wallet is split:
`total = withdrawable + locked + held`. The examples tell a story, from top to bottom: each can be sent as it is.

**Amounts** are integers in minor units (cents, pence, yen), from 1 to 2^53-1; booleans, floats and strings
are refused. **A wallet** is a `user_id` and a currency.

**Idempotency.** Every write carries an `idempotency_key`, in the body or in the `Idempotency-Key` header, there
quoted (RFC 8941) or not; blanks around it are no part of it, and two different ones in a request are refused.
The same request under the same key gets the first answer again, byte for byte, with
`Idempotent-Replayed: true`. The same are the same values: the order of members, white space, escapes, `1` or
`1.0`, `{}` or nothing make no difference. Another request under the same key is refused
(`idempotency_key_reused`). A refused request leaves its key free. After a 503 or a broken connection, send the
same request again under the same key: it can't take effect twice.

**Bodies** are `Content-Type: application/json`; anything else, or nothing, is refused (`unsupported_media_type`).

**Browsers.** Pages of other sites may do nothing (`cross_site`) and read nothing, unless `WBS_CORS_ORIGINS` names
them. `Host` has to be loopback, our address or one of `WBS_ALLOWED_HOSTS` (`host_not_allowed`).

**Errors** are `application/problem+json` (RFC 9457). Branch on `code`; it never changes. Unknown fields and
parameters, and members named twice in an object, are refused, because a mistyped `release_at` must not
release money early. Of bad fields, the first 20 are named. Besides those listed
with each call there are `not_found` (404), `method_not_allowed` (405), `request_timeout` (408),
`expectation_failed` (417) and `malformed_request` (400: not readable as HTTP, or readable in two ways), which
can meet you anywhere.
`GET /problems/{code}` says what a code means.
"""


def document(operations: Iterable[Operation], *, version: str, user_ids: UserIds) -> dict[str, Any]:
    """Return the document."""
    served = [operation for operation in operations if operation.documented]
    bodies = [kind for one in served if one.body for kind, _ in one.body.kinds.values() if kind is not None]
    returned = [spec.kind for one in served for spec in one.responses.values() if spec.kind is not None]
    schemas = Schemas(bodies, [Problem, FieldError, *EVENT_MODELS.values(), *returned], user_ids)
    paths: dict[str, dict[str, Any]] = {}
    for operation in served:
        described = _operation(operation, schemas, user_ids)
        for status, spec in operation.responses.items():
            if links := _links(spec, served):
                described["responses"][str(status)]["links"] = links
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    components: dict[str, Any] = {"schemas": schemas.components}
    components["securitySchemes"] = {
        "api_key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, made by `wbs keys create`. No key is needed while `WBS_AUTH` is `off`, or is "
            "`auto`, the gateway listens on loopback and no key was ever made.",
        }
    }
    tags = list(dict.fromkeys(operation.tag for operation in served))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Wallet Balance Split",
            "version": version,
            "description": INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The gateway that serves this document"}],
        "tags": [{"name": tag} for tag in tags],
        "paths": paths,
        "webhooks": _webhooks(schemas),
        "components": components,
    }


def _links(spec: ResponseSpec, served: list[Operation]) -> dict[str, Any]:
    """Return the operations that can go on with what a response gives."""
    return {
        other.id: {"operationId": other.id, "parameters": {name: f"$response.body#/{member}"}}
        for name, member in spec.gives.items()
        for other in served
        if f"{{{name}}}" in other.path
    }


def _webhooks(schemas: Schemas) -> dict[str, Any]:
    """Return what is sent to webhooks: an event of each type."""
    return {
        type: {
            "post": {
                "operationId": "on" + "".join(map(str.capitalize, re.split("[._]", type))),
                "tags": ["Events"],
                "summary": MEANINGS[type],
                "parameters": delivery_headers(type),
                "requestBody": {
                    "required": True,
                    "content": {JSON: {"schema": schemas.of(EVENT_MODELS[type.partition(".")[0]])}},
                },
                "responses": {"2XX": {"description": "Taken. Any other answer, and it is sent again."}},
            }
        }
        for type in TYPES
    }


def _operation(operation: Operation, schemas: Schemas, user_ids: UserIds) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": _parameters(operation, schemas, user_ids),
        "responses": {
            **{
                str(status): _response(spec, schemas, user_ids)
                for status, spec in operation.responses.items()
            },
            **_refusals(operation.refusals),
        },
    }
    if operation.description:
        described["description"] = operation.description
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": _contents(operation.body, schemas, user_ids),
        }
    # Where logins are off, no key is needed: the empty requirement stands beside the scheme.
    described["security"] = [] if operation.scope is None else [{"api_key": [operation.scope.value]}, {}]
    return described


def _contents(body: RequestBody, schemas: Schemas, user_ids: UserIds) -> dict[str, Any]:
    contents = {}
    for media_type, (kind, given) in body.kinds.items():
        example = user_ids.example(given)
        if kind is None:  # a text: one item per line
            example = "".join(f"{msgspec.json.encode(item).decode()}\n" for item in example)
        schema = {"type": "string"} if kind is None else schemas.of(kind)
        contents[media_type] = {"schema": schema, "example": example}
    return contents


def _parameters(operation: Operation, schemas: Schemas, user_ids: UserIds) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {
            "name": "X-Request-Id",
            "in": "header",
            "required": False,
            # No maxLength: a longer one is not refused, only replaced.
            "description": "Your name for this request, up to 128 printable ASCII characters; given back and "
            "logged. Any other, or none: we name it.",
            "schema": {"type": "string"},
        }
    ]
    for name, description in operation.headers.items():
        required = description.startswith("Required.")
        parameters.append(
            {
                "name": name,
                "in": "header",
                "required": required,
                "description": description,
                "schema": {"type": "string"},
            }
        )
    for name, description in operation.path_parameters.items():
        schema = {"type": "string", "format": "uuid"} if name.endswith("_id") else {"type": "string"}
        parameters.append(
            {"name": name, "in": "path", "required": True, "description": description, "schema": schema}
        )
    for field in msgspec.structs.fields(operation.query) if operation.query else ():
        in_path = f"{{{field.name}}}" in operation.path
        place = operation.id[0].upper() + operation.id[1:] + field.encode_name.capitalize()
        schema = schemas.of_field(field.type, place)
        if field.default not in (None, msgspec.NODEFAULT):
            schema["default"] = field.default
        parameters.append(
            {
                "name": field.encode_name,
                "in": "path" if in_path else "query",
                "required": field.required,
                "description": schema.pop("description", "A user." if field.name == "user_id" else ""),
                "schema": schema,
            }
        )
    examples = {"user_id": USER, **operation.examples}
    for parameter in parameters:
        if parameter["name"] in examples:
            parameter["example"] = examples[parameter["name"]]
            if parameter["name"].endswith("user_id"):
                parameter["example"] = user_ids.example({"user_id": parameter["example"]})["user_id"]
    return parameters


def _response(spec: ResponseSpec, schemas: Schemas, user_ids: UserIds) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": spec.description,
        "headers": {
            "X-Request-Id": _REQUEST_ID,
            **{
                name: {"description": text, "schema": {"type": "string"}}
                for name, text in spec.headers.items()
            },
        },
    }
    for media_type in spec.media_types:
        is_text = spec.kind is None or media_type != JSON
        content: dict[str, Any] = {"schema": {"type": "string"} if is_text else schemas.of(spec.kind)}
        if spec.example is not None and not is_text:
            content["example"] = user_ids.example(spec.example)
        response.setdefault("content", {})[media_type] = content
    return response


def _refusals(codes: Iterable[str]) -> dict[str, Any]:
    """Return the refusals by status, with an example per code."""
    by_status: dict[int, list[str]] = {}
    for code in sorted(dict.fromkeys(codes), key=lambda code: (KINDS[code].status, code)):
        by_status.setdefault(KINDS[code].status, []).append(code)
    return {
        str(status): {
            "description": " · ".join(f"`{code}`: {KINDS[code].title}" for code in names),
            "headers": {"X-Request-Id": _REQUEST_ID, **_ERROR_HEADERS.get(status, {})},
            "content": {
                PROBLEM_JSON: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {code: {"value": example_of(code)} for code in names},
                }
            },
        }
        for status, names in by_status.items()
    }


def example_of(code: str) -> dict[str, Any]:
    """Return an example of a problem with this code."""
    kind = KINDS[code]
    problem = Problem(f"/problems/{code}", kind.title, kind.status, code, kind.example, "5f0c1b2a9d3e4f60-2a")
    if code == ValidationFailed.code:
        problem.errors = [FieldError("amount", "must be an integer >= 1")]
    example: dict[str, Any] = msgspec.json.decode(encode_problem(problem))
    return example
