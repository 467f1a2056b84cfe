"""The effective configuration: the file given by --config < PERDURE_… variables < flags, each value with where it came from.

The file is held to `schemas/config.json` with the strictness and the messages of manifests; a variable or a flag sets one
field of it, whose path gives the variable's name: `source.sshKey` is PERDURE_SOURCE_SSH_KEY.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reconciler import config, errors
from reconciler.core import model, quantities
from reconciler.load import documents, nodes, places, schemas, suggest, text, violations, wording
from reconciler.load.nodes import Reading

PREFIX = "PERDURE_"
CONFIG_VARIABLE = "PERDURE_CONFIG"
"""Names the file where no flag does."""

_SECTIONS = {
    "source": config.SourceSettings,
    "loop": config.LoopSettings,
    "agents": config.AgentSettings,
    "keys": config.KeySettings,
}

Chosen = dict[str, tuple[Any, str]]
"""Dotted path → value as the schema has it, and its origin."""


def effective(
    file: str | None, environ: Mapping[str, str], flags: Mapping[str, str], names: Mapping[str, str] | None = None
) -> config.Settings:
    """Return the configuration. `flags` holds texts by dotted path, `names` how each such flag is spelt.

    Raises `errors.UsageError` with every problem of a file, or naming the variable or flag that is wrong.
    """
    chosen: Chosen = {}
    if path := file or environ.get(CONFIG_VARIABLE, ""):
        chosen.update(_from_file(path))
    chosen.update(_from_environment(environ))
    for field, given in flags.items():
        name = (names or {}).get(field, "flag")
        chosen[field] = (_parsed(field, given, name), name)
    return _settings(chosen)


@functools.cache
def fields() -> Mapping[str, Mapping[str, Any]]:
    """Return every field by its dotted path, with its schema, in the schema's order."""
    root = schemas.schema(schemas.CONFIG)
    found: dict[str, Mapping[str, Any]] = {}
    for name, part in root["properties"].items():
        inner = part.get("properties", {}) if name in _SECTIONS else {}
        found.update((f"{name}.{leaf}", schemas.below(root, schema)) for leaf, schema in inner.items())
        if not inner:
            found[name] = schemas.below(root, part)
    return found


def variable(field: str) -> str:
    """Return the environment variable that sets a field."""
    return PREFIX + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", field.replace(".", "_")).upper()


def _from_file(path: str) -> Iterator[tuple[str, tuple[Any, str]]]:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise errors.UsageError(
            f"the configuration cannot be read: {error.strerror}",
            where=path,
            remedy=f"Correct the path given by --config or {CONFIG_VARIABLE}, or let this account read the file.",
        ) from error
    problems, reading, lines = _read(path, data)
    if problems:
        first, *others = sorted(set(problems), key=lambda one: (one.line, one.column, one.message))
        where = f"{path}:{first.line}:{first.column}"
        rest = "".join(f"\n{one}" for one in others)
        raise errors.UsageError(f"{first.message}{f' ({first.fix})' if first.fix else ''}{rest}", where=where)
    for field in fields():
        steps = tuple(field.split("."))
        value = places.value(reading.root, steps)
        if value is not None:
            yield field, (value, f"{path}:{places.place(reading, steps, key=True)[0] + lines}")


def _read(path: str, data: bytes) -> tuple[list[model.Problem], Reading, int]:
    """Return what is wrong with a configuration file, what it says, and the lines before it."""
    try:
        pieces = text.split(text.decode(data))
    except text.UnreadableError as error:
        return [documents.problem(path, error.finding)], Reading(), 0
    if not pieces:
        return [], Reading(), 0
    lines = pieces[0].line
    if len(pieces) > 1 or text.too_large(pieces[0]):
        problem = model.Problem(file=path, line=1, column=1, message="a configuration is one document of at most 1 MiB")
        return [problem], Reading(), lines
    reading = nodes.read(pieces[0].text)
    findings = list(reading.findings)
    if reading.complete and not violations.accepted(schemas.CONFIG, reading):
        findings += [finding for _, finding in violations.find(schemas.CONFIG, reading)]
    return [documents.problem(path, finding, lines) for finding in findings], reading, lines


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, tuple[Any, str]]]:
    known = {variable(field): field for field in fields()}
    for name, given in environ.items():
        if name in known:
            yield known[name], (_parsed(known[name], given, name), name)
        elif any(name.startswith(f"{PREFIX}{section.upper()}_") for section in _SECTIONS):
            raise errors.UsageError("there is no such setting", where=name, remedy=suggest.fix(name, known))


def _parsed(field: str, given: str, name: str) -> Any:
    """Return the text of a variable or a flag as the value that the schema wants."""
    if field not in fields():
        raise errors.UsageError(f"there is no setting {field}", where=name, remedy=suggest.fix(field, fields()))
    schema = fields()[field]
    value = _typed(schema.get("type"), given)
    document: Any = value
    for step in reversed(field.split(".")):
        document = {step: document}
    if schemas.check(schemas.CONFIG)(document):
        return value
    found = violations.find(schemas.CONFIG, Reading(root=document))
    message = found[0][0].message if found else f"{wording.show(given)} does not fit"
    raise errors.UsageError(message, where=name, remedy=found[0][0].fix if found else "")


def _typed(wanted: Any, given: str) -> Any:
    if wanted == "boolean":
        return {"true": True, "false": False}.get(given.lower(), given)
    if wanted == "integer":
        return int(given) if re.fullmatch(r"-?[0-9]{1,15}", given) else given
    if wanted == "object":
        pairs = [pair.partition("=") for pair in given.split(",") if pair.strip()]
        return {key.strip(): value.strip() for key, equals, value in pairs} if all(pair[1] for pair in pairs) else given
    return given


def _settings(chosen: Chosen) -> config.Settings:
    sections: dict[str, dict[str, Any]] = {name: {} for name in (*_SECTIONS, "")}
    for field, (value, _) in chosen.items():
        section, _, leaf = field.rpartition(".")
        sections[section][re.sub(r"(?<=[a-z])(?=[A-Z])", "_", leaf).lower()] = _converted(field, value)
    parts: dict[str, Any] = {name: make(**sections[name]) for name, make in _SECTIONS.items()}
    origins = {field: chosen[field][1] if field in chosen else "default" for field in fields()}
    return config.Settings(**sections[""], **parts, origins=origins)


def _converted(field: str, value: Any) -> Any:
    """Return a value in the units of `config`."""
    title = fields()[field].get("title", "")
    if title.startswith("a duration"):
        return quantities.seconds(value)
    if title.startswith("a number of cores"):
        return quantities.millicores(value)
    if title.startswith("a size"):
        return quantities.size(value)
    return dict(value) if isinstance(value, dict) else int(value) if type(value) is float else value
