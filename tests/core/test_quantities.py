"""Durations, cores, bytes and moments, and the ones that people meant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from reconciler import data
from reconciler.core import quantities


@pytest.mark.parametrize(
    ("text", "value"),
    [("30s", 30.0), ("5m", 300.0), ("2h", 7200.0), ("1d", 86400.0), ("1h30m", 5400.0), ("500ms", 0.5), ("1m500ms", 60.5)],
)
def test_durations(text: str, value: float) -> None:
    assert quantities.seconds(text) == value
    assert quantities.duration(value) == text


@hypothesis.settings(deadline=None, database=None, derandomize=True)
@hypothesis.given(strategies.integers(1, 10**9))
def test_a_duration_is_read_as_it_is_written(milliseconds: int) -> None:
    assert round(quantities.seconds(quantities.duration(milliseconds / 1000)) * 1000) == milliseconds


@pytest.mark.parametrize(("given", "value"), [("500m", 500), ("2", 2000), (2, 2000), (0.5, 500), ("1.5", 1500), (2.0, 2000)])
def test_cores(given: str | float, value: int) -> None:
    assert quantities.millicores(given) == value


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("512Mi", 512 << 20),
        ("1Gi", 1 << 30),
        ("1.5Gi", 3 << 29),
        ("1k", 1000),
        ("2M", 2_000_000),
        (1000, 1000),
        ("7", 7),
        ("0.1", 1),
    ],
)
def test_bytes(given: str | int, value: int) -> None:
    assert quantities.size(given) == value


def test_moments() -> None:
    assert quantities.moment("1970-01-01T00:01:00Z") == 60.0
    assert quantities.moment("1970-01-01t01:00:00.500+01:00") == 0.5
    with pytest.raises(ValueError, match="day"):
        quantities.moment("2030-02-31T00:00:00Z")
    with pytest.raises(OverflowError):
        quantities.moment("9999-12-31T23:59:59-01:00")  # in UTC that is a year of five digits, which no output can hold


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (30, "30s"),
        ("5 minutes", "5m"),
        ("5min", "5m"),
        ("2 hrs", "2h"),
        ("1.5h", "1h30m"),
        ("3 days", "3d"),
        ("soon", ""),
        (True, ""),
        ("0 s", ""),
    ],
)
def test_the_duration_that_was_meant(given: object, meant: str) -> None:
    assert quantities.proper_duration(given) == meant


@pytest.mark.parametrize(
    ("given", "meant"),
    [("512MB", "512M"), ("1gi", "1Gi"), ("2 GiB", "2Gi"), ("5 bytes", "5"), ("10kb", "10k"), ("much", ""), (5, "")],
)
def test_the_size_that_was_meant(given: object, meant: str) -> None:
    assert quantities.proper_size(given) == meant


@pytest.mark.parametrize(
    ("pattern", "title"), [("DURATION", "a duration"), ("CORES", "a number of cores"), ("BYTES", "a size")]
)
def test_flags_and_manifests_take_the_same_texts(pattern: str, title: str) -> None:
    wanted = f"^{getattr(quantities, pattern).pattern}$"
    found = [
        form["pattern"]
        for file in ("job", "store", "config")
        for form in _forms(json.loads((resources.files(data) / "schemas" / f"{file}.json").read_text()))
        if form.get("title", "").startswith(f"{title} such as") and "pattern" in form
    ]
    assert found
    assert set(found) == {wanted}


def _forms(part: Any) -> Iterator[dict[str, Any]]:
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _forms(inner)
    if isinstance(part, dict):
        yield part
