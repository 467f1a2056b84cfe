"""A hundred seeds, each with its share of the tour's points, and on request thousands."""

from __future__ import annotations

import os

import pytest

from tests.simulation import seed, tour

SEEDS = 100
FOUND = (684,)
"""Of the thousands beyond: those in which a promise was broken once."""


@pytest.mark.parametrize("number", [*range(SEEDS), *FOUND])
def test_every_promise_holds(number: int) -> None:
    outcome = seed.run(number)
    assert not outcome.broken, f"\n{outcome}"


@pytest.mark.parametrize("number", range(SEEDS))
def test_killed_at_every_point_of_the_tour(number: int) -> None:
    for point in tour.share(number, SEEDS):
        outcome = tour.walk(point)
        assert not outcome.broken, f"\n{outcome}"


@pytest.mark.soak
def test_thousands_of_seeds() -> None:
    for number in range(SEEDS, SEEDS + int(os.environ.get("SEEDS", "5000"))):
        outcome = seed.run(number)
        assert not outcome.broken, f"\n{outcome}"
