"""Fixtures of the store's tests."""

from __future__ import annotations

import pytest

from reconciler.storage import index, packs


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several packs and sections in a small image, so that every step happens more than once."""
    monkeypatch.setattr(packs, "PACK", 500_000)
    monkeypatch.setattr(index, "SECTION_UNITS", 100)
