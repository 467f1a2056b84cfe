"""From the events of PyYAML's C parser to plain values that know where they stand.

Only events are used: `load` and `compose` recurse in C and end the process at deep nesting. Nothing is built that the
limits do not allow, and nothing is decided by tags.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import yaml
from yaml import events
from yaml._yaml import CParser

from reconciler.load import scalars, syntax, wording
from reconciler.load.finding import Finding
from reconciler.load.scalars import Doubt

DEPTH = 64
"""Deepest nesting; a manifest needs eight."""
NODES = 20_000
"""Most values of a document, each alias counted with all it stands for."""
ALIASES = 100
"""Most aliases of a document."""


class Mark(Protocol):
    """Where something begins, counted from 0."""

    line: int
    column: int


class Event(Protocol):
    """What the parser saw of one value."""

    start_mark: Mark


_STARTS = (events.MappingStartEvent, events.SequenceStartEvent)
_ENDS = (events.MappingEndEvent, events.SequenceEndEvent)
Key = str | int


class Mapping(dict[str, Any]):
    """A mapping, with the events of each key and its value in `marks`."""

    __slots__ = ("marks", "start")
    marks: dict[str, tuple[Event, Event]]
    start: Event


class Sequence(list[Any]):
    """A list, with the event of each item in `marks`."""

    __slots__ = ("marks", "start")
    marks: list[Event]
    start: Event


@dataclass(slots=True, kw_only=True)
class Reading:
    """What one document said."""

    root: Any = None
    start: Event | None = None
    findings: list[Finding] = field(default_factory=list)
    doubts: list[tuple[Mapping | Sequence, Key, Event, Doubt]] = field(default_factory=list)
    """Unquoted words with two meanings: the container, the key or index in it, the event, the doubt."""
    complete: bool = True
    """False: the parser gave up, and `root` holds what came before."""


_Frame = tuple["Mapping | Sequence | None", str, "Event | None", "str | None", int]
"""An enclosing container, the key whose value is read, its event, the inner container's anchor, and the nodes before it."""


def read(text: str) -> Reading:
    """Return the value of one document. Never raises for anything in the text: what is wrong is among the findings."""
    reader = _Reader()
    try:
        reader.run(CParser(text))
    except _LimitError:
        reader.reading.complete = False
    except yaml.YAMLError as error:
        reader.reading.findings.append(syntax.finding(error, text))
        reader.reading.complete = False
    return reader.reading


class _LimitError(Exception):
    """A limit is exceeded: reading on would only cost."""


class _Reader:
    """Builds one document. A key that is not text is replaced by "?", so that reading goes on and finds more."""

    def __init__(self) -> None:
        self.reading = Reading()
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.nodes = 0
        self.aliases = 0

    def run(self, parser: Any) -> None:
        """Read events until the text ends. Written flat: most of the time of loading is spent in this loop."""
        container: Any = None
        key = ""
        key_event: Any = None
        is_mapping = False
        stack: list[_Frame] = []
        known, following = scalars.KNOWN, parser.get_event
        scalar, starts, ends = events.ScalarEvent, _STARTS, _ENDS
        while (event := following()) is not None:
            kind = type(event)
            if is_mapping and key_event is None and kind is scalar:
                key, key_event = event.value, event
                if key in container.marks or known.get(key) != key or not event.implicit[0]:
                    self._key(container, event)
                if event.anchor is not None:
                    self.anchors[event.anchor] = (key, 1)
                event = following()
                kind = type(event)
            if kind is scalar:
                value: Any = event.value
                if not event.implicit[0]:
                    self._check(value, event)
                elif known.get(value) != value:
                    value = self._plain(container, key, event)
                if event.anchor is not None:
                    self.anchors[event.anchor] = (value, 1)
            elif kind in starts:
                made = self._open(event, len(stack))
                if is_mapping and key_event is None:
                    stack.append((container, self._complex_key(container, event), event, event.anchor, self.nodes))
                else:
                    self._attach(container, key, key_event, made, event)
                    stack.append((container, key, None, event.anchor, self.nodes))
                container, key_event, is_mapping = made, None, type(made) is Mapping
                continue
            elif kind in ends:
                inner = container
                container, key, key_event, anchor, before = stack.pop()
                is_mapping = type(container) is Mapping
                if anchor is not None:
                    # Only now: an alias inside the value it stands for would make a value without end.
                    self.anchors[anchor] = (inner, self.nodes - before + 1)
                continue
            elif kind is events.AliasEvent:
                value = self._alias(event)
                if is_mapping and key_event is None:
                    key, key_event = self._alias_key(value, event), event
                    continue
            else:
                continue
            self.nodes += 1
            if self.nodes > NODES:
                self._stop(event, f"more than {NODES} values in one document", "split it")
            if is_mapping:
                container[key] = value
                container.marks[key] = (key_event, event)
                key_event = None
            else:
                self._attach(container, key, None, value, event)

    def _attach(
        self, container: Mapping | Sequence | None, key: str, key_event: Event | None, value: Any, event: Event
    ) -> None:
        if type(container) is Mapping and key_event is not None:
            container[key] = value
            container.marks[key] = (key_event, event)
        elif type(container) is Sequence:
            container.append(value)
            container.marks.append(event)
        else:
            self.reading.root, self.reading.start = value, event

    def _key(self, container: Mapping, event: Any) -> None:
        text = event.value
        if text in container:
            first = container.marks[text][0].start_mark.line + 1
            self._find(
                event, f"the key {wording.show(text)} stands here a second time, first in line {first}", "remove one of them"
            )
        elif not event.implicit[0]:
            self._check(text, event)
        elif text == "<<":
            self._find(event, "merge keys (<<) are not allowed", "write the fields out")
        elif (meaning := scalars.resolve(text)) is not text:
            doubt = meaning if isinstance(meaning, Doubt) else Doubt(text=text, reading="a value that is not text", plain="")
            self.reading.doubts.append((container, text, event, doubt))

    def _complex_key(self, container: Mapping, event: Any) -> str:
        outer, inner = container.start.start_mark, event.start_mark
        if event.flow_style and (outer.line, outer.column + 1) == (inner.line, inner.column):
            self._find(container.start, "a template in {{ }} is not filled in here", "write the value, or quote it")
        else:
            self._find(event, "a key must be text, this one is a mapping or a list", "write the key as text")
        return "?"

    def _alias_key(self, value: Any, event: Any) -> str:
        self._find(event, "a key must be written out", "replace the alias by its text")
        return value if isinstance(value, str) else "?"

    def _plain(self, container: Mapping | Sequence | None, key: str, event: Any) -> Any:
        value = scalars.resolve(event.value)
        if isinstance(value, Doubt):
            if container is not None:
                at: Key = key if isinstance(container, Mapping) else len(container)
                self.reading.doubts.append((container, at, event, value))
            return event.value
        return value

    def _open(self, event: Any, depth: int) -> Mapping | Sequence:
        if event.tag is not None:
            self._tag(event)
        if depth >= DEPTH:
            self._stop(event, f"nested deeper than {DEPTH} levels", "flatten the document")
        self.nodes += 1
        made: Mapping | Sequence
        if type(event) is events.MappingStartEvent:
            made = Mapping()
            made.marks = {}
        else:
            made = Sequence()
            made.marks = []
        made.start = event
        return made

    def _alias(self, event: Any) -> Any:
        self.aliases += 1
        if self.aliases > ALIASES:
            self._stop(event, f"more than {ALIASES} aliases", "write the values out")
        value, size = self.anchors.get(event.anchor, (None, 0))
        if not size:
            self._find(
                event, f"the alias *{event.anchor[:60]} stands for nothing before it", "write the value out, or quote it"
            )
        self.nodes += size
        if self.nodes > NODES:
            self._stop(event, f"more than {NODES} values in one document", "write fewer aliases")
        return value

    def _check(self, text: str, event: Any) -> None:
        if event.tag is not None:
            self._tag(event)
        if "\0" in text:
            self._find(event, "the text contains a NUL character", "remove it")

    def _tag(self, event: Any) -> None:
        self._find(event, f"the tag {event.tag[:60]} is not allowed", "remove it; quote the value if it is text")

    def _find(self, event: Any, message: str, fix: str) -> None:
        mark = event.start_mark
        self.reading.findings.append(Finding(line=mark.line + 1, column=mark.column + 1, message=message, fix=fix))

    def _stop(self, event: Any, message: str, fix: str) -> None:
        self._find(event, message, fix)
        raise _LimitError
