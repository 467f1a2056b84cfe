"""Change one field of a manifest in its text: comments, order, quoting and everything else stay as a person wrote them.

Places are found from the parser's events. The result is read again and must say exactly what was meant; otherwise the edit is
refused and the person is told what to write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml import events

from reconciler import errors
from reconciler.load import nodes, scalars
from reconciler.load import text as pieces

Path = tuple[str, ...]
Value = str | int | Mapping[str, str] | Sequence[str]

_LINE = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9./_@:+-]*")


@dataclass(slots=True, kw_only=True)
class _Node:
    """A value with its span in the text; for mappings the entries in order."""

    event: Any
    start: int
    end: int
    entries: dict[str, tuple[int, _Node]] = field(default_factory=dict)
    """Key → offset of the key and its value."""
    last: int = 0
    """Offset just behind the last character that belongs to the value (an end event may stand far behind it)."""

    @property
    def flow(self) -> bool:
        return bool(getattr(self.event, "flow_style", False))

    @property
    def mapping(self) -> bool:
        return isinstance(self.event, events.MappingStartEvent)


def set_field(text: str, document: int, path: Path, value: Value) -> str:
    """Return `text` with the field at `path` of its `document`-th document (from 0) set to `value`.

    Raises `errors.Refused` when the text has a shape that cannot be edited safely; the message says what to write by hand.
    """
    root = _documents(text)[document]
    node, depth = root, 0
    while depth < len(path) - 1 and path[depth] in node.entries and node.entries[path[depth]][1].mapping:
        node = node.entries[path[depth]][1]
        depth += 1
    rest = path[depth:]
    if rest[0] in node.entries:
        edited = _replaced(text, node, rest, value)
    elif node.flow:
        edited = _inserted_flow(text, node, rest, value)
    else:
        edited = _inserted_block(text, node, rest, value)
    return _checked(text, edited, document, path, value)


def remove_field(text: str, document: int, path: Path) -> str:
    """Return `text` without the field at `path`; unchanged when it is not there. Raises as `set_field`."""
    node = _documents(text)[document]
    for name in path[:-1]:
        if name not in node.entries:
            return text
        node = node.entries[name][1]
    if path[-1] not in node.entries:
        return text
    if len(node.entries) == 1 and len(path) > 1:
        return remove_field(text, document, path[:-1])
    start, value = node.entries[path[-1]]
    if node.flow:
        before, after = text[:start].rstrip(), text[value.last :].lstrip()
        edited = (
            before[:-1].rstrip() + text[value.last :] if before.endswith(",") else before + after.removeprefix(",").lstrip()
        )
    else:
        edited = text[: _line_start(text, start)] + text[_next_line(text, value.last) :]
    return _checked(text, edited, document, path, None)


def document_at(text: str, line: int) -> int:
    """Return which document of `text`, from 0, holds the 1-based `line`."""
    begun = [number for number, root in enumerate(_documents(text)) if text.count("\n", 0, root.start) < line]
    return begun[-1] if begun else 0


def _documents(text: str) -> list[_Node]:
    """Return the root of each document, as the loader splits them. One that is no YAML, another program's, has no entries."""
    return [_root(piece) for piece in pieces.split(text)]


def _root(piece: pieces.Piece) -> _Node:
    """Return the root of one document. No recursion: events are read into a stack."""
    offsets = [piece.start, *(piece.start + match.end() for match in _LINE.finditer(piece.text))]
    end = piece.start + len(piece.text)

    def at(mark: Any) -> int:
        return offsets[mark.line] + mark.column if mark.line < len(offsets) else end

    root = opaque = _Node(event=None, start=piece.start, end=end, last=end)
    stack: list[tuple[_Node, int | None, str]] = []
    try:
        for event in yaml.parse(piece.text, Loader=yaml.CSafeLoader):
            if isinstance(event, (events.MappingEndEvent, events.SequenceEndEvent)):
                node, _, _ = stack.pop()
                if node.flow:
                    node.end = node.last = at(event.end_mark)
                _grow(stack, node.last)
                continue
            if not isinstance(event, events.NodeEvent):
                continue
            node = _Node(event=event, start=at(event.start_mark), end=at(event.end_mark), last=at(event.end_mark))
            if not stack:
                root = node
            else:
                _attach(stack, node, event)
            if isinstance(event, events.CollectionStartEvent):
                stack.append((node, None, ""))
            else:
                _grow(stack, node.last)
    except yaml.YAMLError:
        return opaque
    return root


def _attach(stack: list[tuple[_Node, int | None, str]], node: _Node, event: Any) -> None:
    parent, key_at, key = stack[-1]
    if not parent.mapping:
        return
    if key_at is None:
        stack[-1] = (parent, node.start, getattr(event, "value", ""))
    else:
        parent.entries[key] = (key_at, node)
        stack[-1] = (parent, None, "")


def _grow(stack: list[tuple[_Node, int | None, str]], last: int) -> None:
    if stack:
        stack[-1][0].last = max(stack[-1][0].last, last)


def _replaced(text: str, node: _Node, rest: Path, value: Value) -> str:
    key_at, old = node.entries[rest[0]]
    meant = _nested(rest[1:], value)
    written = f" {json.dumps(meant)}" if _is_json(text, node) else _written(meant, _column(text, key_at), flow=node.flow)
    written = _ended(text, written)
    if old.start == old.last:
        colon = text.index(":", key_at + len(rest[0])) + 1
        return text[:colon] + written + text[colon:]
    head = text[: old.start]
    if written.startswith(("\n", "\r")):
        head = head.rstrip()
    elif head[-1:].isspace():
        written = written.lstrip()
    return head + written + text[old.last :]


def _inserted_flow(text: str, node: _Node, rest: Path, value: Value) -> str:
    before = text[: node.end - 1].rstrip()
    comma = "" if before.endswith(("{", ",")) else ","
    space = "" if before.endswith("{") else " "
    meant = _nested(rest[1:], value)
    line = json.dumps({rest[0]: meant})[1:-1] if _is_json(text, node) else f"{rest[0]}:{_written(meant, 0, flow=True)}"
    return before + comma + space + line + text[len(before) :]


def _inserted_block(text: str, node: _Node, rest: Path, value: Value) -> str:
    column = _column(text, next(iter(node.entries.values()))[0]) if node.entries else 0
    line = f"{' ' * column}{rest[0]}:{_written(_nested(rest[1:], value), column, flow=False)}\n"
    place = _next_line(text, node.last)
    head = text[:place]
    return head + _ended(text, line if not head or head.endswith("\n") else f"\n{line}") + text[place:]


def _is_json(text: str, node: _Node) -> bool:
    """Return whether a mapping is written as JSON, for readers that know nothing else."""
    return node.flow and any(text[at] == '"' for at, _ in node.entries.values())


def _nested(rest: Path, value: Value) -> Any:
    for name in reversed(rest):
        value = {name: value}  # type: ignore[dict-item]
    return value


def _written(value: Any, column: int, *, flow: bool) -> str:
    """Return what follows the colon, with its leading space or line break."""
    if isinstance(value, Mapping):
        if flow:
            inner = ", ".join(f"{name}:{_written(each, 0, flow=True)}" for name, each in value.items())
            return f" {{{inner}}}"
        pad = " " * (column + 2)
        return "".join(f"\n{pad}{name}:{_written(each, column + 2, flow=False)}" for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return f" [{', '.join(_scalar(each) for each in value)}]"
    return f" {_scalar(value)}"


def _scalar(value: str | int) -> str:
    if isinstance(value, int):
        return str(value)
    plain = _PLAIN.fullmatch(value) and not value.endswith(":") and scalars.resolve(value) == value
    return value if plain else json.dumps(value, ensure_ascii=not value.isprintable())


def _ended(text: str, lines: str) -> str:
    """Return new lines with the line ending that the text has."""
    return lines.replace("\n", "\r\n") if "\r\n" in text else lines


def _column(text: str, offset: int) -> int:
    return offset - _line_start(text, offset)


def _line_start(text: str, offset: int) -> int:
    return max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1


def _next_line(text: str, offset: int) -> int:
    """Return where the line after `offset` begins; `offset` itself at the beginning of a line (after a block scalar)."""
    if offset > 0 and text[offset - 1] in "\n\r":
        return offset
    match = _LINE.search(text, offset)
    return match.end() if match else len(text)


def _checked(before: str, after: str, document: int, path: Path, value: Value | None) -> str:
    """Return `after` if reading it gives `before` with just this field changed."""
    try:
        meant, others = _reading(before, document)
        _put(meant, path, value)
        same = (meant, others) == _reading(after, document)
    except (errors.InvalidInput, yaml.YAMLError):
        same = False
    if not same:
        dotted = ".".join(path)
        wanted = f"set {dotted}: {json.dumps(value)}" if value is not None else f"remove {dotted}"
        raise errors.Refused("this file has a shape that cannot be edited automatically", remedy=f"{wanted} by hand and push")
    return after


def _reading(text: str, document: int) -> tuple[Any, list[str]]:
    """Return the plain value of one document, read as the loader reads it, and the texts of the others, whatever they are.

    Raises `errors.InvalidInput`.
    """
    texts = [_alone(text, root.start, root.last) for root in _documents(text)]
    reading = nodes.read(texts.pop(document))
    if reading.findings or not reading.complete:
        raise errors.InvalidInput("the edited text is not valid")
    return json.loads(json.dumps(reading.root)), texts


def _alone(text: str, start: int, end: int) -> str:
    """Return one document's text with its first line's indentation."""
    return text[_line_start(text, start) : end] if text[_line_start(text, start) : start].strip() == "" else text[start:end]


def _put(root: Any, path: Path, value: Value | None) -> None:
    for name in path[:-1]:
        if not isinstance(root.get(name), dict):
            root[name] = {}
        root = root[name]
    if value is None:
        root.pop(path[-1], None)
    else:
        root[path[-1]] = json.loads(json.dumps(value))
