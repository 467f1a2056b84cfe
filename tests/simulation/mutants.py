"""Errors of one line, planted to see that the simulation finds them: a test of the test."""

from __future__ import annotations

import functools
import importlib
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One line of a real module, and what stands in its place."""

    name: str
    module: str
    function: str
    """The function or method whose code is replaced."""
    line: str
    """The text that occurs exactly once in the module."""
    instead: str
    promises: tuple[str, ...]
    """The rules of `watch` one of which must notice."""


TABLE = (
    Mutant(
        name="effect before push",
        module="reconciler.loop",
        function="Loop.once",
        line="recorded = self._recorder.record(snapshot, given, planned.records, planned.lines, wish.notice)",
        instead="tuple(parts.applier.carry_out(planned, planned.records, desired, now)); "
        "recorded = self._recorder.record(snapshot, given, planned.records, planned.lines, wish.notice)",
        promises=("no process starts before its intent is accepted", "no outcome is forgotten before it is in the ledger"),
    ),
    Mutant(
        name="unknown treated as absent",
        module="reconciler.core.situation",
        function="locate",
        line='return Unknown(reason="HostSilent", detail=f"host {attempt.host} is not heard", silence=silence, last=item)',
        instead="return Absent(view=view)",
        promises=("unknown is not absent",),
    ),
    Mutant(
        name="no exclusive claim",
        module="reconciler.storage.claims",
        function="claim",
        line="if files.read_all(disk, place, _LONGEST_OWNER) != content:",
        instead="if not content:",
        promises=("a number has one owner",),
    ),
    Mutant(
        name="rename before fsync",
        module="reconciler.storage.publish",
        function="Publication.prepare",
        line="file.sync()",
        instead="file.size()",
        promises=("a safe checkpoint survives", "no incomplete checkpoint is offered"),
    ),
    Mutant(
        name="manifest before data",
        module="reconciler.storage.packs",
        function="PackWriter.seal",
        line="self._file.sync()",
        instead="self._file.size()",
        promises=("a safe checkpoint survives", "no incomplete checkpoint is offered"),
    ),
    Mutant(
        name="an old attempt publishes",
        module="reconciler.storage.claims",
        function="check",
        line="if max(numbers) > ref.attempt:",
        instead="if not numbers:",
        promises=("a superseded attempt publishes nothing",),
    ),
)


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """Have the mutant's function run in place of the real one. Raises `AssertionError` when the line is not there once."""
    module = importlib.import_module(mutant.module)
    path = Path(cast("str", module.__file__))
    text = path.read_text(encoding="utf-8")
    count = text.count(mutant.line)
    assert count == 1, f"mutant {mutant.name!r} has rotted: its line occurs {count} times in {path}"
    function = functools.reduce(getattr, mutant.function.split("."), cast("object", module))
    assert isinstance(function, types.FunctionType)
    code = _find(compile(text.replace(mutant.line, mutant.instead), str(path), "exec"), mutant.function)
    assert code != function.__code__, f"mutant {mutant.name!r} changes nothing in {mutant.function}"
    real, function.__code__ = function.__code__, code
    try:
        yield
    finally:
        function.__code__ = real


def _find(code: types.CodeType, name: str) -> types.CodeType:
    """Return the code of the function called `name` in a compiled module."""
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    for each in inner:
        if each.co_qualname == name:
            return each
    return next(found for each in inner if name.startswith(f"{each.co_qualname}.") for found in [_find(each, name)])
