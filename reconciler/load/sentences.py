"""A violation that the `jsonschema` library found, as a sentence with a remedy: one function a keyword, in a table."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from reconciler.core import quantities
from reconciler.load import checker, places, scalars, suggest, wording
from reconciler.load.nodes import Reading
from reconciler.load.places import Path
from reconciler.load.schemas import Schema
from reconciler.load.violation import Violation

NOUNS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
}

_SUGGESTIONS = 20
"""Unknown fields of one mapping for which the nearest known one is looked for: thousands are no spelling mistakes."""


def translate(error: Any, reading: Reading) -> Iterator[Violation]:
    """Yield what a `jsonschema.ValidationError` about `reading` says."""
    path = tuple(error.absolute_path)
    if error.validator == "type":
        yield _wrong_type(path, error, places.word(reading, path))
    else:
        yield from _SENTENCES[error.validator](path, error)


def _unknown_fields(path: Path, error: Any) -> Iterator[Violation]:
    fields = error.schema.get("properties", {})
    unknown = [key for key in error.instance if key not in fields]
    missing = [field for field in fields if field not in error.instance]
    for index, key in enumerate(unknown):
        near = (suggest.closest(key, missing) or suggest.closest(key, fields)) if index < _SUGGESTIONS else ""
        fix = f"did you mean {near}?" if near else _known(fields)
        message = (
            f"{places.dotted(path)} has no field {wording.show(key)}" if path else f"there is no field {wording.show(key)} here"
        )
        yield Violation(path=(*path, key), at_key=True, message=message, fix=fix)


def _known(fields: Iterable[str]) -> str:
    return suggest.fix("", fields, lead="known are")


def _missing_fields(path: Path, error: Any) -> Iterator[Violation]:
    fields = error.schema.get("properties", {})
    unknown = [key for key in error.instance if key not in fields][:_SUGGESTIONS]
    for field in error.validator_value:
        misspelt = any(
            suggest.closest(key, [name for name in fields if name not in error.instance]) == field for key in unknown
        )
        if field not in error.instance and not misspelt:
            example = _example(fields.get(field, {}))
            fix = f"add {field}: {example}" if example else f"add {field}"
            yield Violation(
                path=path, at_key=True, message=f"{places.dotted((*path, field))} is missing", fix=fix, missing=True
            )


def _example(schema: Schema) -> str:
    for value in [*schema.get("examples", []), *schema.get("enum", [])[:1]]:
        if isinstance(value, str | int | float):
            return str(value)
    return ""


def _wrong_type(path: Path, error: Any, word: str) -> Violation:
    value, schema = error.instance, error.schema
    wanted = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
    noun = schema.get("title") or " or ".join(NOUNS[one] for one in wanted)
    if value is None:
        return Violation(path=path, message=f"{places.dotted(path)} has no value", fix=f"write {noun}, or remove the field")
    fix = _proper_mapping(path, value, word) if "object" in wanted else _proper_form(value, wanted, schema, word)
    return Violation(path=path, message=f"{places.dotted(path)}: expected {noun}, found {_what(value, word)}", fix=fix)


def _proper_form(value: Any, wanted: Sequence[str], schema: Schema, word: str) -> str:
    if "string" in wanted and isinstance(value, int | float):
        return _proper_text(value, schema) or as_text(word or str(value), schema)
    if "array" in wanted and not isinstance(value, dict | list):
        return f"write it as a list: [{_items(word) if len(word) < wording.LONGEST else wording.show(value)}]"
    if isinstance(value, str):
        if "boolean" in wanted and value.lower() in ("true", "false"):
            return f"write {value.lower()} without quotes"
        if ("integer" in wanted or "number" in wanted) and type(scalars.resolve(value)) is int:
            return f"write {value} without quotes"
    return ""


def _items(word: str) -> str:
    """The words of a command line as the items of a list, each in quotes unless every reader takes it for text."""
    try:
        words = shlex.split(word)
    except ValueError:  # a quotation mark that is never closed
        words = word.split()
    return ", ".join(_plain_or_quoted(each) for each in words)


def _plain_or_quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS_OF_YAML else json.dumps(text, ensure_ascii=False)


_PLAIN = re.compile(r"(?:--?|\.{0,2}/)?[A-Za-z][\w./=+-]*", re.ASCII)
_WORDS_OF_YAML = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def _proper_mapping(path: Path, value: Any, word: str) -> str:
    """The mapping that was probably meant by its main field alone, or by a list as other tools have it."""
    name = path[-1] if path else ""
    if name == "env" and isinstance(value, list):
        pairs = [_variable(each) for each in value]
        text = ", ".join(f"{pair[0]}: {json.dumps(pair[1], ensure_ascii=False)}" for pair in pairs if pair)
        return f"write it as a mapping: {{{text}}}" if all(pairs) and 0 < len(text) <= wording.LONGEST else ""
    if name == "checkpoint" and value is False:
        return "write {engine: none}"
    if name in SHORTHANDS and isinstance(value, SHORTHANDS[name][1]) and not isinstance(value, bool):
        return f"write {{{SHORTHANDS[name][0]}: {word if len(word) < wording.LONGEST else wording.show(value)}}}"
    return ""


def _variable(item: Any) -> tuple[str, str] | None:
    """Name and value of a variable written as `{name: A, value: b}` or as `A=b`."""
    if isinstance(item, dict) and set(item) == {"name", "value"} and isinstance(item["name"], str):
        return item["name"], str(item["value"])
    name, equals, value = item.partition("=") if isinstance(item, str) else ("", "", "")
    return (name, value) if equals else None


SHORTHANDS: dict[str | int, tuple[str, type]] = {
    "retries": ("failure", int),
    "restore": ("from", str),
    "code": ("path", str),
    "suspend": ("reason", str),
}
"""Mappings that people write as the value of one field alone: that field, and the type of its values."""


def as_text(word: str, schema: Schema) -> str:
    """What to write where a field wants text and `word` is none unless it is quoted; "" where that would be wrong as well."""
    if "enum" in schema:
        return suggest.fix(word, schema["enum"])
    fits = "pattern" not in schema or checker.ecma(schema["pattern"]).search(word)
    return f"write {wording.show(word)}" if fits else ""


def _what(value: Any, word: str) -> str:
    if isinstance(value, str):
        return f"the text {wording.show(value)}"
    if isinstance(value, bool):
        return wording.show(value)
    return (
        f"the number {word[: wording.LONGEST] or wording.show(value)}"
        if isinstance(value, int | float)
        else wording.show(value)
    )


def _wrong_choice(path: Path, error: Any) -> Iterator[Violation]:
    if isinstance(error.instance, str):  # another type is its own violation
        fix = suggest.fix(error.instance, error.validator_value)
        yield Violation(
            path=path, message=f"{places.dotted(path)}: {wording.show(error.instance)} is not one of its values", fix=fix
        )


def _wrong_text(path: Path, error: Any) -> Iterator[Violation]:
    title = error.schema.get("title", "other text")
    if "propertyNames" in error.absolute_schema_path:
        message = f"{places.dotted(path)}: the key {wording.show(error.instance)} is not {title}"
        yield Violation(path=(*path, error.instance), at_key=True, message=message, fix="rename it")
        return
    message = f"{places.dotted(path)}: expected {title}, found {wording.show(error.instance)}"
    yield Violation(path=path, message=message, fix=_proper_text(error.instance, error.schema) or _proper_name(error))


def _proper_text(value: Any, schema: Schema) -> str:
    """The duration or size that was probably meant."""
    title = schema.get("title", "")
    if isinstance(value, str) and value.lower() in ("auto", "none") and value.lower() in re.split(r"[ ,]+", title):
        return f"write {value.lower()}"
    proper = (
        quantities.proper_duration(value) if "duration" in title else quantities.proper_size(value) if "size" in title else ""
    )
    return f"write {proper}" if proper else ""


def _proper_name(error: Any) -> str:
    """A name in lower case with hyphens where that is all it lacks; else the first character that no reader expects."""
    text, title = error.instance, error.schema.get("title", "")
    proper = re.sub(r"[_ .]+", "-", text.lower()).strip("-")
    if "lower-case" in title and checker.ecma(error.validator_value).search(proper):
        return f"write {proper[: wording.LONGEST] if scalars.resolve(proper) == proper else wording.show(proper)}"
    foreign = next((char for char in text if not char.isascii()), "")
    return f"{wording.show(foreign)} is the character U+{ord(foreign):04X}" if foreign else ""


def _wrong_length(path: Path, error: Any) -> Iterator[Violation]:
    if "propertyNames" in error.absolute_schema_path:
        path = (*path, error.instance)
    bound = "at least" if error.validator == "minLength" else "at most"
    noun = "character" if error.validator_value == 1 else "characters"
    message = f"{places.dotted(path)} must have {bound} {error.validator_value} {noun}, not {len(error.instance)}"
    yield Violation(path=path, at_key="propertyNames" in error.absolute_schema_path, message=message)


def _out_of_range(path: Path, error: Any) -> Iterator[Violation]:
    least = error.schema.get("minimum", error.schema.get("exclusiveMinimum"))
    most = error.schema.get("maximum")
    word = "more than" if "exclusiveMinimum" in error.schema else "at least"
    bound = f"{word} {least:,}" if error.validator != "maximum" else f"at most {most:,}"
    yield Violation(
        path=path, message=f"{places.dotted(path)} must be {bound.replace(',', ' ')}, not {wording.show(error.instance)}"
    )


def _too_many(path: Path, error: Any) -> Iterator[Violation]:
    noun = "field" if isinstance(error.instance, dict) else "item"
    noun = noun if error.validator_value == 1 else f"{noun}s"
    bound = "at least" if error.validator == "minItems" else "at most"
    message = f"{places.dotted(path)} must have {bound} {error.validator_value} {noun}, not {len(error.instance)}"
    yield Violation(path=path, message=message)


def _repeated(path: Path, error: Any) -> Iterator[Violation]:
    seen: set[str] = set()
    for index, item in enumerate(error.instance):
        if isinstance(item, str) and item in seen:
            yield Violation(
                path=(*path, index), message=f"{places.dotted(path)} names {wording.show(item)} twice", fix="remove one"
            )
        seen.add(str(item))


_SENTENCES: dict[str, Callable[[Path, Any], Iterator[Violation]]] = {
    "additionalProperties": _unknown_fields,
    "required": _missing_fields,
    "enum": _wrong_choice,
    "pattern": _wrong_text,
    "minLength": _wrong_length,
    "maxLength": _wrong_length,
    "minimum": _out_of_range,
    "maximum": _out_of_range,
    "exclusiveMinimum": _out_of_range,
    "minItems": _too_many,
    "maxItems": _too_many,
    "maxProperties": _too_many,
    "uniqueItems": _repeated,
}
"""Keyword of JSON Schema → its sentences; `type` needs the word as it was written."""
