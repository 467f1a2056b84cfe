"""Checkpoints that are the agent's own work: how many at once, and who comes next."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import attempt, due, fake, journal, process, progress, saving, workers
from reconciler.contracts import engine
from reconciler.core import model, observed, spec
from tests import conditions
from tests.agent import test_loop
from tests.agent.test_steps import WHAT

NAMES = "123456789"


class Gate(fake.FakeController):
    """Each checkpoint lasts until the test lets it end."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: queue.Queue[str] = queue.Queue()
        self.ends = threading.Semaphore(0)

    def checkpoint(
        self, entry: journal.Entry, asked: spec.Request, step: Callable[[], int | None], given_up: Callable[[], bool]
    ) -> engine.Captured | engine.Failed:
        self.begun.put(entry.spec.run[0])
        assert self.ends.acquire(timeout=20)
        return super().checkpoint(entry, asked, step, given_up)


class Crowd:
    """Containers that all want a checkpoint: the first ones most."""

    def __init__(self, folder: Path) -> None:
        bench = test_loop.Bench(folder)
        self.clock, self.book, self.control = bench.clock, bench.book, Gate()
        policy = dataclasses.replace(WHAT.checkpoint, engine=model.EngineName.CRIU)
        for name in NAMES:
            what = dataclasses.replace(WHAT, run=name * 32, checkpoint=policy)
            self.book.save(journal.Entry(assignment=spec.Assignment(spec=what), stage=journal.Stage.STARTED))
        self.attempts = {
            ref: attempt.Attempt(progress.File(folder / "none"), self.clock.monotonic()) for ref in self.book.entries
        }
        for one in self.attempts.values():
            one.look = process.Look(presence=process.Presence.LIVE)
        self.saving = saving.Saving(bench.about, self.book, self.control, workers.Threads(24), threading.Event())

    def begin(self, seconds: float = 30.0) -> None:
        deadline = self.clock.now() + seconds
        self.book.save_host(dataclasses.replace(self.book.host, notice=observed.Notice(deadline=deadline)))
        wanted = []
        for number, (ref, one) in enumerate(self.attempts.items()):
            moment = one.moment(self.book.entries[ref], self.clock.monotonic(), self.clock.now())
            asked = due.request(self.book.entries[ref], self.book.host, moment)
            if asked is not None and one.saving is None:
                wanted.append((-float(number), ref, asked))
        self.saving.begin(wanted, self.attempts)

    def order(self, count: int) -> list[str]:
        return [self.control.begun.get(timeout=20) for _ in range(count)]


@pytest.fixture
def crowd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crowd]:
    monkeypatch.setattr(saving, "FROZEN_AT_ONCE", 2)
    monkeypatch.setattr(saving, "IN_LINE", 3)
    made = Crowd(tmp_path)
    yield made
    made.control.ends.release(len(NAMES))


def test_who_stands_in_line_begins_without_another_look_and_nobody_else_does(crowd: Crowd) -> None:
    assert not crowd.saving.works(crowd.attempts)
    crowd.begin()
    assert sorted(crowd.order(2)) == ["1", "2"]
    assert crowd.control.begun.empty()
    assert crowd.saving.works(crowd.attempts)
    crowd.control.ends.release(5)
    assert sorted(crowd.order(3)) == ["3", "4", "5"]
    conditions.eventually(lambda: all(one.saving is None or one.saving[1].over for one in crowd.attempts.values()), 20)
    assert crowd.control.begun.empty()
    for ref in crowd.attempts:
        _finished(crowd, ref)
    assert not crowd.saving.works(crowd.attempts)


def test_a_turn_that_comes_after_the_deadline_is_not_taken(crowd: Crowd) -> None:
    crowd.begin(seconds=30.0)
    crowd.order(2)
    crowd.clock.at += 31.0
    crowd.book.save_host(dataclasses.replace(crowd.book.host, notice=None))  # the loop's next look does this
    crowd.control.ends.release(5)
    conditions.eventually(lambda: all(one.saving is None or one.saving[1].over for one in crowd.attempts.values()), 20)
    assert crowd.control.begun.empty()
    told = [_finished(crowd, ref).conditions.get(due.CHECKPOINT, "") for ref in list(crowd.book.entries)[:5]]
    assert told == ["", "", *["the notice checkpoint failed: its turn came too late"] * 3]


def test_a_turn_that_another_notice_leaves_time_for_is_taken(crowd: Crowd) -> None:
    crowd.begin(seconds=30.0)
    crowd.order(2)
    crowd.clock.at += 31.0
    crowd.control.ends.release(5)
    assert sorted(crowd.order(3)) == ["3", "4", "5"]


def _finished(crowd: Crowd, ref: spec.AttemptRef) -> journal.Entry:
    return crowd.saving.finish(crowd.attempts[ref], crowd.book.entries[ref], crowd.clock.monotonic())
