"""When a pass is due, how often the server is asked, and what ends a pause."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from reconciler import config, loop
from reconciler.cli import bell, pacing
from reconciler.contracts import source
from reconciler.core import action, settle
from reconciler.source.fake import FakeSource

SETTINGS = config.LoopSettings(poll=30.0, drift=600.0, backoff=10.0)


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def wait(self, seconds: float, until: object = None) -> bool:
        self.time += seconds
        return False


def done(standing: loop.Standing = loop.Standing.DONE, **fields: object) -> loop.Pass:
    return loop.Pass(standing=standing, at=0.0, **fields)  # type: ignore[arg-type]


ACT = action.Action(verb=action.Verb.START, tenant="default", job="train", reason="New", sentence="")


@pytest.mark.parametrize(
    ("one", "seconds"),
    [
        (done(), 600.0),
        (done(loop.Standing.BLOCKED), 30.0),
        (done(wake_at=1005.0), 5.0),
        (done(wake_at=900.0), pacing.GAP),
        (done(outcomes=((ACT, settle.Outcome(result=settle.Result.UNKNOWN)),)), 10.0),
        (done(outcomes=((ACT, settle.Outcome(result=settle.Result.CREATED)),)), 600.0),
    ],
)
def test_when_the_next_pass_is_due(one: loop.Pass, seconds: float) -> None:
    assert pacing.seconds(one, SETTINGS, now=1000.0, jitter=0.5) == pytest.approx(seconds)


def test_drift_is_jittered_by_a_tenth() -> None:
    assert pacing.seconds(done(), SETTINGS, 0.0, 0.0) == pytest.approx(540.0)
    assert pacing.seconds(done(), SETTINGS, 0.0, 1.0) == pytest.approx(660.0)


class Counted(FakeSource):
    asked = 0

    def fetch(self) -> source.Revision | source.Stale:
        self.asked += 1
        return super().fetch()

    def wakeups(self) -> Iterator[None]:
        yield None


def test_the_server_is_asked_once_a_poll_however_many_passes_there_are() -> None:
    clock, inner = Clock(), Counted()
    inner.commit({})
    paced = pacing.Paced(inner, 30.0, clock)
    for _ in range(5):
        paced.fetch()
    assert inner.asked == 1
    clock.time += 30.0
    assert not paced.moved(), "it was asked, and nothing is new"
    assert inner.asked == 2


def test_a_failure_is_not_remembered_for_the_next_pass() -> None:
    inner = Counted()
    inner.break_off()
    paced = pacing.Paced(inner, 30.0, Clock())
    paced.fetch()
    assert not paced.moved(), "a pause does not ask more often for that"
    paced.fetch()
    assert inner.asked == 2


def test_a_wakeup_lets_it_be_asked_at_once() -> None:
    inner = Counted()
    inner.commit({})
    paced = pacing.Paced(inner, 30.0, Clock())
    paced.fetch()
    list(paced.wakeups())
    paced.moved()
    assert inner.asked == 2


def test_rings_before_a_pause_end_it_and_count_once() -> None:
    ring = bell.Bell()
    for _ in range(100_000):
        ring.ring()
    while ring.pause(0):
        pass
    threading.Thread(target=ring.ring).start()
    assert ring.pause(30.0)


def test_the_wish_to_end_is_an_event_and_leaves_rings_for_the_next_pause() -> None:
    ring = bell.Bell()
    before = signal.getsignal(signal.SIGINT)
    with ring.obeying():
        ring.ring()
        assert not ring.wait(0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert ring.wait(30.0)
        assert ring.ended_by == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_failure_ends_the_pause_and_is_raised_where_people_are_told() -> None:
    ring = bell.Bell()
    ring.check()
    threading.Thread(target=ring.fail, args=(ValueError("odd"),)).start()
    assert ring.wait(30.0)
    with pytest.raises(ValueError, match="odd"):
        ring.check()
