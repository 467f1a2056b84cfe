"""The last good revision stands while the newest cannot be read or is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pytest

from reconciler import desire, errors
from reconciler.contracts import source
from reconciler.core import model


class Files:
    """A tree of which only the revision matters here."""

    def __init__(self, revision: str) -> None:
        self.revision = revision

    def entries(self) -> Iterable[source.Entry]:
        return ()

    def read(self, oids: Iterable[str]) -> Mapping[str, bytes]:
        return {}

    def tree_id(self, path: str) -> str | None:
        return None


class Branch:
    """A source whose answers are set by the test."""

    def __init__(self, answer: source.Revision | source.Stale) -> None:
        self.answer = answer
        self.gone: set[str] = set()

    def fetch(self) -> source.Revision | source.Stale:
        return self.answer

    def tree(self, revision: str) -> source.Tree:
        if revision in self.gone:
            raise errors.Unavailable("not here")
        return Files(revision)

    def archive(self, tree: str) -> Iterator[bytes]:
        return iter(())

    def propose(self, edit: source.Edit, base: str) -> source.Rejected:
        return source.Rejected(detail="")

    def wakeups(self) -> Iterator[None]:
        return iter(())


REFUSED = {"bad"}
PROBLEM = model.Problem(file="a.yaml", line=1, column=1, message="wrong")


def read(_tree: source.Tree, revision: source.Revision, previous: model.Desired | None) -> model.Desired:
    """Like the loader: a refused or partly wrong revision has the objects of `previous`."""
    wrong = revision.id in REFUSED or revision.id == "partly"
    kept = {"from": model.TargetSpec(name=previous.revision)} if wrong and previous else {}
    return model.Desired(
        revision=revision.id,
        targets=kept,
        problems=(PROBLEM,) if wrong else (),
        refused=str(PROBLEM) if revision.id in REFUSED else "",
    )


def at(revision: str) -> source.Revision:
    return source.Revision(id=revision, ref="main")


def stale(last: str | None) -> source.Stale:
    return source.Stale(last=at(last) if last else None, reason="SourceUnreachable", detail="no answer")


def test_the_newest_revision_is_acted_on() -> None:
    branch = Branch(at("one"))
    desires = desire.Desires(branch, read)
    assert desires.wish("").desired == model.Desired(revision="one")
    branch.answer = at("two")
    assert desires.wish("one") == desire.Wish(desired=model.Desired(revision="two"))


@pytest.mark.parametrize("applied", ["", "one"])
def test_a_refused_revision_leaves_the_last_good_one_and_says_so(applied: str) -> None:
    branch = Branch(at("one"))
    desires = desire.Desires(branch, read)
    desires.wish(applied)
    branch.answer = at("bad")
    for _ in range(2):
        wish = desires.wish(applied)
        assert wish.desired == model.Desired(revision="one")
        assert "bad is refused: a.yaml:1:1: wrong" in wish.notice


def test_after_a_restart_the_last_good_revision_is_the_one_the_ledger_names() -> None:
    wish = desire.Desires(Branch(at("bad")), read).wish("one")
    assert wish.desired == model.Desired(revision="one")
    partly = desire.Desires(Branch(at("partly")), read).wish("one").desired
    assert partly is not None
    assert partly.targets["from"].name == "one"


def test_a_refused_revision_with_nothing_good_before_it_is_nothing_to_act_on() -> None:
    branch = Branch(at("bad"))
    branch.gone.add("one")
    assert desire.Desires(branch, read).wish("one").desired is None


def test_an_unreachable_source_leaves_what_was_read_last_even_right_after_a_start() -> None:
    desires = desire.Desires(Branch(stale("one")), read)
    wish = desires.wish("")
    assert wish.desired == model.Desired(revision="one")
    assert wish.notice == "SourceUnreachable: no answer"
    assert desire.Desires(Branch(stale(None)), read).wish("").desired is None


def test_what_the_source_says_once_is_no_problem() -> None:
    told = source.Revision(id="one", ref="main", notice="no partial fetch here")
    wish = desire.Desires(Branch(told), read).wish("")
    assert (wish.notice, wish.remark) == ("", "no partial fetch here")
