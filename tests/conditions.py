"""Waiting in tests: on a condition, never for a time. This is the only module of the tests that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    predicate: Callable[[], T],
    timeout: float = 30.0,
    interval: float = 0.02,
    message: str | Callable[[], str] = "the condition did not come true",
) -> T:
    """Calls `predicate` until its answer is true and returns that answer.

    `timeout` and `interval` are seconds. The timeout only bounds a hang, so it is generous: a loaded machine must not
    turn a test red. `message` may be a function, called at the end, so that it can show the last state seen.
    Raises AssertionError when the time is over.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            text = message() if callable(message) else message
            raise AssertionError(f"{text} (waited {timeout:g} s; last answer: {answer!r})")
        time.sleep(interval)
