"""Every mistake in a manifest, and the words in which it is told. `python -m tests.load.test_problems` rewrites them."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler import load
from tests.load import fixtures

CASES = sorted(fixtures.BAD.glob("*.yaml"))


def told(case: Path) -> str:
    """The problems of one file that stands beside a Target, a Store, a Pool and some code."""
    desired = load.revision(fixtures.with_infrastructure({case.name: case.read_bytes()}))
    return "".join(f"{problem}\n" for problem in desired.problems)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.stem) for case in CASES])
def test_each_problem_has_its_place_its_reason_and_its_remedy(case: Path) -> None:
    assert told(case) == case.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", [pytest.param(case, id=case.stem) for case in CASES])
def test_no_problem_prints_much_of_a_value(case: Path) -> None:
    assert max(len(line) for line in told(case).splitlines()) < 450


def test_there_are_cases() -> None:
    assert len(CASES) > 20


if __name__ == "__main__":
    for one in CASES:
        one.with_suffix(".txt").write_text(told(one), encoding="utf-8")
