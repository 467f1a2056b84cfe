"""One thing wrong at one place of one text: what becomes a `model.Problem` once the file and the object are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LONGEST = 60
"""Characters of a value that a message shows: a pasted key or a binary must not fill the screen, or leak as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """What is wrong, where (1-based), and what to write instead."""

    line: int
    column: int
    message: str
    fix: str = ""


def show(value: Any) -> str:
    """Return `value` as a message shows it: text in quotes, on one line, cut to LONGEST characters."""
    if isinstance(value, str):
        text = "".join(char if char.isprintable() else "·" for char in value[: LONGEST + 1])
        return f'"{text[:LONGEST]}…"' if len(value) > LONGEST else f'"{text}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = str(value)
    return f"{text[:LONGEST]}…" if len(text) > LONGEST else text
