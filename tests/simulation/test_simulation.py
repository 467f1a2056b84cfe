"""The simulation itself: it gives the same again, it finds what is planted, and it looks at every effect."""

from __future__ import annotations

import pytest

from tests.simulation import fate, mutants, seed, tour


def test_a_seed_gives_the_same_again() -> None:
    assert seed.run(3).trace == seed.run(3).trace


@pytest.mark.parametrize("mutant", mutants.TABLE, ids=lambda mutant: mutant.name)
def test_a_planted_error_is_found(mutant: mutants.Mutant) -> None:
    with mutants.planted(mutant):
        found = next((outcome for number in range(100) if (outcome := seed.run(number)).broken), None)
    assert found is not None, "a hundred seeds have not noticed"
    assert found.broken.startswith(mutant.promises), found.broken


def test_a_mutant_whose_line_is_gone_says_so() -> None:
    rotten = mutants.Mutant(
        name="rotten",
        module="reconciler.loop",
        function="Loop.once",
        line="a line that nobody ever wrote",
        instead="pass",
        promises=(),
    )
    with pytest.raises(AssertionError, match="has rotted"), mutants.planted(rotten):
        pass


def test_the_tour_sees_every_kind_of_effect() -> None:
    points = tour.points()
    seen = {point.what.partition(" ")[2].split(" ")[0] for point in points}
    agents = {"claim", "restore", "start", "write", "commit", "stop", "remove", "journal"}
    assert seen >= agents | {"push:", "ask", "let", "prune"}
    assert {point.fate for point in points if point.fate} == set(fate.REMOTE)
    assert len(points) > 400
    assert len({(point.number, point.fate, point.cut) for point in points}) == len(points)


def test_the_shares_of_all_seeds_are_the_whole_tour() -> None:
    shares = [point for number in range(100) for point in tour.share(number, 100)]
    assert sorted(map(str, shares)) == sorted(map(str, tour.points()))
