"""Fixtures of the store's tests."""

from __future__ import annotations

import pytest

from reconciler.contracts import store
from reconciler.storage import index, packs


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several packs and sections in a small image, so that every step happens more than once."""
    monkeypatch.setattr(packs, "UNITS", 16)
    monkeypatch.setattr(packs, "LARGEST", 16 * store.UNIT)
    monkeypatch.setattr(packs, "PACK", 100_000)
    monkeypatch.setattr(index, "SECTION_UNITS", 20)
