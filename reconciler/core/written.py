"""Changed fields as a manifest has them: "256Mi" for bytes, "1h30m" for seconds, and of a mapping only what differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from reconciler.core import classify, quantities

_CODE = "spec.workload.code"
_OF_CODE = ("tree", "entrypoint", "requirements")
"""What `classify` compares of a program, in its order."""


def _moment(value: float) -> str:
    return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


UNITS: dict[str, Callable[[float], str]] = {
    "spec.timeout": quantities.duration,
    "spec.resources.cpu": lambda value: quantities.cores(int(value)),
    "spec.resources.memory": lambda value: quantities.bytes_text(int(value)),
    "spec.checkpoint.interval": quantities.duration,
    "spec.checkpoint.deadline": quantities.duration,
    "spec.checkpoint.maxFrozen": quantities.duration,
    "spec.checkpoint.maxSize": lambda value: quantities.bytes_text(int(value)),
    "spec.suspend.until": _moment,
}
"""How the numbers of a field are written, by its path; others are written as they are."""


def leaves(change: classify.FieldChange) -> Iterator[tuple[str, str, str]]:
    """Yield path, value before and value after of each part that differs; an empty text where there is none."""
    before, after = (json.loads(text) if text else None for text in (change.before, change.after))
    if change.path == _CODE:
        before, after = (dict(zip(_OF_CODE, each, strict=True)) if each else each for each in (before, after))
    if not isinstance(before or after, dict) or not isinstance(after or before, dict):
        yield change.path, _written(change.path, before), _written(change.path, after)
        return
    old, new = before or {}, after or {}
    for key in sorted({*old, *new}):
        path = f"{change.path}.{_camel(key) if change.path in _OURS else key}"
        texts = _written(path, old.get(key)), _written(path, new.get(key))
        if texts[0] != texts[1]:
            yield path, *texts


_OURS = ("spec.checkpoint", "spec.suspend")
"""Mappings whose keys are fields of ours, not names of the author's."""


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(each.capitalize() for each in others)


def _written(path: str, value: object) -> str:
    if value in (None, "", [], {}):  # what is not there, and defaults that mean the same
        return ""
    if path in UNITS and isinstance(value, int | float):
        return UNITS[path](value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
