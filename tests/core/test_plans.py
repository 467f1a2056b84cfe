"""Golden plans: one folder a situation, named after what it shows.

`python -m tests.core.test_plans` writes the expected files anew; the difference is then read like any other change.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core import plan
from tests.core import rendering, scene

PLANS = Path(__file__).parent / "plans"
CASES = sorted(folder.name for folder in PLANS.iterdir() if folder.is_dir())


def expected(case: str) -> dict[str, str]:
    """Return what the golden files say: the plan, and what the ledger gains (no file: nothing)."""
    return {
        name: path.read_text(encoding="utf-8") if (path := PLANS / case / name).exists() else ""
        for name in ("plan.txt", "ledger-after.txt")
    }


def computed(case: str) -> dict[str, str]:
    scenery = scene.read(PLANS / case)
    planned = plan.compute(scenery.facts)
    return {"plan.txt": rendering.plan(scenery, planned), "ledger-after.txt": rendering.ledger(scenery, planned)}


@pytest.mark.parametrize("case", CASES)
def test_the_plan_is_the_expected_one(case: str) -> None:
    assert computed(case) == expected(case)


@pytest.mark.parametrize("case", CASES)
def test_every_case_says_what_it_shows(case: str) -> None:
    assert (PLANS / case / "desired.yaml").read_text(encoding="utf-8").startswith("# ")


def rewrite() -> None:
    for case in CASES:
        for name, text in computed(case).items():
            (PLANS / case / name).unlink(missing_ok=True)
            if text:
                (PLANS / case / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    rewrite()
