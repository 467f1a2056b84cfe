"""The manifests that the benchmarks use are what they say they are."""

from __future__ import annotations

import random
from pathlib import Path

from reconciler import load
from reconciler.load import paths
from tests.bench import manifests


def test_generated_manifests_are_valid_distinct_and_of_forty_lines(tmp_path: Path) -> None:
    manifests.write(tmp_path, 50, seed=1)
    [tree] = paths.trees([tmp_path])
    desired = load.revision(tree)
    assert desired.problems == ()
    assert len(desired.jobs) == 50
    texts = {file.read_text() for file in (tmp_path / "jobs").iterdir()}
    assert len(texts) == 50
    assert {text.count("\n") for text in texts} == {manifests.LINES}


def test_the_same_seed_writes_the_same() -> None:
    assert manifests.job(1, random.Random(5)) == manifests.job(1, random.Random(5))
