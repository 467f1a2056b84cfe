"""A real repository: what happens to branches, history and servers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.contracts.source import Revision, Stale
from reconciler.seams import clock
from reconciler.source import repository
from tests.seams import repositories
from tests.seams.repositories import Person, git


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return repositories.bare(tmp_path / "remote.git")


@pytest.fixture
def person(remote: Path, tmp_path: Path) -> Person:
    return Person(remote, tmp_path / "person")


def source(remote: Path | str, tmp_path: Path, ref: str = "main", data: str = "data") -> repository.RepositorySource:
    return repository.RepositorySource(repositories.mirror_of(remote, tmp_path / data), ref, clock.System())


def read(one: repository.RepositorySource) -> Revision:
    found = one.fetch()
    assert isinstance(found, Revision), found
    return found


def stale(one: repository.RepositorySource) -> Stale:
    found = one.fetch()
    assert isinstance(found, Stale), found
    return found


def content(one: repository.RepositorySource, revision: str, path: str = "a") -> bytes:
    tree = one.tree(revision)
    return tree.read([tree.tree_id(path) or ""])[tree.tree_id(path) or ""]


def test_a_commit_is_described(remote: Path, person: Person, tmp_path: Path) -> None:
    message = "Sübject\n\nbody: no trailer\n\nPerdure-Allow-Empty: true\nSigned-off-by: A <a@b>\n"
    head = person.commit({"a": b"1"}, message)
    person.push()
    revision = read(source(remote, tmp_path))
    assert (revision.id, revision.ref, revision.subject) == (head, "main", "Sübject")
    assert revision.author == "Perdure Tests <tests@perdure.invalid>"
    assert revision.trailers == {"perdure-allow-empty": "true", "signed-off-by": "A <a@b>"}
    assert not revision.notice


def test_an_empty_repository_says_so(remote: Path, tmp_path: Path) -> None:
    found = stale(source(remote, tmp_path))
    assert (found.reason, found.last) == ("RepositoryEmpty", None)
    assert "no commit yet" in found.detail


def test_a_deleted_or_renamed_branch_keeps_the_last_good_revision(remote: Path, person: Person, tmp_path: Path) -> None:
    head = person.commit({"a": b"1"})
    person.push()
    one = source(remote, tmp_path)
    read(one)
    git(remote, "branch", "-m", "main", "trunk")
    found = stale(one)
    assert found.reason == "BranchMissing"
    assert found.last is not None
    assert found.last.id == head
    assert "“main”" in found.detail
    assert "trunk" in found.detail
    assert content(one, head) == b"1"
    again = stale(source(remote, tmp_path))
    assert again.last is not None, "a new process knows the last good revision too"
    assert again.last.id == head


def test_the_only_branch_that_is_deleted_does_not_make_the_repository_a_new_one(
    remote: Path, person: Person, tmp_path: Path
) -> None:
    head = person.commit({"a": b"1"})
    person.push()
    one = source(remote, tmp_path)
    read(one)
    git(remote, "update-ref", "-d", "refs/heads/main")
    found = stale(one)
    assert found.reason == "BranchMissing"
    assert found.last is not None
    assert found.last.id == head
    assert f"“main” was at {head[:12]}, which stands" in found.detail


def test_rewritten_history_is_said_until_it_is_accepted(remote: Path, person: Person, tmp_path: Path) -> None:
    first = person.commit({"a": b"1"})
    good = person.commit({"a": b"2"})
    person.push()
    one = source(remote, tmp_path)
    assert not read(one).rewritten
    person.git("reset", "--quiet", "--hard", first)
    person.push("+HEAD:refs/heads/main")
    for reader in (one, source(remote, tmp_path)):  # the second stands for a new process
        found = stale(reader)
        assert found.reason == "HistoryRewritten"
        assert "Perdure-Allow-Rewrite" in found.detail
        assert found.last is not None
        assert found.last.id == good
    git(one._mirror.directory, "gc", "--prune=now", "--quiet")
    assert content(one, good) == b"2"
    person.commit({"a": b"3"})
    person.push()
    assert stale(one).reason == "HistoryRewritten", "a commit on top does not hide it"
    accepted = person.commit({"a": b"4"}, "go on\n\nPerdure-Allow-Rewrite: true\n")
    person.push()
    assert (read(one).id, read(one).rewritten) == (accepted, True)
    person.commit({"a": b"5"})
    person.push()
    assert not read(one).rewritten


def test_unrelated_history_is_rewritten_history(remote: Path, person: Person, tmp_path: Path) -> None:
    good = person.commit({"a": b"1"})
    person.push()
    one = source(remote, tmp_path)
    read(one)
    person.git("checkout", "--quiet", "--orphan", "new")
    person.commit({"a": b"2"})
    person.push("+HEAD:refs/heads/main")
    assert stale(one).reason == "HistoryRewritten"
    person.push(f"+{good}:refs/heads/main")
    assert read(one).id == good, "history contains the last good revision again"


def test_a_tag_and_a_commit_can_be_read(remote: Path, person: Person, tmp_path: Path) -> None:
    first = person.commit({"a": b"1"})
    person.git("tag", "--annotate", "--message", "a release", "v1")
    person.commit({"a": b"2"})
    person.push("HEAD:refs/heads/main", "refs/tags/v1")
    by_tag, by_id = source(remote, tmp_path, "v1", "tag"), source(remote, tmp_path, first, "id")
    assert read(by_tag).id == read(by_id).id == first
    assert content(by_tag, first) == content(by_id, first) == b"1"
    assert read(by_id).id == first
    shutil.rmtree(remote)
    assert read(by_id).id == first, "a commit that is here needs no server"


def test_what_is_no_commit_is_no_revision(remote: Path, person: Person, tmp_path: Path) -> None:
    good = person.commit({"a": b"1"})
    tree, blob = (person.git("rev-parse", name).strip() for name in ("HEAD^{tree}", "HEAD:a"))
    person.git("tag", "moves")
    person.push("HEAD:refs/heads/main", "refs/tags/moves")
    one = source(remote, tmp_path, "moves")
    assert read(one).id == good
    for number, named in enumerate((tree, blob)):
        person.push(f"+{named}:refs/tags/moves")
        found = stale(one)
        assert (found.reason, found.last and found.last.id) == ("BranchMissing", good)
        assert "“moves” in" in found.detail
        assert "is no commit" in found.detail
        assert stale(source(remote, tmp_path, named, f"id-{number}")).last is None


def test_a_commit_that_is_not_there_is_missing(remote: Path, person: Person, tmp_path: Path) -> None:
    person.commit({"a": b"1"})
    person.push()
    found = stale(source(remote, tmp_path, "1" * 40))
    assert found.reason == "BranchMissing"
    short = stale(source(remote, tmp_path, "1" * 8, "short"))
    assert short.detail.endswith("A commit is named by all 40 digits of its id.")


def test_a_server_that_allows_no_fetch_by_id_is_fetched_whole(remote: Path, person: Person, tmp_path: Path) -> None:
    first = person.commit({"a": b"1"})
    person.commit({"a": b"2"})
    person.push()
    git(remote, "config", "protocol.version", "0")
    one = source(remote, tmp_path, first)
    assert read(one).id == first
    assert content(one, first) == b"1"


def test_an_unreachable_server_comes_back(remote: Path, person: Person, tmp_path: Path) -> None:
    head = person.commit({"a": b"1"})
    person.push()
    one = source(remote, tmp_path)
    read(one)
    remote.rename(tmp_path / "away.git")
    found = stale(one)
    assert found.reason == "SourceUnreachable"
    assert found.last is not None
    (tmp_path / "away.git").rename(remote)
    assert read(one).id == head


def test_only_the_newest_commit_and_the_files_that_are_read_are_fetched(remote: Path, person: Person, tmp_path: Path) -> None:
    for number in range(5):
        person.commit({"a": b"%d" % number, f"big-{number}": b"x%d" % number})
    person.push()
    git(remote, "config", "uploadpack.allowFilter", "true")
    one = source(remote, tmp_path)
    revision = read(one)
    assert revision.notice == ""
    here = one._mirror.directory
    assert git(here, "rev-list", "--count", revision.id) == "1"
    missing = git(here, "rev-list", "--objects", "--missing=print", f"{revision.id}^{{tree}}").count("?")
    assert missing == 6
    tree = one.tree(revision.id)
    assert {entry.size for entry in tree.entries()} == {None}
    assert content(one, revision.id) == b"4"
    assert git(here, "rev-list", "--objects", "--missing=print", f"{revision.id}^{{tree}}").count("?") == 5
    person.commit({"a": b"new"})
    person.push()
    after = read(one)
    assert not after.rewritten
    assert content(one, after.id) == b"new"


def test_files_are_fetched_in_one_exchange(
    remote: Path, person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person.commit({f"jobs/{number}": b"%d" % number for number in range(50)})
    person.push()
    git(remote, "config", "uploadpack.allowFilter", "true")
    one = source(remote, tmp_path)
    tree = one.tree(read(one).id)
    brought: list[int] = []
    bring = one._mirror.bring

    def counted(oids: list[str]) -> None:
        brought.append(len(oids))
        bring(oids)

    monkeypatch.setattr(one._mirror, "bring", counted)
    contents = tree.read(entry.oid for entry in tree.entries())
    assert sorted(contents.values()) == sorted(b"%d" % number for number in range(50))
    assert brought == [50]


def test_a_damaged_mirror_mends_itself(remote: Path, person: Person, tmp_path: Path) -> None:
    person.commit({"a": b"1"})
    person.push()
    one = source(remote, tmp_path)
    read(one)
    person.commit({"a": b"2"})
    person.push()
    for path in (one._mirror.directory / "objects").rglob("??/*"):
        path.chmod(0o600)
        path.write_bytes(b"")
    assert content(one, read(one).id) == b"2"


@pytest.mark.parametrize("kept", [0, 20])
def test_a_mirror_whose_reference_is_half_written_mends_itself(remote: Path, person: Person, tmp_path: Path, kept: int) -> None:
    """What a power cut leaves: git calls it a lock that cannot be taken, which no waiting mends."""
    head = person.commit({"a": b"1"})
    person.push()
    one = source(remote, tmp_path)
    read(one)
    seen = one._mirror.directory / "refs/perdure/seen/heads/main"
    seen.write_bytes(seen.read_bytes()[:kept])
    assert read(source(remote, tmp_path)).id == head


def test_two_processes_may_share_one_mirror(remote: Path, person: Person, tmp_path: Path) -> None:
    one, other = source(remote, tmp_path), source(remote, tmp_path)
    for number in range(3):
        head = person.commit({"a": b"%d" % number})
        person.push()
        assert read(one).id == read(other).id == head
        assert not read(other).rewritten


def test_a_name_that_would_be_an_option_is_refused(remote: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="begins with"):
        source(remote, tmp_path, "--upload-pack=x")


def test_a_linked_working_tree_is_a_repository_too(remote: Path, person: Person, tmp_path: Path) -> None:
    head = person.commit({"a": b"1"})
    person.push()
    person.git("worktree", "add", "--quiet", str(tmp_path / "linked"), "-b", "other")
    one = source(tmp_path / "linked", tmp_path, "other")
    assert content(one, read(one).id) == b"1"
    assert read(one).id == head
    assert remote.exists()
