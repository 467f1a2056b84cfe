"""A plugin of pytest in the guest: a lab there, whose nodes lie over the guest's own root, and ten times the patience.

Looks are as far apart, too: with one emulated processor, what asks keeps what is asked about from getting anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import conditions
from tests.lab import cache
from tests.lab.cache import Cache

PLACE = Path("/var/cache/perdure")
SLOWER = 10.0
BETWEEN = 2.0
"""Seconds between two looks, at least."""

_eventually = conditions.eventually


class Whole(Cache):
    """A cache whose only layer is the machine's own root."""

    @property
    def lower(self) -> str:
        """The `lowerdir` of a node."""
        return "/"


def patiently(predicate: Callable[[], Any], timeout: float = 30.0, interval: float = 0.02, *more: Any, **named: Any) -> Any:
    """`conditions.eventually` on a machine that is emulated."""
    return _eventually(predicate, timeout * SLOWER, max(interval * SLOWER, BETWEEN), *more, **named)


cache.PLACE = PLACE
cache.ensure = lambda say=None: Whole(place=PLACE)
conditions.eventually = patiently
