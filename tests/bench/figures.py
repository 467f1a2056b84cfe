"""What a benchmark says: series of measured values, each with the bound it must keep, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import json
import operator
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What the median of a series must keep."""

    sign: str
    limit: float

    def kept(self, median: float) -> bool:
        """Whether a median keeps it."""
        return _HOLDS[self.sign](median, self.limit)

    def __str__(self) -> str:
        return f"{self.sign} {self.limit:g}"


_HOLDS: dict[str, Callable[[float, float], bool]] = {"≤": operator.le, "≥": operator.ge}


def at_most(limit: float) -> Bound:
    """The median may not be above `limit`."""
    return Bound(sign="≤", limit=limit)


def at_least(limit: float) -> Bound:
    """The median may not be below `limit`."""
    return Bound(sign="≥", limit=limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One thing, measured again and again."""

    what: str
    unit: str
    values: Sequence[float]
    bound: Bound | None = None
    """None: shown for comparison only."""

    @property
    def median(self) -> float:
        """The median of the values."""
        return statistics.median(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the bound is kept; None where there is none."""
        return None if self.bound is None else self.bound.kept(self.median)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One piece of work and all that was measured of it."""

    work: str
    series: tuple[Series, ...]
    note: str = ""
    """What a reader must know about the method or the machine."""


def ratios(what: str, ours: Sequence[float], peer: Sequence[float], bound: Bound | None = None) -> Series:
    """Return ours divided by the peer's, pair by pair: what else the machine did meanwhile concerns both halves of a pair."""
    return Series(what=what, unit="×", values=[one / other for one, other in zip(ours, peer, strict=True)], bound=bound)


HEADER = ("", "unit", "minimum", "median", "maximum", "bound", "")


def table(figure: Figure) -> str:
    """Return a figure as text."""
    rows = [HEADER, *(_row(series) for series in figure.series)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = [figure.work]
    for row in rows:
        first, unit, *numbers, last = row
        cells = [first.ljust(widths[0]), unit.ljust(widths[1])]
        cells += [cell.rjust(width) for cell, width in zip(numbers, widths[2:-1], strict=True)]
        lines.append(("  " + "  ".join([*cells, last])).rstrip())
    return "\n".join([*lines, *([f"  {figure.note}"] if figure.note else [])])


def document(figures: Iterable[Figure], about: dict[str, Any]) -> str:
    """Return figures as JSON, with every value that was measured; `about` says on what and when."""
    return json.dumps({"v": 1, **about, "figures": [_plain(figure) for figure in figures]}, indent=2, ensure_ascii=False)


def _row(series: Series) -> tuple[str, ...]:
    verdict = {None: "", True: "reached", False: "NOT REACHED"}[series.reached]
    numbers = (min(series.values), series.median, max(series.values))
    bound = str(series.bound) if series.bound else ""
    return (series.what, series.unit, *map(_number, numbers), bound, verdict)


def _plain(figure: Figure) -> dict[str, Any]:
    series = [
        {**dataclasses.asdict(one), "values": list(one.values), "median": one.median, "reached": one.reached}
        for one in figure.series
    ]
    return {"work": figure.work, "note": figure.note, "series": series}


def _number(value: float) -> str:
    """Three digits that count, never an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
