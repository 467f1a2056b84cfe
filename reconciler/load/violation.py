"""One thing that is wrong with one value of a document, before it is known where the value stands."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.load.places import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing the schema refuses."""

    path: Path
    """The value concerned; for an unknown or missing field its own path."""
    at_key: bool = False
    """Point to the key and not to the value."""
    message: str
    fix: str = ""
    missing: bool = False
    """It is about a field that is not there."""
