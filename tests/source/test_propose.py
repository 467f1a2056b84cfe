"""Pushing a change: hooks, protection, checked-out branches, races, and nobody's files touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler import errors
from reconciler.contracts.source import Edit, Protected, Pushed, Rejected, Revision
from reconciler.seams import clock
from reconciler.source import propose, repository
from tests.seams import repositories
from tests.seams.repositories import Person, git

EDIT = Edit(files={"jobs/a.yaml": b"new\n"}, message="Suspend a\n\nbecause", branch="main", topic="perdure/suspend-a")


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return repositories.bare(tmp_path / "remote.git")


@pytest.fixture
def person(remote: Path, tmp_path: Path) -> Person:
    made = Person(remote, tmp_path / "person")
    made.commit({"jobs/a.yaml": b"old\n", "run.sh": b"#!/bin/sh\n"})
    (made.folder / "run.sh").chmod(0o755)
    made.commit({})
    made.push()
    return made


@pytest.fixture
def source(remote: Path, person: Person, tmp_path: Path) -> repository.RepositorySource:  # noqa: ARG001
    author = propose.Author(name="Ada Lovelace", mail="ada@example.invalid")
    return repository.RepositorySource(repositories.mirror_of(remote, tmp_path / "data"), "main", clock.System(), author=author)


def base(source: repository.RepositorySource) -> str:
    found = source.fetch()
    assert isinstance(found, Revision), found
    return found.id


def test_the_commit_is_the_persons_and_only_what_was_edited_differs(source: repository.RepositorySource, remote: Path) -> None:
    pushed = source.propose(
        Edit(files={"jobs/a.yaml": b"new\n", "run.sh": b"exit\n"}, message="m\n\nbody", branch="main"), base(source)
    )
    assert isinstance(pushed, Pushed)
    assert git(remote, "log", "-1", "--format=%an %ae %B", "main") == "Ada Lovelace ada@example.invalid m\n\nbody"
    assert git(remote, "diff", "--name-only", "main~1", "main").split() == ["jobs/a.yaml", "run.sh"]
    assert git(remote, "ls-tree", "main", "run.sh").startswith("100755")


def test_the_author_is_the_person_git_knows(
    remote: Path, person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GIT_AUTHOR_NAME")
    monkeypatch.delenv("GIT_AUTHOR_EMAIL")
    settings = tmp_path / "gitconfig"
    settings.write_text("[user]\n\tname = Grace Hopper\n\temail = grace@example.invalid\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_DIR", str(person.folder / ".git"))
    one = repository.RepositorySource(repositories.mirror_of(remote, tmp_path / "data"), "main", clock.System())
    assert isinstance(one.propose(EDIT, base(one)), Pushed)
    monkeypatch.delenv("GIT_DIR")
    assert git(remote, "log", "-1", "--format=%an %ae", "main") == "Grace Hopper grace@example.invalid"
    settings.write_text("[user]\n\tuseConfigOnly = true\n")
    assert propose.somebody() == propose.Author()


def test_somebody_else_was_first(source: repository.RepositorySource, remote: Path, person: Person) -> None:
    before = base(source)
    theirs = person.commit({"b": b"theirs"})
    person.push()
    rejected = source.propose(EDIT, before)
    assert isinstance(rejected, Rejected)
    assert git(remote, "rev-parse", "main") == theirs
    assert isinstance(source.propose(EDIT, base(source)), Pushed)


def test_a_protected_branch_gets_a_topic_branch_and_the_servers_text(source: repository.RepositorySource, remote: Path) -> None:
    repositories.hook(
        remote,
        "pre-receive",
        'while read old new ref; do [ "$ref" != refs/heads/main ] || { echo "Ask Grace for a review" >&2; exit 1; }; done',
    )
    before = base(source)
    for number in range(2):
        edit = Edit(files={"jobs/a.yaml": b"%d" % number}, message="m", branch="main", topic="topic")
        found = source.propose(edit, before)
        assert isinstance(found, Protected)
        assert "Ask Grace for a review" in found.detail
        assert git(remote, "rev-parse", found.topic) == found.commit
        assert found.topic.startswith("topic")
    assert git(remote, "rev-parse", "main") == before


def test_a_hook_that_declines_everything_is_heard(source: repository.RepositorySource, remote: Path) -> None:
    repositories.hook(remote, "pre-receive", "echo 'no pushes on Sundays' >&2; exit 1")
    found = source.propose(EDIT, base(source))
    assert isinstance(found, Protected)
    assert (found.topic, found.commit) == ("", "")
    assert "no pushes on Sundays" in found.detail


def test_a_checked_out_branch_is_refused_with_the_remedy(tmp_path: Path) -> None:
    person = Person(tmp_path / "none", tmp_path / "theirs")
    head = person.commit({"jobs/a.yaml": b"old\n"})
    (person.folder / "jobs/a.yaml").write_bytes(b"being edited\n")
    before = person.git("status", "--porcelain")
    one = repository.RepositorySource(repositories.mirror_of(person.folder, tmp_path / "data"), "main", clock.System())
    with pytest.raises(errors.Refused, match="checked out") as caught:
        one.propose(EDIT, base(one))
    assert "git clone --bare" in caught.value.remedy
    assert person.git("rev-parse", "HEAD") == head
    assert person.git("status", "--porcelain") == before
    assert (person.folder / "jobs/a.yaml").read_bytes() == b"being edited\n"


@pytest.mark.parametrize("branch", ["", "-x", "a..b", "a\nb"])
def test_a_branch_that_cannot_be_is_refused(source: repository.RepositorySource, branch: str) -> None:
    with pytest.raises(errors.InvalidInput, match="branch"):
        source.propose(Edit(files={"a": b""}, message="m", branch=branch or "-"), base(source))


def test_a_link_is_not_edited(source: repository.RepositorySource, person: Person) -> None:
    (person.folder / "link").symlink_to("jobs/a.yaml")
    person.commit({})
    person.push()
    with pytest.raises(errors.InvalidInput, match="no plain file"):
        source.propose(Edit(files={"link": b"x"}, message="m", branch="main"), base(source))


def test_a_lost_answer_is_looked_up(source: repository.RepositorySource, remote: Path, tmp_path: Path) -> None:
    before = base(source)
    marker = tmp_path / "killed"
    # The server has moved the branch; then the connection dies before the answer is through.
    kill = f"[ -e {marker} ] || {{ touch {marker}; kill -9 $(parent $PPID) $PPID; }}"
    repositories.hook(remote, "post-receive", repositories.PROCESSES + kill)
    found = source.propose(EDIT, before)
    assert isinstance(found, Pushed)
    assert git(remote, "rev-parse", "main") == found.commit
    assert marker.exists()


def test_an_unreachable_server_raises(source: repository.RepositorySource, remote: Path, tmp_path: Path) -> None:
    before = base(source)
    remote.rename(tmp_path / "away")
    with pytest.raises(errors.Unavailable):
        source.propose(EDIT, before)
