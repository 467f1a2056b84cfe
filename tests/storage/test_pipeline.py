"""Stages: order, bounds, and what happens when one fails."""

from __future__ import annotations

import threading

import pytest

from reconciler.storage import pipeline


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    seen: list[int] = []
    gate = threading.Barrier(threads) if threads > 1 else None

    def work(item: int) -> int:
        if gate is not None and item < threads:
            gate.wait(30)  # all threads at once: without ordering any could be first
        return item * 2

    stage = pipeline.Ordered(work, seen.append, threads=threads, depth=3, failure=pipeline.Failure())
    for item in range(50):
        stage.put(item)
    stage.finish()
    assert seen == [item * 2 for item in range(50)]


@pytest.mark.parametrize("threads", [0, 1, 3])
@pytest.mark.parametrize("where", ["work", "then"])
def test_the_first_error_reaches_the_caller_and_nothing_hangs(threads: int, where: str) -> None:
    def fail(item: int) -> int:
        if item == 7:
            raise KeyError(item)
        return item

    seen: list[int] = []
    work, then = (fail, seen.append) if where == "work" else (int, lambda item: seen.append(fail(item)))
    stage = pipeline.Ordered(work, then, threads=threads, depth=2, failure=pipeline.Failure())
    with pytest.raises(KeyError):
        _feed(stage)
    stage.stop()
    stage.stop()
    assert seen == list(range(len(seen))), "what comes after the error is dropped, and nothing out of order"
    assert len(seen) <= 7


def _feed(stage: pipeline.Ordered[int, int]) -> None:
    for item in range(100):
        stage.put(item)
    stage.finish()


def test_a_stage_holds_no_more_than_its_depth() -> None:
    release, most = threading.Event(), [0]
    waiting: list[int] = []

    def work(item: int) -> None:
        release.wait(30)
        waiting.remove(item)

    stage = pipeline.Stage(work, threads=1, depth=2, failure=pipeline.Failure())

    def feed() -> None:
        for item in range(10):
            waiting.append(item)
            most[0] = max(most[0], len(waiting))
            if item == 3:
                release.set()
            stage.put(item)

    feeder = threading.Thread(target=feed)
    feeder.start()
    feeder.join(30)
    stage.finish()
    assert most[0] <= 4, "one in work, two that wait, one in the caller's hand"
