"""`eventually` waits on a condition and says what it saw."""

from __future__ import annotations

import pytest

from tests import conditions


def test_the_first_true_answer_is_returned() -> None:
    answers = iter([0, None, "", "there"])
    assert conditions.eventually(lambda: next(answers), interval=0) == "there"


def test_a_condition_that_is_true_at_once_needs_no_time() -> None:
    assert conditions.eventually(lambda: True, timeout=0)


def test_the_message_may_show_the_last_state() -> None:
    with pytest.raises(AssertionError, match=r"the job is still Running \(waited 0 s; last answer: False\)"):
        conditions.eventually(lambda: False, timeout=0, message=lambda: "the job is still Running")
