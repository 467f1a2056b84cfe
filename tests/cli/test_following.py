"""Looking again and again outlives a server that does not answer for a while."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, cast

import pytest

from reconciler import errors
from reconciler.cli import following, looking, view
from reconciler.contracts import ledger
from reconciler.core import observed

SEEN = view.View(instance="default", now=0.0, desired=None, snapshot=ledger.Snapshot(head=""), world=observed.World(at=0.0))


class Looker:
    """Answers what it was given, look after look."""

    local = True

    def __init__(self, *answers: view.View | errors.PerdureError) -> None:
        self._answers = iter(answers)

    def look(self) -> view.View:
        answer = next(self._answers)
        if isinstance(answer, errors.PerdureError):
            raise answer
        return answer


@pytest.fixture
def views(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(following, "EVERY", 0.0)

    def made(*answers: view.View | errors.PerdureError) -> Iterator[view.View]:
        return following.views(cast("looking.Looker", Looker(*answers)))

    return made


def test_a_server_that_does_not_answer_is_said_once_and_waited_for(views: Any, capsys: pytest.CaptureFixture[str]) -> None:
    away = errors.Unavailable("the repository does not answer", where="jobs.git", remedy="Check the network.")
    found = list(itertools.islice(views(SEEN, away, away, SEEN, away, SEEN), 3))
    assert found == [SEEN, SEEN, SEEN]
    said = "perdure: jobs.git: the repository does not answer. Check the network.\n"
    assert capsys.readouterr().err == said * 2, "again where it has answered meanwhile"


def test_what_stands_in_the_way_from_the_beginning_or_for_good_ends_it(views: Any) -> None:
    with pytest.raises(errors.Unavailable):
        next(views(errors.Unavailable("away")))
    with pytest.raises(errors.Refused):
        list(views(SEEN, errors.Refused("not allowed")))
