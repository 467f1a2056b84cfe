"""Unquoted words with two meanings: which of them matter in a document of a known form, and what to write instead."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from reconciler.load import places, scalars, schemas, sentences, wording
from reconciler.load.finding import Finding
from reconciler.load.nodes import Event, Mapping, Reading
from reconciler.load.places import Path
from reconciler.load.schemas import Schema
from reconciler.load.violation import Violation


def matter(name: str, reading: Reading) -> bool:
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


def find(name: str, reading: Reading) -> Iterator[tuple[Violation, Finding]]:
    """Yield a finding for each unquoted word with two meanings, with the form that has one."""
    if not reading.doubts:
        return
    root = schemas.schema(name)
    paths = _containers(reading.root)
    for container, key, event, doubt in reading.doubts:
        path = paths.get(id(container))
        if path is None or (isinstance(container, Mapping) and event not in container.marks.get(str(key), ())):
            continue  # of a key that stands there a second time, which is told, the last one counts
        mark = event.start_mark
        is_key = _is_key(container, key, event)
        if is_key:
            mapping = schemas.at(root, path) or {}
            if key in mapping.get("properties", {}) or mapping.get("additionalProperties") is False:
                continue  # the schema's own verdict on an unknown field tells what is known
            message = f"the key {wording.show(doubt.text)[1:-1]} is {doubt.reading} for some readers of YAML"
            fix = f"write {wording.show(doubt.text)}"
        else:
            word = wording.show(doubt.text)[1:-1]
            message = f"{places.dotted((*path, key))}: {word} is {doubt.reading} for some readers of YAML and text for others"
            fix = _proper(schemas.at(root, (*path, key)), doubt)
        finding = Finding(line=mark.line + 1, column=mark.column + 1, message=message, fix=fix)
        yield Violation(path=(*path, key), at_key=is_key, message=message, fix=fix), finding


def _is_key(container: Any, key: str | int, event: Event) -> bool:
    return isinstance(container, Mapping) and isinstance(key, str) and container.marks.get(key, (None, None))[0] is event


def _proper(schema: Schema | None, doubt: scalars.Doubt) -> str:
    """What to write instead of an unquoted word, as far as the field's schema tells."""
    if schema is None or "string" in schema["type"]:
        return sentences.as_text(doubt.text, schema or {}) or f"write {(schema or {})['title']}"
    wanted, limits = schema["type"], _limits(schema)
    if doubt.plain and (wanted == "boolean" if doubt.plain in ("true", "false") else wanted in ("integer", "number")):
        return f"write {doubt.plain}"
    return f"write {sentences.NOUNS[wanted]}{f' of {limits}' if limits else ''}"


def _limits(schema: Schema) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    return " and ".join(
        text
        for text in (f"at least {least}" if least is not None else "", f"at most {most}" if most is not None else "")
        if text
    )


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
