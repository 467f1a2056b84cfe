"""A working folder: its revision is its content."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.contracts.source import Edit, Pushed, Revision, Stale
from reconciler.seams import clock
from reconciler.seams.git import mirror
from reconciler.source import folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    (made / "a").write_bytes(b"1")
    return made


def source(place: Path, data: Path) -> folder.FolderSource:
    return folder.FolderSource(mirror.Mirror(data / "folder.git"), place, clock.System())


def read(one: folder.FolderSource) -> Revision:
    found = one.fetch()
    assert isinstance(found, Revision), found
    return found


def paths(one: folder.FolderSource) -> list[str]:
    return [entry.path for entry in one.tree(read(one).id).entries()]


def test_equal_content_is_the_same_revision_wherever_and_whenever(place: Path, tmp_path: Path) -> None:
    one = source(place, tmp_path / "data")
    first = read(one)
    (place / "a").write_bytes(b"2")
    second = read(one)
    (place / "a").write_bytes(b"1")
    assert read(one).id == first.id != second.id
    assert read(source(place, tmp_path / "other")).id == first.id


def test_content_that_changes_without_changing_its_size_is_seen(place: Path, tmp_path: Path) -> None:
    one = source(place, tmp_path / "data")
    before = place.stat()
    seen = {read(one).id}
    for number in range(3):
        (place / "a").write_bytes(b"%d" % (number + 2))
        os.utime(place / "a", ns=(before.st_mtime_ns, before.st_mtime_ns))
        seen.add(read(one).id)
    assert len(seen) == 4


def test_an_unchanged_file_is_not_read_again(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(clock.System):
        def now(self) -> float:
            return super().now() + 60.0

    one = folder.FolderSource(mirror.Mirror(tmp_path / "data" / "folder.git"), place, Later())
    read(one)
    (place / "b").write_bytes(b"2")
    opened: list[str] = []
    real = folder._read

    def counted(path: Path, state: os.stat_result) -> bytes | None:
        opened.append(path.name)
        return real(path, state)

    monkeypatch.setattr(folder, "_read", counted)
    assert paths(one) == ["a", "b"]
    assert opened == ["b"]


def test_what_gitignore_excludes_does_not_count(place: Path, tmp_path: Path) -> None:
    one = source(place, tmp_path / "data")
    (place / ".gitignore").write_text("*.tmp\n/big/\n")
    (place / "x.tmp").write_bytes(b"x")
    (place / "big").mkdir()
    (place / "big" / "y").write_bytes(b"y")
    (place / "sub").mkdir()
    (place / "sub" / "ü").write_bytes(b"z")
    os.mkfifo(place / "pipe")
    assert paths(one) == [".gitignore", "a", "sub/ü"]


def test_links_and_modes_are_kept_and_links_not_followed(place: Path, tmp_path: Path) -> None:
    (place / "link").symlink_to("/etc/passwd")
    (place / "run").write_bytes(b"#!/bin/sh\n")
    (place / "run").chmod(0o755)
    one = source(place, tmp_path / "data")
    modes = {entry.path: entry.mode for entry in one.tree(read(one).id).entries()}
    assert modes == {"a": "100644", "link": "120000", "run": "100755"}


def test_our_own_data_inside_the_folder_does_not_count(place: Path) -> None:
    one = source(place, place / "data")
    assert paths(one) == ["a"]
    assert read(one).id == read(one).id


def test_a_file_that_is_too_large_is_named(place: Path, tmp_path: Path) -> None:
    one = source(place, tmp_path / "data")
    good = read(one)
    with (place / "huge").open("wb") as file:
        file.truncate(folder.LARGEST + 1)
    found = one.fetch()
    assert isinstance(found, Stale)
    assert found.last == good
    assert "huge" in found.detail
    assert ".gitignore" in found.detail


def test_editing_writes_into_the_folder_but_through_no_link(place: Path, tmp_path: Path) -> None:
    one = source(place, tmp_path / "data")
    (place / "a").chmod(0o640)
    pushed = one.propose(Edit(files={"a": b"2", "new/b": b"3"}, message="m", branch="main"), read(one).id)
    assert isinstance(pushed, Pushed)
    assert (place / "a").read_bytes() == b"2"
    assert (place / "a").stat().st_mode & 0o777 == 0o640
    (tmp_path / "outside").mkdir()
    (place / "out").symlink_to(tmp_path / "outside")
    with pytest.raises(errors.InvalidInput, match="symbolic link"):
        one.propose(Edit(files={"out/c": b"x"}, message="m", branch="main"), read(one).id)
    assert not list((tmp_path / "outside").iterdir())


def test_the_private_repository_survives_a_failed_read(place: Path, tmp_path: Path) -> None:
    one = source(place, tmp_path / "data")
    first = read(one)
    away = tmp_path / "away"
    place.rename(away)
    assert isinstance(one.fetch(), Stale)
    away.rename(place)
    (place / "b").write_bytes(b"2")
    assert paths(one) == ["a", "b"]
    assert one.tree(first.id).tree_id("a")
