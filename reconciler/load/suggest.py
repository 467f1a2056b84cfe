"""Did you mean: the word a person probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

CUTOFF = 0.6
"""Likeness below which a suggestion confuses more than it helps (difflib's ratio)."""

SHORTEST = 3
"""Letters of a beginning that stand for the whole word."""

LONGEST = 100
"""Longer words are not compared: the comparison takes quadratic time, and nobody misspells a page."""


def closest(word: str, choices: Iterable[str]) -> str:
    """Return the choice most like `word`, whatever its case and separators, or "" when none is near."""
    if len(word) > LONGEST:
        return ""
    plain = {_plain(choice): choice for choice in choices}
    begun = [choice for choice in plain if len(word) >= SHORTEST and choice.startswith(_plain(word))]
    if begun:
        return plain[min(begun, key=len)]
    found = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=CUTOFF)
    return plain[found[0]] if found else ""


def _plain(word: str) -> str:
    return word.casefold().replace("_", "").replace("-", "").replace(" ", "")


def fix(word: str, choices: Iterable[str], *, lead: str = "one of") -> str:
    """Return the text that follows a problem: the nearest choice, or all of them where they are few."""
    known = list(choices)
    if near := closest(word, known):
        return f"did you mean {near}?"
    shown = ", ".join(known[:12])
    return f"{lead}: {shown}{', …' if len(known) > 12 else ''}" if known else ""
