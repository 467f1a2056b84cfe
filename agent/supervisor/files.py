"""The files by which agent and supervisor speak, and how they are written so that a crash leaves the old or the new content."""

from __future__ import annotations

import json
import os
from typing import Any

LAUNCH = "launch.json"
STARTED = "started.json"
ENDING = "ending.json"
RESULT = "result.json"
LOCK = "lock"
CONTROL = "control"
"""FIFO; one JSON object a line: {"stop": seconds of grace}, {"signal": "SIGUSR1"}, {"timeout": seconds or null}.
It has a reader exactly as long as a supervisor lives."""
OUTPUT = "output"
"""FIFO that is the program's stdout and stderr. The program holds it open for reading too, so it survives its supervisor."""
TRACE = "supervisor.log"

NEEDED = {
    STARTED: ("pid", "start", "boot", "at", "monotonic"),
    ENDING: ("why", "detail"),
    RESULT: ("kind", "at", "gone"),
}
"""Members without which what a file holds is not what was written."""


def write(folder: str, name: str, value: dict[str, Any]) -> None:
    """Replace a file; on return it is on the disk. Raises OSError, with the old content standing."""
    path = os.path.join(folder, name)
    partial = f"{path}.partial-{os.getpid()}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        file.write(json.dumps(value, sort_keys=True).encode())
        file.flush()
        os.fsync(descriptor)
    os.replace(partial, path)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read(folder: str, name: str) -> dict[str, Any] | None:
    """Return the object in a file, None when there is none, or none that can be read (see `there`)."""
    try:
        with open(os.path.join(folder, name), "rb") as file:
            value = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and all(key in value for key in NEEDED.get(name, ())) else None


def there(folder: str, name: str) -> bool:
    """Whether there is such a file, whether or not it can be read: a record that is damaged is not a record that is missing."""
    return os.path.lexists(os.path.join(folder, name))
