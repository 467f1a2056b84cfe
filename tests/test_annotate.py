"""The published observation: what is read back, what records hold anyway, how often it is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from reconciler import annotate
from reconciler.contracts import ledger
from reconciler.core import facts, model, observed, spec
from reconciler.ledger.fake import FakeLedger

REF = spec.AttemptRef(run="5f0c" * 8, attempt=2)


def world(at: float = 1000.0) -> observed.World:
    taken = observed.Taken(digest="sha256:00", attempt=2, taken_at=990.0)
    item = observed.Item(
        ref=REF,
        state=observed.ItemState.RUNNING,
        host="alpha",
        spec=spec.AttemptSpec(
            instance="i",
            run=REF.run,
            attempt=2,
            tenant="t",
            job="j",
            replica=0,
            revision="r",
            workload=model.Workload(),
        ),
        started_at=900.0,
        progress=observed.Progress(step=0, of=5, at=999.0),
        first_step=0,
        checkpoints=(taken,),
    )
    view = observed.HostView(state=observed.HostState(host="alpha", items=(item,)), seen_at=at)
    objects = {spec.AttemptRef(run=REF.run, attempt=1): "task running, wanted shutdown"}
    target = observed.TargetView(name="machines", hosts={"alpha": view}, items={REF: item}, objects=objects)
    silence = observed.Silence(since=900.0, tries=2)
    return observed.World(at=at, targets={"machines": target}, unheard={("machines", "beta"): silence})


def test_what_is_published_is_read_back_less_what_records_hold() -> None:
    known = world()
    read = annotate.read(annotate.published(known))
    item = known.targets["machines"].items[REF]
    assert read.targets["machines"].items == {REF: dataclasses.replace(item, spec=None, checkpoints=())}
    assert read.targets["machines"].hosts["alpha"].state.items == ()
    assert read.targets["machines"].objects == known.targets["machines"].objects
    assert (read.at, read.unheard) == (known.at, known.unheard)


def test_others_may_publish_more() -> None:
    item = world().targets["machines"].items[REF]
    read = annotate.read(annotate.published(world(), frozenset({"spec"})))
    assert read.targets["machines"].items == {REF: dataclasses.replace(item, spec=None)}


STORE = observed.StoreView(name="main", checkpoints={REF.run: (observed.Taken(digest="sha256:00", attempt=2, taken_at=990.0),)})
LOST = observed.StoreView(name="gone", known=False, error="/mnt/gone is not mounted")


def test_of_stores_only_what_is_wrong_is_published_and_all_of_it_to_those_nearby() -> None:
    known = dataclasses.replace(world(), stores={"main": STORE, "gone": LOST})
    assert annotate.read(annotate.published(known)).stores == {"gone": LOST}
    assert annotate.read(annotate.published(known, frozenset({"spec"}))).stores == known.stores


def test_a_store_that_is_lost_or_found_again_is_published_although_nothing_else_is_written() -> None:
    lost = dataclasses.replace(world(), stores={"gone": LOST})
    book, found = FakeLedger(), list[bool]()
    snapshot = ledger.Snapshot(observed=annotate.published(world(0.0)))
    recorder = annotate.Recorder(book)
    for at, now in enumerate((lost, lost, world(), world())):
        seen = dataclasses.replace(now, at=100.0 * (at + 1))
        given = facts.Facts(instance="i", desired=model.Desired(revision="r"), records={}, world=seen, now=seen.at)
        before = len([change for change in book.changes if change.observed is not None])
        answer = recorder.record(snapshot, given, {}, (), "")
        assert isinstance(answer, ledger.Snapshot)
        snapshot = answer
        found.append(len([change for change in book.changes if change.observed is not None]) > before)
    assert found == [True, False, True, False]


def test_a_large_observation_is_published_less_often() -> None:
    assert _published_at(size=0, seconds=(9.0, 10.0)) == [10.0]
    assert _published_at(size=60 * annotate.PUBLISH_RATE, seconds=(10.0, 59.0, 61.0)) == [61.0]


def _published_at(size: int, seconds: Sequence[float]) -> list[float]:
    """When an observation is published again, where the one before has `size` bytes and each pass writes something else."""
    found: list[float] = []
    first = annotate.published(world(0.0))
    snapshot = ledger.Snapshot(observed=first + b" " * size)
    for now in seconds:
        book = FakeLedger()
        recorder = annotate.Recorder(book)
        given = facts.Facts(instance="i", desired=model.Desired(revision="r"), records={}, world=world(now), now=now)
        recorder.record(snapshot, given, {}, (), "")
        found += [now for change in book.changes if change.observed is not None]
    return found
