"""How a message shows a value of a manifest."""

from __future__ import annotations

from typing import Any

LONGEST = 60
"""Characters of a value that a message shows: a pasted key or a binary must not fill the screen, or leak as a whole."""


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
