"""What is wrong with a document that its schema refuses: every violation, with its place and what to write instead.

The `jsonschema` library finds them; the table below turns each into a sentence.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema
from jsonschema import validators

from reconciler.load import checker, places, quantities, scalars, schemas, suggest
from reconciler.load.finding import Finding, show
from reconciler.load.nodes import Event, Mapping, Reading
from reconciler.load.places import Path

Schema = dict[str, Any]
_NOUNS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing the schema refuses."""

    path: Path
    """The value concerned; for an unknown or missing field its own path."""
    at_key: bool = False
    """Point to the key and not to the value."""
    message: str
    fix: str = ""
    is_doubt: bool = False
    """It is about an unquoted word, and so the cause of whatever else is wrong at its place."""


def find(name: str, reading: Reading) -> list[tuple[Violation, Finding]]:
    """Return every violation of the schema `name`, with the finding for it, and the doubts about unquoted words."""
    found = [*_doubts(name, reading)]
    for error in _validator(name).iter_errors(reading.root):
        for violation in _translate(error):
            line, column = places.place(reading, violation.path, key=violation.at_key)
            found.append((violation, Finding(line=line, column=column, message=violation.message, fix=violation.fix)))
    return found


def has_doubts(name: str, reading: Reading) -> bool:
    """Return whether an unquoted word with two meanings stands where it matters: the schema's own field names do not."""
    harmless = {(id(places.value(reading.root, path[:-1])), path[-1]) for path in _doubtful_fields(name)}
    return any(
        (id(container), key) not in harmless or not _is_key(container, key, event)
        for container, key, event, _ in reading.doubts
    )


@functools.cache
def _doubtful_fields(name: str) -> tuple[Path, ...]:
    """Fields of a schema whose names have two meanings themselves, such as `on`."""
    root = schemas.schema(name)
    found: list[Path] = []
    waiting: list[tuple[Schema, Path]] = [(root, ())]
    while waiting:
        schema, path = waiting.pop()
        for field, part in schemas.below(root, schema).get("properties", {}).items():
            waiting.append((part, (*path, field)))
            if isinstance(scalars.resolve(field), scalars.Doubt):
                found.append((*path, field))
    return tuple(found)


@functools.cache
def _validator(name: str) -> Any:
    extend: Any = validators.extend
    made = extend(jsonschema.Draft202012Validator, {"pattern": _pattern})
    return made(schemas.schema(name))


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Schema) -> Iterator[jsonschema.ValidationError]:
    if isinstance(instance, str) and checker.ecma(pattern).search(instance) is None:
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _doubts(name: str, reading: Reading) -> Iterator[tuple[Violation, Finding]]:
    if not reading.doubts:
        return
    root = schemas.schema(name)
    paths = _containers(reading.root)
    for container, key, event, doubt in reading.doubts:
        path = paths.get(id(container))
        if path is None:
            continue
        mark = event.start_mark
        is_key = _is_key(container, key, event)
        if is_key:
            fields = (schemas.at(root, path) or {}).get("properties", {})
            if key in fields:
                continue
            message, fix = f"the key {doubt.text} is {doubt.reading} for some readers of YAML", f'write "{doubt.text}"'
        else:
            word = show(doubt.text)[1:-1]
            message = f"{places.dotted((*path, key))}: {word} is {doubt.reading} for some readers of YAML and text for others"
            fix = f"write {_proper(schemas.at(root, (*path, key)), doubt.plain, doubt.text)}"
        finding = Finding(line=mark.line + 1, column=mark.column + 1, message=message, fix=fix)
        yield Violation(path=(*path, key), at_key=is_key, message=message, fix=fix, is_doubt=True), finding


def _is_key(container: Any, key: str | int, event: Event) -> bool:
    return isinstance(container, Mapping) and isinstance(key, str) and container.marks.get(key, (None, None))[0] is event


def _proper(schema: Schema | None, plain: str, text: str) -> str:
    wanted = (schema or {}).get("type")
    if (wanted == "boolean" and plain in ("true", "false")) or (
        plain not in ("", "true", "false") and wanted in ("integer", "number")
    ):
        return plain
    return f'"{text}"'


def _containers(root: Any) -> dict[int, Path]:
    """Paths of all containers, by identity; of one that aliases repeat, the first."""
    paths: dict[int, Path] = {}
    waiting: list[tuple[Any, Path]] = [(root, ())]
    while waiting:
        value, path = waiting.pop()
        if id(value) in paths or not isinstance(value, dict | list):
            continue
        paths[id(value)] = path
        members = value.items() if isinstance(value, dict) else enumerate(value)
        waiting.extend((member, (*path, key)) for key, member in members)
    return paths


def _translate(error: Any) -> Iterator[Violation]:
    path = tuple(error.absolute_path)
    yield from _SENTENCES[error.validator](path, error)


def _unknown_fields(path: Path, error: Any) -> Iterator[Violation]:
    fields = error.schema.get("properties", {})
    for key in error.instance:
        if key not in fields:
            missing = [field for field in fields if field not in error.instance]
            near = suggest.closest(key, missing) or suggest.closest(key, fields)
            fix = f"did you mean {near}?" if near else suggest.fix(key, fields, lead="known are")
            message = f"{places.dotted(path)} has no field {show(key)}" if path else f"there is no field {show(key)} here"
            yield Violation(path=(*path, key), at_key=True, message=message, fix=fix)


def _missing_fields(path: Path, error: Any) -> Iterator[Violation]:
    fields = error.schema.get("properties", {})
    unknown = [key for key in error.instance if key not in fields]
    for field in error.validator_value:
        misspelt = any(
            suggest.closest(key, [name for name in fields if name not in error.instance]) == field for key in unknown
        )
        if field not in error.instance and not misspelt:
            example = _example(fields.get(field, {}))
            fix = f"add {field}: {example}" if example else f"add {field}"
            yield Violation(path=path, at_key=True, message=f"{places.dotted((*path, field))} is missing", fix=fix)


def _example(schema: Schema) -> str:
    for value in [*schema.get("examples", []), *schema.get("enum", [])[:1]]:
        if isinstance(value, str | int | float):
            return str(value)
    return ""


def _wrong_type(path: Path, error: Any) -> Iterator[Violation]:
    value, schema = error.instance, error.schema
    wanted = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
    noun = schema.get("title") or " or ".join(_NOUNS[one] for one in wanted)
    if value is None:
        yield Violation(path=path, message=f"{places.dotted(path)} has no value", fix=f"write {noun}, or remove the field")
        return
    fix = _proper_form(value, wanted, schema)
    yield Violation(path=path, message=f"{places.dotted(path)}: expected {noun}, found {_what(value)}", fix=fix)


def _proper_form(value: Any, wanted: Sequence[str], schema: Schema) -> str:
    if "string" in wanted and isinstance(value, int | float):
        return _proper_text(value, schema) or f'write "{show(value)}"'
    if "array" in wanted and not isinstance(value, dict | list):
        return f"write it as a list: [{show(value)[1:-1] if isinstance(value, str) else show(value)}]"
    if isinstance(value, str):
        if "boolean" in wanted and value.lower() in ("true", "false"):
            return f"write {value.lower()} without quotes"
        if ("integer" in wanted or "number" in wanted) and value.lstrip("-").isdecimal():
            return f"write {value} without quotes"
    return ""


def _proper_text(value: Any, schema: Schema) -> str:
    title = schema.get("title", "")
    proper = (
        quantities.proper_duration(value) if "duration" in title else quantities.proper_size(value) if "size" in title else ""
    )
    return f"write {proper}" if proper else ""


def _what(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {show(value)}"
    if isinstance(value, bool):
        return show(value)
    return f"the number {show(value)}" if isinstance(value, int | float) else show(value)


def _wrong_choice(path: Path, error: Any) -> Iterator[Violation]:
    if isinstance(error.instance, str):  # another type is its own violation
        fix = suggest.fix(error.instance, error.validator_value)
        yield Violation(path=path, message=f"{places.dotted(path)}: {show(error.instance)} is not one of its values", fix=fix)


def _wrong_text(path: Path, error: Any) -> Iterator[Violation]:
    title = error.schema.get("title", "other text")
    if "propertyNames" in error.absolute_schema_path:
        message = f"{places.dotted(path)}: the key {show(error.instance)} is not {title}"
        yield Violation(path=(*path, error.instance), at_key=True, message=message, fix="rename it")
        return
    message = f"{places.dotted(path)}: expected {title}, found {show(error.instance)}"
    yield Violation(path=path, message=message, fix=_proper_text(error.instance, error.schema) or _lower(error))


def _lower(error: Any) -> str:
    """The same name in lower case with hyphens, where that is all it lacks."""
    proper = error.instance.lower().replace("_", "-").replace(" ", "-").replace(".", "-").strip("-")
    is_name = error.validator == "pattern" and "lower-case" in error.schema.get("title", "")
    return f"write {proper}" if is_name and len(proper) < 64 and checker.ecma(error.validator_value).search(proper) else ""


def _out_of_range(path: Path, error: Any) -> Iterator[Violation]:
    least = error.schema.get("minimum", error.schema.get("exclusiveMinimum"))
    most = error.schema.get("maximum")
    word = "more than" if "exclusiveMinimum" in error.schema else "at least"
    bound = f"{word} {least:,}" if error.validator != "maximum" else f"at most {most:,}"
    yield Violation(path=path, message=f"{places.dotted(path)} must be {bound.replace(',', ' ')}, not {show(error.instance)}")


def _too_many(path: Path, error: Any) -> Iterator[Violation]:
    noun = "fields" if isinstance(error.instance, dict) else "items"
    bound = "at least" if error.validator == "minItems" else "at most"
    message = f"{places.dotted(path)} must have {bound} {error.validator_value} {noun}, not {len(error.instance)}"
    yield Violation(path=path, message=message)


def _repeated(path: Path, error: Any) -> Iterator[Violation]:
    seen: list[Any] = []
    for index, item in enumerate(error.instance):
        if item in seen:
            yield Violation(path=(*path, index), message=f"{places.dotted(path)} names {show(item)} twice", fix="remove one")
        seen.append(item)


_SENTENCES: dict[str, Callable[[Path, Any], Iterator[Violation]]] = {
    "additionalProperties": _unknown_fields,
    "required": _missing_fields,
    "type": _wrong_type,
    "enum": _wrong_choice,
    "pattern": _wrong_text,
    "minLength": _wrong_text,
    "maxLength": _wrong_text,
    "minimum": _out_of_range,
    "maximum": _out_of_range,
    "exclusiveMinimum": _out_of_range,
    "minItems": _too_many,
    "maxItems": _too_many,
    "maxProperties": _too_many,
    "uniqueItems": _repeated,
}
"""Keyword of JSON Schema → its sentences. `checker` refuses keywords that are not in its own table, so none is missing."""
