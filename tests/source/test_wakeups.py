"""Wake-ups: by time, by a moved branch, by a changed file; never by what we write ourselves."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.contracts.clock import Clock, Event
from reconciler.seams import clock
from reconciler.source import wakeups
from tests import conditions
from tests.seams import repositories
from tests.seams.repositories import Person, git


class Counter:
    """Counts the wake-ups of a stream in a thread of its own."""

    def __init__(self, stream: Iterator[None]) -> None:
        self.count = 0
        self._stop = threading.Event()
        self._stream = stream
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for _ in self._stream:
            self.count += 1
            if self._stop.is_set():
                return

    def woken_by(self, change: Callable[[], object]) -> None:
        """Repeats a change until it has woken (the watch may not stand yet), then ends the stream by another one."""

        def woken() -> bool:
            change()
            return self.count > 0

        def ended() -> bool:
            change()
            return not self._thread.is_alive()

        conditions.eventually(woken, interval=0.3)
        self._stop.set()
        conditions.eventually(ended, interval=0.3)


class Fast:
    """A clock whose waits are over at once."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0

    def wait(self, seconds: float, until: Event | None = None) -> bool:
        self.waits.append(seconds)
        return until is not None and until.is_set()


def test_polls_come_about_every_interval() -> None:
    fast = Fast()
    ticking: Clock = fast
    stream = wakeups.stream(ticking, 30.0, None)
    for _ in range(50):
        next(stream)
    assert all(27.0 <= seconds <= 33.0 for seconds in fast.waits)
    assert len(set(fast.waits)) > 1


def test_a_changed_file_wakes(tmp_path: Path) -> None:
    watched, data = tmp_path / "folder", tmp_path / "folder" / "data"
    data.mkdir(parents=True)
    counter = Counter(wakeups.stream(clock.System(), 3600.0, wakeups.files(watched, data)))
    numbers = itertools.count()
    counter.woken_by(lambda: (watched / "a").write_text(str(next(numbers))))


@pytest.mark.parametrize(
    ("name", "counts"), [("a", True), ("sub/a", True), ("data/repo.git/x", False), ("data", False), ("sub/.git/index", False)]
)
def test_which_files_count(name: str, counts: bool, tmp_path: Path) -> None:
    assert wakeups.files(tmp_path, tmp_path / "data").counts(tmp_path / name) is counts


def test_a_moved_branch_wakes_and_our_own_refs_do_not(tmp_path: Path) -> None:
    remote = repositories.bare(tmp_path / "remote.git")
    person = Person(remote, tmp_path / "person")
    watch = wakeups.refs(remote)
    for name, counts in (
        ("heads/main", True),
        ("heads/feature/x", True),
        ("tags/v1", True),
        ("heads/main.lock", False),
        ("perdure/state/default", False),
        ("notes/perdure/default", False),
    ):
        assert watch.counts(remote / "refs" / name) is counts
    counter = Counter(wakeups.stream(clock.System(), 3600.0, watch))

    def push() -> None:
        person.commit({"a": b"1"})
        person.push()

    counter.woken_by(push)
    assert git(remote, "rev-parse", "main")


def test_a_folder_that_cannot_be_watched_is_polled(tmp_path: Path) -> None:
    stream = wakeups.stream(Fast(), 30.0, wakeups.files(tmp_path / "gone", tmp_path / "data"))
    next(stream)
    next(stream)
