"""The story that the examples of the OpenAPI document tell: every operation, from top to bottom, as it stands there."""

import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import jsonschema_rs

NOT_OURS_TO_SEND = {
    "receiveBankCallback": "only the bank can sign one",
    "voidHold": "the hold of the story is captured: a hold ends once",
    "deleteWebhook": "the webhook of the story is still needed by what follows",
}
"""Operations whose example can't be sent, and why."""

JSON = ("application/json", "application/problem+json")
EVENT_STREAM = "text/event-stream"
"""What is answered so never ends. Whoever sends all requests reads no more than the head of it."""

Document = dict[str, Any]
Call = Callable[..., Awaitable[Any]]
"""(method, path, data=…, headers=…) → an answer with `status`, `headers`, `body`, `json`."""


class Step(NamedTuple):
    """An operation of the story, and how it was answered."""

    operation: Document
    media_type: str
    """Of the request; empty without a body."""
    answer: Any

    @property
    def id(self) -> str:
        name: str = self.operation["operationId"]
        return name


def operations(document: Document) -> list[tuple[str, str, Document]]:
    """Return path, method and description of each operation, in the order of the document."""
    return [(path, method, one) for path, item in document["paths"].items() for method, one in item.items()]


def never_ends(operation: Document) -> bool:
    """Tell whether an operation's answer goes on until the client leaves."""
    return any(EVENT_STREAM in response.get("content", {}) for response in operation["responses"].values())


async def told(document: Document, call: Call) -> list[Step]:
    """Send every request of the story once, each with the identifiers that earlier answers gave."""
    given: dict[tuple[str, str], Any] = {}
    """(operation, parameter) → what a link says it is."""
    steps = []
    for path, method, operation in operations(document):
        if operation["operationId"] in NOT_OURS_TO_SEND:
            continue
        for media_type, data in _bodies(operation):
            target = _target(path, operation, given)
            headers = {"content-type": media_type} if media_type else {}
            answer = await call(method.upper(), target, data=data, headers=headers)
            given |= _followed(operation, answer)
            steps.append(Step(operation, media_type, answer))
    return steps


def check(document: Document, step: Step, *also: int) -> None:
    """Assert that a step succeeded, or was answered by one of `also`, and as documented for that status."""
    answer, documented = step.answer, step.operation["responses"]
    assert answer.status in (*also, *(int(status) for status in documented if status[0] == "2")), (
        step.id,
        answer.body,
    )
    [(media_type, content)] = [
        (kind, content)
        for kind, content in documented[str(answer.status)].get("content", {}).items()
        if answer.headers["content-type"].startswith(kind)
    ]
    if media_type in JSON:
        validator(document, content["schema"]).validate(answer.json)


def validator(document: Document, schema: Document) -> jsonschema_rs.Draft202012Validator:
    """Return what validates against a schema that refers to others in the document."""
    return jsonschema_rs.Draft202012Validator(
        {**schema, "components": document["components"]}, validate_formats=True
    )


def examples(document: Document) -> Iterator[tuple[str, Document, Any]]:
    """Yield each example in the document: where it stands, its schema, itself."""
    for _, _, operation in operations(document):
        id = operation["operationId"]
        for parameter in operation["parameters"]:
            if "example" in parameter:
                yield f"{id} {parameter['name']}", parameter["schema"], parameter["example"]
        parts = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for where, part in parts.items():
            for kind, content in part.get("content", {}).items():
                named = [example["value"] for example in content.get("examples", {}).values()]
                for example in [*named, *([content["example"]] if "example" in content else [])]:
                    yield f"{id} {where} {kind}", content["schema"], example


def _bodies(operation: Document) -> list[tuple[str, str | None]]:
    """Return media type and text of each example of the request."""
    contents = operation.get("requestBody", {}).get("content", {})
    if not contents:
        return [("", None)]
    texts = [(kind, content["example"]) for kind, content in contents.items()]
    return [(kind, text if isinstance(text, str) else json.dumps(text)) for kind, text in texts]


def _target(path: str, operation: Document, given: dict[tuple[str, str], Any]) -> str:
    query = {}
    for parameter in operation["parameters"]:
        name = parameter["name"]
        value = given.get((operation["operationId"], name), parameter.get("example"))
        if parameter["in"] == "path":
            path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
        elif parameter["in"] == "query" and value is not None:
            query[name] = str(value)
    return f"{path}?{urlencode(query)}" if query else path


def _followed(operation: Document, answer: Any) -> dict[tuple[str, str], Any]:
    """Return what the links of an answer say."""
    links = operation["responses"].get(str(answer.status), {}).get("links", {})
    return {
        (link["operationId"], name): answer.json[expression.removeprefix("$response.body#/")]
        for link in links.values()
        for name, expression in link["parameters"].items()
        if expression.removeprefix("$response.body#/") in answer.json  # in bulk there is none
    }
