"""One thing wrong at one place of one text: what becomes a `model.Problem` once the file and the object are known."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """What is wrong, where (1-based), and what to write instead."""

    line: int
    column: int
    message: str
    fix: str = ""
