"""Golden plans: one folder a situation, named after what it shows.

`python -m tests.core.test_plans` writes the expected files anew; the difference is then read like any other change.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reconciler.core import action, plan
from tests.core import rendering, scene

PLANS = Path(__file__).parent / "plans"
CASES = sorted(folder.name for folder in PLANS.iterdir() if folder.is_dir())


def computed(case: str) -> tuple[scene.Scene, action.Plan]:
    scenery = scene.read(PLANS / case)
    return scenery, plan.compute(scenery.facts)


@pytest.mark.parametrize("case", CASES)
def test_the_plan_is_the_expected_one(case: str) -> None:
    scenery, planned = computed(case)
    assert rendering.plan(scenery, planned) == (PLANS / case / "plan.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_the_ledger_gains_what_is_expected(case: str) -> None:
    scenery, planned = computed(case)
    path = PLANS / case / "ledger-after.txt"
    assert rendering.ledger(scenery, planned) == (path.read_text(encoding="utf-8") if path.exists() else "")


def rewrite() -> None:
    for case in CASES:
        scenery, planned = computed(case)
        (PLANS / case / "plan.txt").write_text(rendering.plan(scenery, planned), encoding="utf-8")
        after = rendering.ledger(scenery, planned)
        path = PLANS / case / "ledger-after.txt"
        path.unlink(missing_ok=True)
        if after:
            path.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    rewrite()
    sys.exit(0)
