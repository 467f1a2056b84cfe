"""What a reader sees of what the observation does not have yet, and of stores, which a reader does not ask."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from reconciler.cli import selection, standing, view
from reconciler.contracts import ledger
from reconciler.core import lineage, model, observed, record, spec
from tests.core import runs

REF = spec.AttemptRef(run="run", attempt=1)
RUN = runs.of(
    runs.JOB,
    record.Attempt(number=1, target="machines", host="a", intended_at=1.0, started_at=2.0, seen=(5, 7)),
    phase=record.Phase.RUNNING,
)


def world(session: int, generation: int) -> observed.World:
    state = observed.HostState(host="a", session=session, generation=generation)
    hosts = {"a": observed.HostView(state=state, seen_at=1.0)}
    return observed.World(at=1.0, targets={"machines": observed.TargetView(name="machines", hosts=hosts)})


def test_an_attempt_that_started_after_the_observation_is_taken_as_running() -> None:
    caught_up = view.caught_up(world(5, 6), [RUN])
    item = caught_up.targets["machines"].items[REF]
    assert (item.state, item.host, item.started_at) == (observed.ItemState.RUNNING, "a", 2.0)


def test_so_is_one_on_a_host_that_was_not_observed_yet() -> None:
    nothing = observed.World(at=1.0, targets={"machines": observed.TargetView(name="machines")})
    assert "a" in view.caught_up(nothing, [RUN]).targets["machines"].hosts


def test_a_newer_observation_that_lacks_it_is_believed() -> None:
    assert REF not in view.caught_up(world(5, 8), [RUN]).targets["machines"].items


def test_a_target_that_could_not_be_listed_stays_unknown() -> None:
    failed = dataclasses.replace(world(5, 6).targets["machines"], known=False)
    before = observed.World(at=1.0, targets={"machines": failed})
    assert view.caught_up(before, [RUN]) == before


def _stores(at: float, *stores: observed.StoreView) -> Mapping[str, observed.StoreView]:
    saved = tuple(record.Saved(taken=taken) for taken in (FIRST, SECOND))
    run = dataclasses.replace(RUN, store=model.StoreSpec(name="main", root="/m"), checkpoints=saved)
    return view.stores([run], observed.World(at=at, stores={store.name: store for store in stores}))


FIRST = observed.Taken(digest="sha256:01", attempt=1, taken_at=10.0)
SECOND = observed.Taken(digest="sha256:02", attempt=1, taken_at=20.0)
WITHOUT_SECOND = observed.StoreView(name="main", checkpoints={"run": (FIRST,)})


def test_a_store_that_nobody_asked_is_as_the_ledger_knows_it() -> None:
    known = _stores(30.0)["main"]
    assert (known.checkpoints, known.named) == (
        {"run": (FIRST, SECOND)},
        {RUN.tenant: {each.digest: dataclasses.replace(each, attempt=0) for each in (FIRST, SECOND)}},
    )


def test_a_store_that_the_loop_cannot_list_is_unknown_with_its_reason() -> None:
    lost = observed.StoreView(name="main", known=False, error="/m is not mounted")
    assert _stores(30.0, lost) == {"main": lost}


def test_a_checkpoint_that_the_loop_was_not_offered_is_not_offered_to_readers() -> None:
    assert _stores(30.0, WITHOUT_SECOND)["main"] == WITHOUT_SECOND


def test_one_that_was_taken_since_the_loop_looked_is() -> None:
    assert _stores(15.0, WITHOUT_SECOND)["main"].checkpoints == {"run": (FIRST, SECOND)}


def test_a_run_does_not_continue_from_the_checkpoint_of_another() -> None:
    """Runs of one store and tenant that both have an attempt of that number: a number says nothing without its run."""
    store = model.StoreSpec(name="main", root="/m")
    ours = dataclasses.replace(RUN, store=store, checkpoints=(record.Saved(taken=FIRST),))
    other = dataclasses.replace(RUN, run="other", job="other", store=store, checkpoints=(record.Saved(taken=SECOND),))
    kept = view.stores([ours, other], observed.World(at=30.0))["main"]
    offered = (*kept.named[RUN.tenant].values(), *kept.checkpoints["run"])
    assert lineage.latest(ours, offered) == FIRST


def test_what_a_run_has_saved_is_what_it_would_continue_from() -> None:
    """A checkpoint that a restore found damaged is none."""
    damaged = record.Saved(taken=SECOND, damaged=True)
    run = dataclasses.replace(RUN, checkpoints=(record.Saved(taken=FIRST), damaged))
    seen = view.View(instance="i", now=30.0, desired=None, snapshot=ledger.Snapshot(), world=observed.World(at=30.0))
    subject = selection.Subject(key=("default", "train", 0), job=runs.JOB, run="run", recorded=run)
    assert standing.of(subject, seen).checkpoint == FIRST


def test_a_cause_that_the_evidence_tells_is_not_told_again() -> None:
    said = {
        "checkpoint failed: the store is full. Free space.": "",
        "its output does not reach the store": "its output does not reach the store",
    }
    for condition, besides in said.items():
        run = dataclasses.replace(RUN, condition=condition)
        subject = selection.Subject(key=("default", "train", 0), job=runs.JOB, run="run", recorded=run)
        each = standing.Standing(
            subject=subject,
            phase=run.phase,
            reason="CheckpointFailed",
            sentence="the store is full. Free space; asked again in 4 s",
        )
        assert (standing.conditions(each), standing.besides(each)) == (condition, besides)
