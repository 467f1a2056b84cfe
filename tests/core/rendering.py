"""What a golden file shows of a plan: the text people read, what is noted, when to look again, and what the ledger gains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reconciler.core import action, codec, explain, record
from tests.core import scene


def plan(scenery: scene.Scene, planned: action.Plan) -> str:
    """Return the golden text of a plan, with run ids replaced by aliases."""
    parts = [explain.as_text(planned, everything=True)]
    asked = [f"  {_asked(act)}" for act in planned.actions if act.assignment is not None]
    parts += ["\nAsked of hosts:\n", "\n".join(asked), "\n"] if asked else []
    parts += ["\nNoted:\n", "\n".join(f"  {line.what}: {line.say}" for line in planned.lines), "\n"] if planned.lines else []
    if planned.wake_at is not None:
        parts.append(f"\nLook again in {planned.wake_at - scenery.facts.now:g} s.\n")
    return _aliased("".join(parts), scenery)


def ledger(scenery: scene.Scene, planned: action.Plan) -> str:
    """Return what the plan's records change: one line a member."""
    lines: list[str] = []
    for run, after in sorted(planned.records.items(), key=lambda pair: scenery.aliases.get(pair[0], pair[0])):
        before = scenery.facts.records.get(run)
        lines.append(f"{scenery.aliases.get(run, run)}:")
        lines += [f"  {path}: {text}" for path, text in _differences(before, after)]
    return _aliased("\n".join(lines) + "\n" if lines else "", scenery)


def _asked(act: action.Action) -> str:
    assert act.assignment is not None
    wanted = act.assignment
    request = wanted.request
    tail = f" from {wanted.spec.restore}" if wanted.spec.restore else ""
    if request is not None:
        tail += f" with checkpoint {request.id}" + (", then stop" if request.then_stop else "")
    return f"{wanted.spec.host}: {wanted.want.value} {wanted.spec.job}/{wanted.spec.attempt}{tail}"


def _differences(before: record.Record | None, after: record.Record) -> list[tuple[str, str]]:
    old = _flat(codec.plain(before)) if before else {}
    new = _flat(codec.plain(after))
    if before is None:
        new = {path: value for path, value in new.items() if path.startswith(("phase", "reason", "attempts", "checkpoints"))}
    lines = [
        (path, "gone" if path not in new else json.dumps(new[path], ensure_ascii=False))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]
    if after.pending is None and before is not None and before.pending is not None:
        lines = [*(line for line in lines if not line[0].startswith("pending.")), ("pending", "gone")]
    return sorted(lines)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        inner = ((f"{path}.{name}" if path else name, each) for name, each in value.items())
        return {key: leaf for name, each in inner for key, leaf in _flat(each, name).items()}
    if isinstance(value, list | tuple) and value:
        return {key: leaf for index, each in enumerate(value) for key, leaf in _flat(each, f"{path}[{index}]").items()}
    empty = value is None or value is False or (isinstance(value, str | list | tuple | Mapping) and not value)
    return {} if empty else {path: value}


def _aliased(text: str, scenery: scene.Scene) -> str:
    for run, alias in scenery.aliases.items():
        text = text.replace(run[:12], f"<{alias}>")
    return text
