"""A JSON Schema as one function that says yes or no.

The `jsonschema` library takes milliseconds a document, because it can explain itself. Nearly all documents are valid and
need no explanation, so a schema is compiled once into closures over plain dicts and lists; only what they refuse is put
before the library (see `violations`). A test holds both to the same verdict. A schema that says anything this module does
not know stops the program at once: nothing is left out silently.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Check = Callable[[Any], bool]
_Schema = dict[str, Any]

_ANNOTATIONS = frozenset({"$schema", "$id", "$defs", "title", "description", "default", "examples"})
_ENDLESS = float("inf")


def ecma(pattern: str) -> re.Pattern[str]:
    """Return a pattern as JSON Schema means it (ECMA 262), where `$` is the end and not also before a last line break."""
    return re.compile(re.sub(r"(?<!\\)\$", r"\\Z", pattern))


def compiled(schema: _Schema) -> Check:
    """Return the test for a schema whose references point into its own `$defs`.

    Raises KeyError for a keyword that no row of the table reads.
    """
    return _compile(schema, schema)


def _compile(root: _Schema, schema: _Schema) -> Check:
    keywords = schema.keys() - _ANNOTATIONS - {"type"}
    if "$ref" in keywords:
        if keywords != {"$ref"}:
            raise KeyError(f"keywords beside $ref: {sorted(keywords)}")
        found: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return _compile(root, found)
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if unknown := keywords - {word for name in types for word in _TYPES[name][1]}:
        raise KeyError(f"unknown keywords: {sorted(unknown)}")
    tests = [_TYPES[name][0](root, schema) for name in types]
    if len(tests) == 1:
        return tests[0]
    return lambda value: any(test(value) for test in tests)


def _string(_root: _Schema, schema: _Schema) -> Check:
    if "enum" in schema:
        allowed = frozenset(schema["enum"])
        return lambda value: isinstance(value, str) and value in allowed
    least, most = schema.get("minLength", 0), schema.get("maxLength", _ENDLESS)
    if "pattern" not in schema:
        return lambda value: isinstance(value, str) and least <= len(value) <= most
    search = ecma(schema["pattern"]).search
    return lambda value: isinstance(value, str) and least <= len(value) <= most and search(value) is not None


def _boolean(_root: _Schema, _schema: _Schema) -> Check:
    return lambda value: value is True or value is False


def _number(_root: _Schema, schema: _Schema) -> Check:
    """A number is an int or a float; true and false are none."""
    least, most = schema.get("minimum", -_ENDLESS), schema.get("maximum", _ENDLESS)
    above = schema.get("exclusiveMinimum", -_ENDLESS)
    return lambda value: type(value) in (int, float) and least <= value <= most and above < value


def _integer(root: _Schema, schema: _Schema) -> Check:
    """For JSON Schema, 2.0 is an integer."""
    number = _number(root, schema)
    return lambda value: number(value) and (type(value) is int or value.is_integer())


def _array(root: _Schema, schema: _Schema) -> Check:
    least, most = schema.get("minItems", 0), schema.get("maxItems", _ENDLESS)
    item = _compile(root, schema["items"])
    unique = schema.get("uniqueItems", False)

    def check(value: Any) -> bool:
        if not isinstance(value, list) or not least <= len(value) <= most:
            return False
        for one in value:
            if not item(one):
                return False
        return not unique or len(set(value)) == len(value)  # items that must be unique are texts

    return check


def _object(root: _Schema, schema: _Schema) -> Check:
    fields = {name: _compile(root, part) for name, part in schema.get("properties", {}).items()}
    required = frozenset(schema.get("required", ()))
    name = _compile(root, schema["propertyNames"]) if "propertyNames" in schema else None
    extra = schema["additionalProperties"]
    others = _compile(root, extra) if isinstance(extra, dict) else None
    most = schema.get("maxProperties", _ENDLESS)

    def check(value: Any) -> bool:
        if not isinstance(value, dict) or not required <= value.keys() or len(value) > most:
            return False
        for key, member in value.items():
            test = fields.get(key, others)
            if test is None or not test(member) or (name is not None and not name(key)):
                return False
        return True

    return check


_TYPES: dict[str, tuple[Callable[[_Schema, _Schema], Check], frozenset[str]]] = {
    "string": (_string, frozenset({"enum", "pattern", "minLength", "maxLength"})),
    "boolean": (_boolean, frozenset()),
    "number": (_number, frozenset({"minimum", "maximum", "exclusiveMinimum"})),
    "integer": (_integer, frozenset({"minimum", "maximum", "exclusiveMinimum"})),
    "array": (_array, frozenset({"items", "minItems", "maxItems", "uniqueItems"})),
    "object": (_object, frozenset({"properties", "required", "additionalProperties", "propertyNames", "maxProperties"})),
}
"""Type → what makes its test, and the keywords that are read there."""
