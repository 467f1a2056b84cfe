"""What every source promises, the shipped fake included."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.contracts.source import Edit, Pushed, Rejected, Revision, Stale
from tests.source import places
from tests.source.places import Place

FILES = {"jobs/a.yaml": b"kind: Job\n", "code/main.py": b"print(1)\n", "code/sub/x.txt": b"x\r\n", "top": b""}


@pytest.fixture(params=["fake", "repository", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    made: dict[str, type[places.RepositoryPlace | places.FolderPlace]] = {
        "repository": places.RepositoryPlace,
        "folder": places.FolderPlace,
    }
    return made[request.param](tmp_path) if request.param in made else places.FakePlace()


def newest(place: Place) -> Revision:
    found = place.source.fetch()
    assert isinstance(found, Revision), found
    return found


def test_the_newest_revision_and_its_files(place: Place) -> None:
    revision = place.write(FILES)
    assert newest(place).id == revision
    assert not newest(place).rewritten
    tree = place.source.tree(revision)
    entries = {entry.path: entry for entry in tree.entries()}
    assert sorted(entries) == sorted(FILES)
    contents = tree.read(entry.oid for entry in entries.values())
    assert {path: contents[entry.oid] for path, entry in entries.items()} == FILES


def test_an_object_id_depends_on_the_content_alone(place: Place) -> None:
    place.write(FILES)
    first = place.source.tree(newest(place).id)
    place.write({**FILES, "jobs/a.yaml": b"kind: Store\n"})
    second = place.source.tree(newest(place).id)
    assert first.tree_id("code") == second.tree_id("code/") is not None
    assert first.tree_id("jobs") != second.tree_id("jobs")
    assert first.tree_id("code/main.py") == second.tree_id("code/main.py") is not None
    assert first.tree_id("") != second.tree_id("")
    assert first.tree_id("nothing") is None


def test_what_was_fetched_stays_readable_when_the_source_is_gone(place: Place) -> None:
    revision = newest(place).id if place.write(FILES) else ""
    place.take_away()
    stale = place.source.fetch()
    assert isinstance(stale, Stale)
    assert stale.reason == "SourceUnreachable"
    assert stale.detail
    assert stale.last is not None
    assert stale.last.id == revision
    assert place.source.tree(revision).tree_id("code") is not None


def test_a_revision_that_was_never_fetched_is_unavailable(place: Place) -> None:
    place.write(FILES)
    newest(place)
    for revision in ("1" * 40, "main", "--help"):
        with pytest.raises(errors.Unavailable):
            place.source.tree(revision)


def test_code_as_an_archive(place: Place) -> None:
    place.write(FILES)
    tree = place.source.tree(newest(place).id)
    for path, members in (
        ("code", {"main.py": b"print(1)\n", "sub/x.txt": b"x\r\n"}),
        ("code/main.py", {"code": b"print(1)\n"}),
    ):
        data = b"".join(place.source.archive(tree.tree_id(path) or ""))
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            found = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
            assert {name: file.read() for name, file in found.items() if file} == members
    with pytest.raises(errors.Unavailable):
        b"".join(place.source.archive("1" * 40))


def test_an_edit_becomes_the_newest_state(place: Place) -> None:
    place.write(FILES)
    base = newest(place).id
    edit = Edit(files={"jobs/a.yaml": b"kind: Pool\n", "top": None, "new/b.yaml": b"b\n"}, message="suspend a", branch="main")
    pushed = place.source.propose(edit, base)
    assert isinstance(pushed, Pushed)
    after = newest(place)
    assert after.id == pushed.commit
    tree = place.source.tree(after.id)
    assert {entry.path for entry in tree.entries()} == {"jobs/a.yaml", "new/b.yaml", "code/main.py", "code/sub/x.txt"}


def test_an_edit_on_top_of_an_old_state_is_rejected(place: Place) -> None:
    place.write(FILES)
    base = newest(place).id
    place.write({**FILES, "jobs/a.yaml": b"kind: Target\n"})
    rejected = place.source.propose(Edit(files={"jobs/a.yaml": b"mine"}, message="m", branch="main"), base)
    assert isinstance(rejected, Rejected)
    assert rejected.detail


def test_an_edit_that_changes_nothing_makes_no_commit(place: Place) -> None:
    place.write(FILES)
    base = newest(place).id
    edit = Edit(files={"jobs/a.yaml": FILES["jobs/a.yaml"]}, message="m", branch="main")
    pushed = place.source.propose(edit, base)
    assert isinstance(pushed, Pushed)
    assert pushed.commit == base
    assert newest(place).id == base


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", ".git/config", "a\nb", ""])
def test_an_edit_outside_the_tree_is_refused(place: Place, path: str) -> None:
    place.write(FILES)
    base = newest(place).id
    with pytest.raises(errors.InvalidInput):
        place.source.propose(Edit(files={path: b"x"}, message="m", branch="main"), base)
