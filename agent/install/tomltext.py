"""One value in a TOML file, changed in its text so that comments and formatting stay.

The text is understood line by line only as far as it takes to find a table's header and a key; whether the result says what it
must is judged by a real parser: everything as before, but for the one value.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from reconciler import errors

Path = tuple[str, ...]
Document = dict[str, Any]

_HEADER = re.compile(r"^\s*\[(?!\[)(?P<name>.+)\]\s*(#.*)?$")
_ANY_HEADER = re.compile(r"^\s*\[")


def parsed(where: str, text: str) -> Document:
    """Return what a file says. Raises `errors.InvalidInput` with line and column."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise errors.InvalidInput(f"not valid TOML: {error}", where=where, remedy="Correct it; nothing was changed.") from error


def at(document: Document, path: Path) -> Any:
    """Return the value at a path; None when there is none."""
    found: Any = document
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
    return found


def assigned(where: str, text: str, path: Path, value: str) -> str:
    """Return the text with the value at `path` being `value`.

    Raises `errors.InvalidInput` for what is no TOML, `errors.Refused` where the table is written in a way that defies it.
    """
    wanted = _with(parsed(where, text), path, value)
    changed = _assigned(text, path, json.dumps(value))
    try:
        result: Document | None = tomllib.loads(changed)
    except tomllib.TOMLDecodeError:
        result = None
    if result != wanted:
        raise errors.Refused(
            f"the table {'.'.join(path[:-1])} is written in a way that cannot be changed here",
            where=where,
            remedy=f"Write it as a table of its own with the line {path[-1]} = {json.dumps(value)}.",
        )
    return changed


def _with(document: Document, path: Path, value: str) -> Document:
    head, *rest = path
    if not rest:
        return {**document, head: value}
    inner = document.get(head, {})
    return {**document, head: _with(inner if isinstance(inner, dict) else {}, tuple(rest), value)}


def _assigned(text: str, path: Path, literal: str) -> str:
    lines = text.splitlines(keepends=True)
    key = path[-1]
    start = next((number for number, line in enumerate(lines) if _name(line) == path[:-1]), None)
    if start is None:
        ahead = text if not text or text.endswith("\n") else f"{text}\n"
        return f"{ahead}{chr(10) if ahead else ''}[{_dotted(path[:-1])}]\n  {key} = {literal}\n"
    end = next((number for number in range(start + 1, len(lines)) if _ANY_HEADER.match(lines[number])), len(lines))
    line_of_key = re.compile(
        rf"""^(?P<ahead>\s*["']?{re.escape(key)}["']?\s*=\s*)("[^"\n]*"|'[^'\n]*')(?P<behind>[ \t]*(\#.*)?\n?)$"""
    )
    for number in range(start + 1, end):
        if found := line_of_key.match(lines[number]):
            lines[number] = f"{found['ahead']}{literal}{found['behind']}"
            return "".join(lines)
    if not lines[start].endswith("\n"):
        lines[start] += "\n"
    indent = re.match(r"\s*", lines[start])
    lines.insert(start + 1, f"{indent[0] if indent else ''}  {key} = {literal}\n")
    return "".join(lines)


def _name(line: str) -> Path | None:
    """Return the path that a table's header names; None for any other line."""
    found = _HEADER.match(line)
    if found is None:
        return None
    try:
        document: Any = tomllib.loads(f"[{found['name']}]")
    except tomllib.TOMLDecodeError:
        return None
    path = []
    while document:
        ((step, document),) = document.items()
        path.append(step)
    return tuple(path)


def _dotted(path: Path) -> str:
    return ".".join(step if re.fullmatch(r"[A-Za-z0-9_-]+", step) else json.dumps(step) for step in path)
