"""What the YAML parser's complaints mean to the person who wrote the file."""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml

from reconciler.load.finding import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A complaint of libyaml, recognised by parts of its text, and its translation."""

    problem: str
    context: str = ""
    message: str
    fix: str
    at_start: bool = False
    """Point to where the construct begins: the parser notices only at its end."""


_TAB = "the line is indented with a tab"
_COLON = "indent the line as its siblings, or quote a value that contains a colon and a space"
_INDENT = "align the line with its siblings, or quote the value before it if it contains a special character"

TABLE = (
    _Row(problem="tab character", message=_TAB, fix="indent with spaces"),
    _Row(problem="mapping values are not allowed", message="a colon where no key can stand", fix=_COLON),
    _Row(problem="could not find expected ':'", message="a key without a colon", fix='write "key: value"', at_start=True),
    _Row(
        problem="unexpected end of stream",
        context="quoted scalar",
        message="a quotation mark that is never closed",
        fix="close it",
        at_start=True,
    ),
    _Row(
        problem="unexpected document indicator",
        context="quoted scalar",
        message="a quotation mark that is never closed",
        fix="close it",
        at_start=True,
    ),
    _Row(
        problem="did not find expected ',' or ']'",
        message="a list in brackets that is never closed",
        fix="close it with ]",
        at_start=True,
    ),
    _Row(
        problem="did not find expected ',' or '}'",
        message="a mapping in braces that is never closed",
        fix="close it with }",
        at_start=True,
    ),
    _Row(problem="expected node content", context="flow", message="a bracket or brace that is never closed", fix="close it"),
    _Row(problem="expected node content", message="a closing bracket or brace that nothing opened", fix="remove or quote it"),
    _Row(problem="did not find expected key", message="the indentation or a quotation mark does not fit", fix=_INDENT),
    _Row(
        problem="did not find expected '-' indicator",
        message="a line that does not belong to the list above",
        fix="begin it with a hyphen, or indent it as the list's parent",
    ),
    _Row(
        problem="block sequence entries are not allowed",
        message="a list item where none can stand",
        fix="begin the list on a line of its own",
    ),
    _Row(
        problem="unknown escape character",
        message="an unknown escape after a backslash in double quotes",
        fix="double the backslash, or use single quotes",
    ),
    _Row(problem="undefined tag handle", message="tags (!) are not allowed", fix="remove it; quote the value if it is text"),
    _Row(
        problem="expected <document start>",
        message="something follows after the end of the document",
        fix="begin another document with ---",
    ),
)
"""First match wins."""

_GLUED = re.compile(r" *(?:- +)?([A-Za-z][\w-]*):[^\s:/\"',\]}][^\s:,\]}]*\s*")
"""A key and its value with nothing between, alone in a line: neither `http://…` nor part of a list."""
_ODD = re.compile(r" *(?:- *)?(?:[\w.-]+: *)?([\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000])")

_UNSTARTED = {
    "\t": (_TAB, "indent with spaces"),
    "@": ("a value cannot begin with @", "quote it"),
    "`": ("a value cannot begin with a backquote", "quote it"),
    "%": ("a value cannot begin with %", "quote it"),
}
"""Characters that "cannot start any token"."""


def finding(error: yaml.YAMLError, text: str) -> Finding:
    """Return what a parser's error says, with its place in `text`."""
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    context = str(getattr(error, "context", None) or "")
    mark = getattr(error, "problem_mark", None)
    start = getattr(error, "context_mark", None) or mark
    if mark is not None and (pasted := _pasted(text, mark.line)):
        return pasted
    if "cannot start any token" in problem and mark is not None:
        char = text.split("\n")[mark.line][mark.column : mark.column + 1]
        message, fix = _UNSTARTED.get(char, (f"a value cannot begin with {char}", "quote it"))
        return _at(mark, message, fix)
    for row in TABLE:
        if row.problem in problem and row.context in context:
            return _at(start if row.at_start else mark, row.message, row.fix)
    return _at(mark, f"not valid YAML: {context + ': ' if context else ''}{problem}", "correct the syntax")


def _pasted(text: str, noticed: int) -> Finding | None:
    """What looks right in the line that the parser stumbles over, or in the one before, and is not: a colon or a space."""
    first = max(noticed - 1, 0)
    for index, line in enumerate(text.split("\n")[first : noticed + 1], first):
        if odd := _ODD.match(line):
            message = f"the space here is the character U+{ord(odd[1]):04X}, which is none for YAML"
            return Finding(line=index + 1, column=odd.start(1) + 1, message=message, fix="type a plain space")
        if glued := _GLUED.fullmatch(line):
            column = glued.end(1) + 1
            return Finding(line=index + 1, column=column, message="a colon without a space behind it", fix='write "key: value"')
    return None


def _at(mark: yaml.Mark | None, message: str, fix: str) -> Finding:
    if mark is None:
        return Finding(line=1, column=1, message=message, fix=fix)
    return Finding(line=mark.line + 1, column=mark.column + 1, message=message, fix=fix)
