"""JSON schemas of all models, as generators of clients need them.

msgspec makes them from the types; what it can't know is added here, for every model alike:

- Whatever has a title has a name: it becomes a schema of its own, under that title. An enumeration without one is
  named by its place (`HoldStatus` is the `status` of a `Hold`).
- An instant is a `date-time`.
- An object without fields of its own takes any.
- No field has a default: `null` is no default, and a response says what it says.
- A field of a response is required unless it can be left out, and what is left out is never `null`.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import inspect

from gateway.contract.operation import OneOf
from gateway.contract.user_ids import USER_ID, UserIds

Schema = dict[str, Any]
_REF = "#/components/schemas/{name}"
_NULL = {"type": "null"}


class Schemas:
    """The schemas of the types of requests and responses. `components` are those that have a name."""

    def __init__(self, requests: Iterable[Any], responses: Iterable[Any], user_ids: UserIds) -> None:
        back = _single(responses)
        types = list(dict.fromkeys([*_single(requests), *back]))
        schemas, models = msgspec.json.schema_components(types, ref_template=_REF)
        self.components: Schema = {USER_ID: _ecma(user_ids.schema)}
        known = {
            model.cls.__name__: model for type_ in types for model in _models_in(inspect.type_info(type_))
        }
        returned = {model.cls.__name__ for type_ in back for model in _models_in(inspect.type_info(type_))}
        for name, schema in models.items():
            if name in known:
                _name_instants(schema, known[name])
                if name in returned:
                    _tell_what_is_there(schema, known[name])
            self.components[name] = self._inside(schema, name)
        self._schemas = dict(zip(types, schemas, strict=True))

    def of(self, kind: Any) -> Schema:
        """Return the schema of `kind`: a reference, if it has a name."""
        if isinstance(kind, OneOf):
            choice = {"oneOf": [self.of(one) for one in kind.kinds]}
            return self._reference(kind.name, choice, {})
        return self.named(self._schemas[kind], "")

    def of_field(self, type_: Any, place: str) -> Schema:
        """Return the schema of a parameter. `place` names it if it is an enumeration without a name."""
        schema = msgspec.json.schema(type_, ref_template=_REF)
        # Null is for JSON: a parameter is either there or not.
        return self.named(_without_null(schema), place)

    def named(self, schema: Schema, place: str) -> Schema:
        """Return `schema` with a reference in place of everything that has a name, itself included."""
        title = schema.get("title")
        if "enum" in schema:
            values = schema["enum"]
            if len(values) == 1 and title is None:
                return {**_described(schema), "type": "string", "const": values[0]}
            return self._reference(title or place, {"type": "string", "enum": values}, schema)
        if title is None:
            return self._inside(schema, place)
        return self._reference(title, self._inside(schema, place), schema)

    def _reference(self, name: str, schema: Schema, of: Schema) -> Schema:
        assert name, f"needs a title: {of}"
        content = {key: value for key, value in schema.items() if key != "description"}
        if name != USER_ID:  # told by the setting, whatever the models take
            assert self.components.setdefault(name, content) == content, f"two schemas are named {name}"
        return {**_described(of), "$ref": _REF.format(name=name)}

    def _inside(self, schema: Schema, place: str) -> Schema:
        """Return `schema` without title and default, and with references in it."""
        told = {key: value for key, value in _ecma(schema).items() if key not in ("title", "default")}
        if "properties" in told:
            told["properties"] = {
                name: self.named(inner, place + _capitalised(name))
                for name, inner in told["properties"].items()
            }
        elif told.get("type") == "object":
            told.setdefault("additionalProperties", True)
        if isinstance(told.get("items"), dict):
            told["items"] = self.named(told["items"], place)
        if isinstance(told.get("additionalProperties"), dict):
            told["additionalProperties"] = self.named(told["additionalProperties"], place)
        if "anyOf" in told:
            told["anyOf"] = [self.named(member, place) for member in told["anyOf"]]
        return told


def _single(kinds: Iterable[Any]) -> list[Any]:
    """Return the models, each once; those of a choice one by one."""
    return list(
        dict.fromkeys(one for kind in kinds for one in (kind.kinds if isinstance(kind, OneOf) else (kind,)))
    )


def _models_in(node: Any, seen: set[type] | None = None) -> Iterator[inspect.StructType]:
    """Yield all models in a type, at any depth."""
    seen = set() if seen is None else seen
    if isinstance(node, inspect.StructType):
        if node.cls in seen:
            return
        seen.add(node.cls)
        yield node
    for part in _parts(node):
        yield from _models_in(part, seen)


def _parts(node: Any) -> Iterator[Any]:
    if isinstance(node, inspect.Type | inspect.Field):
        for name in node.__struct_fields__:
            value = getattr(node, name)
            yield from value if isinstance(value, tuple) else (value,)


def _holds_instants(node: Any) -> bool:
    if isinstance(node, inspect.StructType):
        return False  # that is another schema's matter
    return isinstance(node, inspect.DateTimeType) or any(map(_holds_instants, _parts(node)))


def _name_instants(schema: Schema, model: inspect.StructType) -> None:
    """Say `date-time` in the fields that hold instants (msgspec does where a type insists on an offset)."""
    for field in model.fields:
        if _holds_instants(field.type):
            _texts_are_instants(schema["properties"][field.encode_name])


def _texts_are_instants(schema: Schema) -> None:
    if schema.get("type") == "string":
        schema.setdefault("format", "date-time")
    for inner in (*schema.get("anyOf", ()), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            _texts_are_instants(inner)


def _tell_what_is_there(schema: Schema, model: inspect.StructType) -> None:
    """Say which fields of a response are always there, and that the others are left out and not null."""
    omits = model.cls.__struct_config__.omit_defaults
    schema["required"] = []
    for field in model.fields:
        left_out = (omits and not field.required) or field.default is msgspec.UNSET
        if left_out:
            schema["properties"][field.encode_name] = _without_null(schema["properties"][field.encode_name])
        else:
            schema["required"].append(field.encode_name)


def _without_null(schema: Schema) -> Schema:
    members = [member for member in schema.get("anyOf", ()) if member != _NULL]
    if "anyOf" not in schema:
        return schema
    outer = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**members[0], **outer} if len(members) == 1 else {**outer, "anyOf": members}


def _described(schema: Schema) -> Schema:
    return {"description": schema["description"]} if "description" in schema else {}


def _capitalised(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _ecma(schema: Schema) -> Schema:
    """Spell a pattern for ECMA-262, where `$` matches at the very end only and `\\Z` means nothing.

    A `documented_pattern` takes the place of the one that validates, which msgspec lets nothing else replace.
    """
    if "documented_pattern" in schema:
        documented = schema["documented_pattern"]
        schema = {key: value for key, value in schema.items() if key != "documented_pattern"}
        return _ecma({**schema, "pattern": documented})
    if isinstance(schema.get("pattern"), str):
        return {**schema, "pattern": re.sub(r"\\Z$", "$", schema["pattern"])}
    if "anyOf" in schema:
        return {**schema, "anyOf": [_ecma(member) for member in schema["anyOf"]]}
    return schema
