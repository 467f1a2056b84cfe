"""What is listed of many checkpoints: what a person looks for, and how many others there are."""

from __future__ import annotations

import dataclasses

import click

from reconciler.cli import checkpoints
from reconciler.contracts import store
from reconciler.core import model, observed, record
from tests.cli.test_view import RUN

MAIN = model.StoreSpec(name="main", root="/store")


def digest(step: int) -> str:
    return f"sha256:{step:064x}"


def saved(step: int, **changed: object) -> record.Saved:
    taken = observed.Taken(digest=digest(step), attempt=1, taken_at=float(step), step=step, logical_bytes=1024)
    return record.Saved(taken=taken, **changed)  # type: ignore[arg-type]


def many() -> record.Record:
    """Two hundred, of which the last ten are kept; three of the old ones matter."""
    marks: dict[int, dict[str, object]] = {
        5: {"pinned_by": ("before-upgrade",)},
        6: {"damaged": True, "tombstoned_at": 300.0},
    }
    each = [saved(step, **marks.get(step, {} if step > 190 else {"tombstoned_at": 300.0})) for step in range(1, 201)]
    first = RUN.attempts[0]
    second = dataclasses.replace(first, number=2, restored_from=digest(7))
    return dataclasses.replace(RUN, store=MAIN, attempts=(first, second), checkpoints=tuple(each))


def steps(text: str) -> list[int]:
    return [int(line.partition("step ")[2].partition(",")[0]) for line in text.splitlines() if "step " in line]


def test_the_newest_and_the_marked_are_listed_and_the_others_counted() -> None:
    told = checkpoints._trees([many()], wide=False, every=False)
    assert steps(told) == [5, 6, 7, 198, 199, 200]
    assert "│  └─ 7 more kept, 187 superseded, to be deleted: --all lists them" in told.splitlines()
    assert "[pinned by before-upgrade]" in told
    assert "[to be deleted, damaged]" in told


def test_all_are_listed_on_demand_and_for_programs() -> None:
    told = checkpoints._trees([many()], wide=True, every=True)
    assert steps(told) == list(range(1, 201))
    assert "--all" not in told
    assert len(checkpoints._machine(many())["checkpoints"]) == 200


def test_few_need_no_summary() -> None:
    told = checkpoints._trees([dataclasses.replace(many(), checkpoints=(saved(1), saved(2)))], wide=False, every=False)
    assert steps(told) == [1, 2]
    assert "--all" not in told


def test_verdicts_name_the_bad_and_count_the_good() -> None:
    places = [checkpoints.Place(digest=digest(step), job="train", store=MAIN) for step in range(1, 101)]
    results = [
        (place, store.Verified(digest=place.digest, ok=place is not places[3], problems=(), logical_bytes=1024))
        for place in places
    ]
    told = [line.split() for line in click.unstyle(checkpoints._verdicts(results, every=False)).splitlines()]
    assert [line[0] for line in told] == ["STATE", "bad", "good"]
    assert told[2][1:] == ["99", "in", "all", "train", "main", "99.0", "KiB"]
    assert len(checkpoints._verdicts(results, every=True).splitlines()) == 101
