"""What a pass sees: a look that fails is unknown, and a host that never spoke is awaited by the clock that never jumps."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping

import pytest

from reconciler import errors, observe, registry
from reconciler.contracts import store, target
from reconciler.core import facts, model, observed, record, spec
from reconciler.storage import fake as stores
from reconciler.targets import fake as targets
from tests.core import runs
from tests.simulation import clocks, schedule

STORE = model.StoreSpec(name="main", root="/store")
JOB = model.Job(name="train", target="hosts", workload=model.Workload(command=("true",)))
DESIRED = model.Desired(revision="r", targets={"hosts": model.TargetSpec(name="hosts")}, stores={"main": STORE})
RUN = "1" * 32


def run(**changed: object) -> record.Record:
    attempt = record.Attempt(number=1, target="hosts", host="alpha", intended_at=0.0)
    values: dict[str, object] = {"run": RUN, "phase": record.Phase.RUNNING, "store": STORE, "attempts": (attempt,)}
    return runs.of(JOB, **{**values, **changed})


def look(
    observer: observe.Observer, now: float, monotonic: float, runs: Mapping[str, record.Record], **changed: object
) -> observed.World:
    values = {"desired": DESIRED, "wanted": asked(runs), "records": runs, "now": now, "monotonic": monotonic}
    return observer.observe(observe.Subject(**{**values, **changed}))  # type: ignore[arg-type]


def asked(runs: Mapping[str, record.Record], job: model.Job = JOB) -> facts.Wanted:
    """The runs of the ledger are the ones that the manifests ask for."""
    by_run = {name: (dataclasses.replace(job, name=run.job), 0) for name, run in runs.items()}
    return facts.Wanted(instance="i", by_run=by_run, by_key={run.key: name for name, run in runs.items()})


def observer(of: target.Target, holding: store.Store) -> observe.Observer:
    adapters = registry.Registry(lambda declared: of, lambda declared: holding)
    return observe.Observer(adapters, observe.Parallel(deadline=10.0))


def nobody() -> targets.FakeTarget:
    return targets.FakeTarget("hosts", clocks.Clock(schedule.Schedule(), lambda seconds: None))


def test_an_hour_set_forward_is_not_an_hour_of_silence() -> None:
    watching, runs = observer(nobody(), stores.FakeStore()), {"1" * 32: run()}
    look(watching, 1000.0, 10.0, runs)
    seen = look(watching, 4605.0, 15.0, runs).unheard["hosts", "alpha"]
    assert (seen.since, seen.tries) == (4600.0, 2)


def test_an_hour_set_back_leaves_the_silence_as_long_as_it_was() -> None:
    watching, runs = observer(nobody(), stores.FakeStore()), {"1" * 32: run()}
    look(watching, 5000.0, 10.0, runs)
    assert look(watching, 1480.0, 90.0, runs).unheard["hosts", "alpha"].since == 1400.0


def test_what_a_host_says_of_anothers_attempt_is_seen_by_nobody() -> None:
    class Both:
        def observe(self, at: float) -> observed.TargetView:
            ref = spec.AttemptRef(run=RUN, attempt=1)
            own = observed.Item(ref=ref, state=observed.ItemState.RUNNING, host="alpha")
            lie = dataclasses.replace(own, state=observed.ItemState.ENDED, host="zeta")
            hosts = {
                item.host: observed.HostView(state=observed.HostState(host=item.host, items=(item,)), seen_at=at)
                for item in (own, lie)
            }
            stray = spec.AttemptRef(run="2" * 32, attempt=1)
            items = {ref: lie, stray: dataclasses.replace(lie, ref=stray)}
            return observed.TargetView(name="hosts", hosts=hosts, items=items)

    watching = observer(Both(), stores.FakeStore())  # type: ignore[arg-type]
    seen = look(watching, 5.0, 5.0, {RUN: run()}).targets["hosts"].items
    assert sorted((ref.run[0], item.host, item.state.value) for ref, item in seen.items()) == [
        ("1", "alpha", "running"),
        ("2", "zeta", "ended"),
    ]


def test_while_nobody_is_heard_no_hosts_silence_counts() -> None:
    """The first host that dialled in after the loop's own network had been down ended the attempts of all others."""
    place = nobody()
    place.hosts = {name: targets.FakeHost(name=name) for name in ("alpha", "beta", "gamma")}
    watching, runs = observer(place, stores.FakeStore()), {"1" * 32: run()}

    def alpha(at: float) -> tuple[float | None, int]:
        view = look(watching, 5000.0 + at, at, runs).targets["hosts"].hosts["alpha"]
        return view.silent_since, view.silent_tries

    assert alpha(0.0) == (None, 0)
    for host in place.hosts.values():
        host.silent = True
    assert [alpha(60.0 * count) for count in range(1, 8)] == [(5000.0, count) for count in range(1, 8)]
    place.hosts["beta"].silent = False
    assert [alpha(at) for at in (430.0, 431.0, 440.0)] == [(5370.0, 1), (5370.0, 2), (5370.0, 3)]
    place.hosts["beta"].silent = True
    assert alpha(450.0)[1] == 11
    place.hosts["gamma"].silent = False
    assert [alpha(at) for at in (460.0, 470.0)] == [(5380.0, 4), (5380.0, 5)]
    place.hosts["alpha"].silent = False
    assert alpha(510.0) == (None, 0)
    place.hosts["alpha"].silent = True
    assert alpha(520.0) == (5510.0, 1)


def test_while_nobody_is_heard_nobody_is_awaited_either() -> None:
    place = nobody()
    watching, runs = observer(place, stores.FakeStore()), {"1" * 32: run()}
    for at in (0.0, 200.0, 400.0):
        look(watching, 1000.0 + at, at, runs)
    place.hosts = {"beta": targets.FakeHost(name="beta")}
    for at, tries in ((410.0, 1), (411.0, 2)):
        silence = look(watching, 1000.0 + at, at, runs).unheard["hosts", "alpha"]
        assert (silence.since, silence.tries) == (1410.0, tries)


def test_a_target_that_cannot_be_listed_is_unknown_and_counts_no_silence() -> None:
    broken = nobody()
    broken.unlisted = "it is down"
    seen = look(observer(broken, stores.FakeStore()), 1.0, 1.0, {"1" * 32: run()})
    assert not seen.targets["hosts"].known
    assert seen.unheard == {}


def test_a_store_that_cannot_be_asked_is_unknown() -> None:
    away = stores.FakeStore()
    away.broken = "it is away"
    ended = run(phase=record.Phase.PENDING)
    seen = look(observer(nobody(), away), 1.0, 1.0, {"1" * 32: ended})
    assert (seen.stores["main"].known, "it is away" in seen.stores["main"].error) == (False, True)


def test_what_was_borrowed_from_another_run_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refuse(digest: str) -> stores.FakeImage:
        asked.append(digest)
        raise errors.Refused("not here")

    place = stores.FakeStore()
    monkeypatch.setattr(place, "open", refuse)
    lender = observed.Taken(digest="sha256:lent", attempt=0, taken_at=0.0)
    seen = look(observer(nobody(), place), 1.0, 1.0, {"1" * 32: run(checkpoints=(record.Saved(taken=lender),))})
    assert asked == ["sha256:lent"]
    assert seen.stores["main"].named == {}


@pytest.mark.parametrize("order", [("default", "rival"), ("rival", "default")])
def test_tenants_that_name_the_same_checkpoint_do_not_stand_in_each_others_way(order: tuple[str, ...]) -> None:
    place = stores.FakeStore()
    meta = store.Meta(
        instance="i", tenant="default", job="train", run=RUN, attempt=1, engine="criu", taken_at=1.0, purpose=spec.Purpose.TIMER
    )
    place.claim(spec.AttemptRef(run=RUN, attempt=1), "alpha/1")
    taken, _ = place.writer(meta).commit()
    wanted = {
        f"{number:032x}": (dataclasses.replace(BACK, name=tenant, tenant=tenant, restore_from=taken.digest), 0)
        for number, tenant in enumerate(order, 2)
    }
    of = facts.Wanted(instance="i", by_run=wanted, by_key={})
    seen = look(observer(nobody(), place), 1.0, 1.0, {}, wanted=of).stores["main"]
    assert {tenant: [*named] for tenant, named in seen.named.items()} == {"default": [taken.digest]}


@pytest.mark.parametrize("turned", [False, True])
def test_runs_that_began_under_an_older_declaration_of_a_store_are_asked_for_with_the_others(turned: bool) -> None:
    """A store is where it is declared now: runs go on from there, whatever it was declared as when they began."""
    elsewhere = Listed()
    newer = dataclasses.replace(STORE, root="/moved", retention=86400.0)
    runs = [run(run=name * 32, job=name, phase=record.Phase.PENDING, store=kept) for name, kept in (("1", STORE), ("2", newer))]
    known = {each.run: each for each in (reversed(runs) if turned else runs)}
    adapters = registry.Registry(lambda declared: nobody(), {newer: elsewhere}.__getitem__)
    desired = dataclasses.replace(DESIRED, stores={"main": newer})
    seen = look(observe.Observer(adapters, observe.Parallel(deadline=10.0)), 1.0, 1.0, known, desired=desired)
    assert sorted(elsewhere.asked) == sorted(known)
    assert sorted(seen.stores["main"].checkpoints) == sorted(known)


def test_a_store_that_hangs_keeps_no_target_of_its_name_from_being_seen() -> None:
    over = threading.Event()

    class Hanging(stores.FakeStore):
        def list(self, run: str) -> tuple[observed.Taken, ...]:
            over.wait(60.0)
            return ()

    named = dataclasses.replace(DESIRED, targets={"main": model.TargetSpec(name="main")})
    adapters = registry.Registry(lambda declared: nobody(), lambda declared: Hanging())
    watching = observe.Observer(adapters, observe.Parallel(deadline=0.2))
    waiting = {RUN: run(phase=record.Phase.PENDING, attempts=(ENDED,))}
    try:
        look(watching, 1.0, 1.0, waiting, desired=named)
        seen = look(watching, 2.0, 2.0, waiting, desired=named)
        assert (seen.targets["main"].known, seen.stores["main"].known) == (True, False)
    finally:
        over.set()


def test_a_target_that_only_moved_in_its_file_is_the_same_one() -> None:
    """Else how often its hosts were silent would be counted anew with each commit that adds a line above it."""
    moved = model.TargetSpec(name="hosts", origin=model.Origin(file="platform.yaml", line=9))
    adapters = registry.Registry(lambda declared: nobody(), lambda declared: stores.FakeStore())
    before = adapters.targets(DESIRED.targets)["hosts"]
    assert adapters.targets({"hosts": moved})["hosts"] is before
    assert adapters.targets({"hosts": dataclasses.replace(moved, selector={"site": "lab"})})["hosts"] is not before


class Unmounted(stores.FakeStore):
    def list(self, run: str) -> tuple[observed.Taken, ...]:
        raise errors.Unavailable("nothing is mounted there", where="store main (/m)", remedy="Mount it again.")


def test_why_a_store_cannot_be_listed_is_one_line() -> None:
    seen = look(observer(nobody(), Unmounted()), 1.0, 1.0, {"1" * 32: run(phase=record.Phase.PENDING)})
    assert [view.error for view in seen.stores.values()] == ["store main (/m): nothing is mounted there. Mount it again."]


class Listed(stores.FakeStore):
    """A store that notes what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def list(self, run: str) -> tuple[observed.Taken, ...]:
        self.asked.append(run)
        return super().list(run)

    def open(self, digest: str) -> stores.FakeImage:
        self.asked.append(digest)
        return super().open(digest)


SUSPENDED = dataclasses.replace(JOB, state=model.JobState.SUSPENDED)
UNTIL = dataclasses.replace(SUSPENDED, suspend=model.Suspension(until=500.0))
STOPPED = dataclasses.replace(JOB, state=model.JobState.STOPPED)
BACK = dataclasses.replace(JOB, restore_from="sha256:" + "0" * 64, checkpoint=model.CheckpointPolicy(store="main"))
ENDED = record.Attempt(number=1, target="hosts", host="alpha", intended_at=0.0, ended_at=9.0, ending=record.Ending.CHECKPOINTED)

QUESTIONS: dict[str, tuple[model.Job, record.Phase, list[str]]] = {
    "of a run that goes on now": (JOB, record.Phase.SUSPENDED, [RUN]),
    "of one whose time has come": (UNTIL, record.Phase.SUSPENDED, [RUN]),
    "of one that was stopped and may run again": (JOB, record.Phase.STOPPED, [RUN]),
    "of one that goes back": (BACK, record.Phase.PENDING, [RUN, BACK.restore_from]),
    "not of a suspended one": (SUSPENDED, record.Phase.SUSPENDED, []),
    "not of a stopped one": (STOPPED, record.Phase.STOPPED, []),
    "not of a finished one": (BACK, record.Phase.FINISHED, []),
}


@pytest.mark.parametrize("case", QUESTIONS)
def test_a_store_is_asked(case: str) -> None:
    job, phase, questions = QUESTIONS[case]
    place = Listed()
    runs = {RUN: run(phase=phase, attempts=(ENDED,), applied=JOB)}
    look(observer(nobody(), place), 1000.0, 1.0, runs, wanted=asked(runs, job))
    assert sorted(place.asked) == sorted(questions)


def test_of_thousands_that_rest_no_store_is_asked() -> None:
    place = Listed()
    runs = {
        f"{number:032x}": run(run=f"{number:032x}", job=f"train-{number}", phase=record.Phase.SUSPENDED, attempts=(ENDED,))
        for number in range(5000)
    }
    look(observer(nobody(), place), 1000.0, 1.0, runs, wanted=asked(runs, SUSPENDED))
    assert place.asked == []


def test_a_run_that_no_manifest_asks_for_any_more() -> None:
    """Removed: it gets no attempt. Perhaps declared in a file that cannot be read: it may."""
    nothing = facts.Wanted(instance="i", by_run={}, by_key={})
    for unread, questions in (((), []), (("jobs.yaml",), [RUN])):
        place = Listed()
        runs = {RUN: run(phase=record.Phase.PENDING, attempts=(ENDED,))}
        desired = dataclasses.replace(DESIRED, unread=unread)
        look(observer(nobody(), place), 1000.0, 1.0, runs, wanted=nothing, desired=desired)
        assert place.asked == questions


def test_a_stopped_run_that_gave_way_to_another_is_not_asked_for() -> None:
    place = Listed()
    runs = {RUN: run(phase=record.Phase.STOPPED, attempts=(ENDED,))}
    newer = facts.Wanted(instance="i", by_run={"2" * 32: (JOB, 0)}, by_key={runs[RUN].key: "2" * 32})
    look(observer(nobody(), place), 1000.0, 1.0, runs, wanted=newer)
    assert place.asked == []
