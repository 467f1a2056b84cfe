"""Where a value of a document stands in its text."""

from __future__ import annotations

from typing import Any

from reconciler.load.nodes import Mapping, Reading, Sequence

Path = tuple[str | int, ...]


def place(reading: Reading, path: Path, *, key: bool = False) -> tuple[int, int]:
    """Return line and column (1-based) of the value at `path`, or of its key; of what encloses it where it is absent."""
    container: Any = reading.root
    event = reading.start
    for step in path:
        if isinstance(container, Mapping) and step in container.marks:
            own_key, own_value = container.marks[str(step)]
            event = own_key if key else own_value
        elif isinstance(container, Sequence) and isinstance(step, int) and step < len(container.marks):
            event = container.marks[step]
        else:
            break
        container = container[step]
    if event is None:
        return 1, 1
    return event.start_mark.line + 1, event.start_mark.column + 1


def word(reading: Reading, path: Path) -> str:
    """Return the text of the scalar at `path` as it was written, without quotes, or "" for anything else."""
    container = value(reading.root, path[:-1])
    step = path[-1] if path else None
    if isinstance(container, Mapping) and step in container.marks:
        return str(getattr(container.marks[str(step)][1], "value", ""))
    if isinstance(container, Sequence) and isinstance(step, int) and step < len(container.marks):
        return str(getattr(container.marks[step], "value", ""))
    return ""


def dotted(path: Path) -> str:
    """Return a path as messages write it: spec.workload.volumes[0].target."""
    text = ""
    for step in path:
        part = str(step) if isinstance(step, int) else step[:60]
        text += f"[{part}]" if isinstance(step, int) else f".{part}" if text else part
    return text or "the document"


def value(root: Any, path: Path) -> Any:
    """Return the value at `path` of a document that may have any form, or None."""
    for step in path:
        if isinstance(root, dict):
            root = root.get(step)
        elif isinstance(root, list) and isinstance(step, int) and step < len(root):
            root = root[step]
        else:
            return None
    return root
