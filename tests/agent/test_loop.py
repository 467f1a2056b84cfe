"""The agent's loop look by look, on a controller that counts and a clock that stands still."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from agent import due, fake, journal, loop, places, process, saving, setup, workers
from reconciler import errors
from reconciler.contracts import clock as clocks
from reconciler.contracts import engine
from reconciler.core import model, observed, spec
from tests.agent.host import ByHand
from tests.agent.test_steps import WHAT

Presence = process.Presence
Kind = observed.ExitKind
REF = WHAT.ref
T = TypeVar("T")


class Still:
    """A clock that moves when the test moves it."""

    def __init__(self) -> None:
        self.at = 1_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def wait(self, seconds: float, until: clocks.Event | None = None) -> bool:
        self.at += seconds
        return until is not None and until.is_set()


class Bench:
    """An agent whose looks are taken one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Still()
        self.link = ByHand()
        self.control = fake.FakeController()
        self.generation = 0
        self.hurried: list[bool] = []
        self.start()

    def start(self) -> None:
        """A new agent on the same data directory."""
        where = places.lay_out(self.folder, None, self.folder / "jobs")
        self.about = setup.Setup(
            offer=setup.Offer(host="h"),
            places=where,
            secrets=self.folder / "secrets",
            account=None,
            groups=None,
            clock=self.clock,
            engines={},
            open_store=lambda config: pytest.fail(f"opened {config}"),
            hurry=self.hurried.append,
        )
        self.book = journal.Journal(where)
        self.book.open(self.clock.now())
        self.agent = loop.Agent(self.about, self.book, self.link, self.control, fake.Inline())

    def assign(self, what: spec.AttemptSpec = WHAT, **changed: object) -> None:
        self.generation += 1
        item = spec.Assignment(spec=what, **changed)  # type: ignore[arg-type]
        self.link.assignments = spec.Assignments(host="h", generation=self.generation, items=(item,))

    def look(self, times: int = 1) -> observed.Item:
        for _ in range(times):
            self.agent.tick()
            self.clock.at += 0.2
        return next(item for item in self.agent.state().items if item.ref == REF)

    def until_live(self) -> None:
        self.look(4)
        assert self.control.presence[REF] is Presence.LIVE


class Slow:
    """Workers that do nothing until they are told."""

    def __init__(self) -> None:
        self._later: list[Callable[[], None]] = []

    def do(self, work: Callable[[], T]) -> workers.Task[T]:
        task = workers.Task(work)
        self._later.append(task.run)
        return task

    def catch_up(self) -> None:
        while self._later:
            self._later.pop(0)()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_one_step_at_a_look(bench: Bench) -> None:
    bench.assign()
    order = []
    for _ in range(5):
        bench.look()
        order.append(dict(bench.control.calls))
    assert order == [
        {"prepare": 1},
        {"prepare": 1, "restore": 1},
        {"prepare": 1, "restore": 1, "start": 1},
        {"prepare": 1, "restore": 1, "start": 1},
        {"prepare": 1, "restore": 1, "start": 1},
    ]


@pytest.mark.parametrize(("anew", "times"), [(False, 1), (True, 2)])
def test_what_was_laid_out_before_the_machine_started_anew_is_laid_out_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, anew: bool, times: int
) -> None:
    bench.assign()
    bench.look(3)
    bench.control.presence.clear()  # nothing of it has begun
    if anew:
        monkeypatch.setattr("agent.supervisor.processes.boot", lambda: "another boot")
    bench.start()
    bench.link.assignments = None
    bench.look(6)
    assert (bench.control.calls["prepare"], bench.control.calls["restore"]) == (times, times)
    assert bench.control.presence[REF] is Presence.LIVE


def test_what_has_begun_before_the_machine_started_anew_is_not_begun_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.assign()
    bench.until_live()
    bench.control.presence.clear()
    monkeypatch.setattr("agent.supervisor.processes.boot", lambda: "another boot")
    bench.start()
    bench.link.assignments = None
    bench.look(6)
    assert bench.control.calls["prepare"] == 1


def test_an_end_is_collected_once_and_kept_until_it_is_removed(bench: Bench) -> None:
    bench.assign()
    bench.until_live()
    bench.control.end(REF, observed.Exit(kind=Kind.EXITED, code=4))
    item = bench.look(5)
    assert (item.state, item.exit) == (observed.ItemState.ENDED, observed.Exit(kind=Kind.EXITED, code=4))
    assert bench.control.calls["wait"] == 1
    bench.assign(want=spec.Want.REMOVE)
    bench.agent.tick()
    bench.agent.tick()
    assert bench.agent.state().items == ()
    assert bench.control.calls["remove"] == 1


def test_what_has_ended_is_cleared_up_once_nobody_is_saved_from_the_notice_any_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [True]
    monkeypatch.setattr(saving.Saving, "works", lambda _self, _attempts: bool(others))
    bench.assign()
    bench.until_live()
    bench.control.end(REF, observed.Exit(kind=Kind.EXITED, code=4))
    bench.agent.notice(30.0)
    bench.look(5)
    bench.assign(want=spec.Want.REMOVE)
    assert bench.look(5).exit == observed.Exit(kind=Kind.EXITED, code=4)
    assert bench.control.calls["remove"] == 0
    others.clear()
    for _ in range(3):
        bench.agent.tick()
    assert bench.control.calls["remove"] == 1


@pytest.mark.parametrize("want", [spec.Want.STOP, spec.Want.REMOVE])
def test_what_a_step_did_during_the_look_is_not_overlooked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, want: spec.Want
) -> None:
    """Its start is done a moment after the look, in which it is to end: it is ended, and not taken for never started."""
    bench.assign()
    bench.look(2)
    slow = Slow()
    monkeypatch.setattr(bench.agent, "_hands", slow)
    bench.look()
    look = fake.FakeController.look

    def looked(control: fake.FakeController, entry: journal.Entry) -> process.Look:
        found = look(control, entry)
        slow.catch_up()
        return found

    monkeypatch.setattr(fake.FakeController, "look", looked)
    bench.assign(want=want)
    bench.look()
    monkeypatch.undo()
    assert bench.look().exit is None, "it runs"
    assert bench.control.calls["stop"] == 1


@pytest.mark.parametrize("verb", ["prepare", "restore", "start", "wait", "remove"])
def test_what_is_unavailable_is_tried_again_with_growing_pauses(bench: Bench, verb: str) -> None:
    bench.control.broken[verb] = errors.Unavailable("not now")
    bench.assign()
    if verb in ("wait", "remove"):
        bench.until_live()
        bench.control.end(REF, observed.Exit(kind=Kind.EXITED, code=0))
        bench.look(3)
        if verb == "remove":
            bench.assign(want=spec.Want.REMOVE)
    item = bench.look(12)
    assert "not now" in item.condition or item.exit is not None
    tries = bench.control.calls[verb]
    assert 1 < tries < 6
    bench.control.broken.clear()
    bench.clock.at += 60
    bench.agent.tick()
    bench.agent.tick()
    assert bench.control.calls[verb] == tries + 1


def test_a_supervisor_that_never_starts_is_given_up_after_three(bench: Bench) -> None:
    bench.control.broken["start"] = errors.Unavailable("no memory")
    bench.assign()
    item = bench.look(60)
    assert bench.control.calls["start"] == loop.TRIES
    assert item.exit == observed.Exit(kind=Kind.NOT_STARTED, detail="no memory")


@pytest.mark.parametrize("verb", ["prepare", "restore"])
def test_a_key_that_is_not_here_ends_the_attempt_and_not_its_run(bench: Bench, verb: str) -> None:
    bench.control.broken[verb] = errors.KeyMissing("encrypted with key 'main', which is not in the key folder")
    bench.assign()
    found = bench.look(6).exit
    assert found is not None
    assert (found.kind, found.fatal) == (Kind.NOT_STARTED, False)


@pytest.mark.parametrize("verb", ["prepare", "restore", "start"])
def test_what_is_refused_ends_it(bench: Bench, verb: str) -> None:
    bench.control.broken[verb] = errors.Refused("never", remedy="Do better.")
    bench.assign()
    item = bench.look(6)
    assert item.exit == observed.Exit(kind=Kind.NOT_STARTED, detail="never. Do better.", fatal=True)


def test_unforeseen_exceptions_of_a_step_are_told_and_do_not_end_the_agent(bench: Bench) -> None:
    bench.control.broken["prepare"] = ZeroDivisionError("oh")  # type: ignore[assignment]
    bench.assign()
    assert "ZeroDivisionError: oh" in bench.look(3).condition


def test_an_adoption_that_fails_is_no_end(bench: Bench) -> None:
    bench.assign()
    bench.until_live()
    bench.control.presence[REF] = Presence.ORPHANED
    bench.control.broken["start"] = errors.Refused("no")
    item = bench.look(20)
    assert item.state is observed.ItemState.RUNNING
    assert item.exit is None


def test_the_timer_counts_from_the_last_checkpoint(bench: Bench) -> None:
    policy = dataclasses.replace(WHAT.checkpoint, interval=10.0)
    bench.assign(dataclasses.replace(WHAT, checkpoint=policy))
    bench.until_live()
    bench.clock.at += 9.0
    assert bench.look(1).checkpoints == ()
    bench.clock.at += 1.0
    bench.look(2)
    bench.clock.at += 9.0
    assert len(bench.look(1).checkpoints) == 1
    bench.clock.at += 1.0
    assert len(bench.look(2).checkpoints) == 2


def test_a_deaf_program_is_asked_again_after_the_interval_only(bench: Bench) -> None:
    bench.control.saves = False
    policy = dataclasses.replace(WHAT.checkpoint, interval=10.0)
    bench.assign(dataclasses.replace(WHAT, checkpoint=policy))
    bench.until_live()
    bench.clock.at += 10.0
    bench.look(40)
    assert bench.control.calls["checkpoint"] == 1
    bench.clock.at += 3.0
    bench.look(2)
    assert bench.control.calls["checkpoint"] == 2


def test_the_most_unsaved_work_comes_first_on_a_notice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.saving.AT_ONCE", 1)
    order: list[str] = []
    real = bench.control.checkpoint

    def watched(entry: journal.Entry, *rest: object) -> object:
        order.append(entry.spec.run[0])
        return real(entry, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(type(bench.control), "checkpoint", lambda self, *rest: watched(*rest), raising=True)
    items = []
    for name in "321":
        items.append(spec.Assignment(spec=dataclasses.replace(WHAT, run=name * 32)))
        bench.generation += 1
        bench.link.assignments = spec.Assignments(host="h", generation=bench.generation, items=tuple(items))
        for _ in range(6):
            bench.agent.tick()
            bench.clock.at += 1
    bench.agent.notice(60.0)
    for _ in range(6):
        bench.agent.tick()
    assert order == ["3", "2", "1"]


@pytest.fixture
def asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], bool]]:
    """Whether the agent gives each checkpoint up that was begun, which is under way as long as a test likes."""
    begun: list[Callable[[], bool]] = []

    def begin(_self: object, _entry: object, _asked: object, _step: object, given_up: Callable[[], bool]) -> engine.Failed:
        begun.append(given_up)
        return engine.Failed(reason="it was cut off")

    monkeypatch.setattr(type(bench.control), "checkpoint", begin)
    bench.assign()
    bench.until_live()
    return begun


def test_a_checkpoint_is_given_up_a_little_after_the_deadline_of_its_notice(
    bench: Bench, asked: list[Callable[[], bool]]
) -> None:
    bench.agent.notice(30.0)
    bench.look(1)
    (given_up,) = asked
    for seconds, expected in ((29.0, False), (2.0, False), (due.OVERTIME - 2.0, False), (1.1, True)):
        bench.clock.at += seconds
        bench.agent.tick()
        assert given_up() is expected, f"at {bench.clock.at - 1_000_000:.1f}"
    assert bench.agent.state().notice is None


def test_another_notice_lets_it_go_on(bench: Bench, asked: list[Callable[[], bool]]) -> None:
    bench.agent.notice(30.0)
    bench.look(1)
    bench.clock.at += 25.0
    bench.agent.notice(300.0)
    bench.clock.at += 100.0
    bench.agent.tick()
    assert not asked[0]()


def test_saving_comes_before_all_else_on_the_host_while_a_notice_stands(bench: Bench) -> None:
    bench.assign()
    bench.until_live()
    assert bench.hurried == []
    bench.agent.notice(30.0)
    bench.look(5)
    assert bench.hurried == [True]
    bench.start()
    bench.look()
    assert bench.hurried == [True, True], "an agent that has started anew meanwhile hurries too"
    bench.clock.at += 31.0
    bench.look()
    assert bench.hurried == [True, True, False]


def test_an_agent_that_ends_hurries_no_longer(bench: Bench) -> None:
    bench.agent.notice(30.0)
    bench.agent.tick()
    bench.agent.end()
    bench.agent.run()
    assert bench.hurried == [True, False]


def test_a_drain_is_not_over_by_the_clock(bench: Bench, asked: list[Callable[[], bool]]) -> None:
    bench.agent.drain(True)
    bench.look(1)
    bench.clock.at += 10_000.0
    assert not asked[0]()


def test_why_a_checkpoint_was_given_up_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def lasts(_self: object, *_rest: object) -> engine.Failed:
        bench.clock.at += 60.0
        bench.book.save_host(dataclasses.replace(bench.book.host, notice=None))  # the loop's next look does this
        return engine.Failed(reason="it was cut off")

    monkeypatch.setattr(type(bench.control), "checkpoint", lasts)
    bench.assign()
    bench.until_live()
    bench.agent.notice(30.0)
    item = bench.look(2)
    assert item.condition == f"the notice checkpoint failed: it was cut off ({saving.LATE})"
    assert item.exit is None


def test_the_state_is_said_when_it_changes_and_as_a_sign_of_life(bench: Bench) -> None:
    bench.assign()
    bench.until_live()
    said = len(bench.link.said)
    while len(bench.link.said) == said:
        bench.look()
    bench.look(8)
    assert len(bench.link.said) == said + 1
    bench.look(3)
    assert len(bench.link.said) == said + 2
    generations = [state.generation for state in bench.link.said]
    assert generations == list(range(1, len(generations) + 1))


def test_a_link_that_refuses_keeps_nothing_else_from_being_done(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(state: observed.HostState) -> None:
        raise errors.Refused(f"not from {state.host}")

    monkeypatch.setattr(bench.link, "send", refuse)
    bench.assign()
    bench.until_live()
    assert any("not from h" in text for text in bench.agent.state().conditions)


def test_a_journal_that_cannot_be_written_holds_that_attempt_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    full = errors.Unavailable("cannot be written: no space left")
    real: Callable[[journal.Journal, journal.Entry], None] = journal.Journal.save

    def save(self: journal.Journal, entry: journal.Entry) -> None:
        if entry.stage is journal.Stage.STARTED:
            raise full
        real(self, entry)

    monkeypatch.setattr(journal.Journal, "save", save)
    bench.assign()
    bench.look(6)
    assert bench.control.calls["start"] == 0, "started without a record"
    assert any("no space left" in text for text in bench.agent.state().conditions)
    monkeypatch.setattr(journal.Journal, "save", real)
    bench.look(3)
    assert bench.control.calls["start"] == 1


def test_a_new_agent_goes_on_where_the_old_one_was_killed(bench: Bench) -> None:
    bench.assign()
    for _ in range(4):
        bench.look(2)
        bench.start()
    assert bench.look(3).state is observed.ItemState.RUNNING
    assert bench.control.calls["start"] == 1
    assert bench.control.calls["prepare"] == 1
    assert bench.control.calls["restore"] == 2, "its first result was not journalled yet"


def test_changed_bounds_are_told_to_what_runs(bench: Bench) -> None:
    bench.assign()
    bench.until_live()
    bench.assign(dataclasses.replace(WHAT, timeout=5.0))
    bench.look()
    bench.assign(dataclasses.replace(WHAT, timeout=5.0), request=spec.Request(id="x", purpose=spec.Purpose.DEMAND))
    bench.look()
    assert bench.control.calls["tell"] == 1


def test_a_request_for_a_job_without_checkpoints_is_answered(bench: Bench) -> None:
    none = model.CheckpointPolicy(engine=model.EngineName.NONE)
    bench.assign(dataclasses.replace(WHAT, checkpoint=none))
    bench.until_live()
    asked = spec.Request(id="x", purpose=spec.Purpose.STOP, then_stop=True)
    bench.assign(dataclasses.replace(WHAT, checkpoint=none), request=asked)
    item = bench.look(4)
    assert item.exit is not None
    assert item.exit.stopped
    assert bench.control.calls["checkpoint"] == 0
