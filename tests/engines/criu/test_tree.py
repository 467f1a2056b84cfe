"""What is kept of a folder: copied ahead, then only what changed; applied again by the interposer's own hand."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.runtime import tree as applying
from reconciler import errors
from reconciler.engines.criu import tree
from tests.engines import program

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
LATER = 1 << 62
"""A time by which everything has been at rest for long."""


class Source:
    """A folder with one of each, and what came of it."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "upper"
        (self.root / "folder" / "inner").mkdir(parents=True)
        (self.root / "folder" / "text").write_text("hello")
        (self.root / "large").write_bytes(os.urandom(3 << 20))
        (self.root / "empty").touch()
        (self.root / "link").symlink_to("/etc/passwd")
        os.link(self.root / "large", self.root / "folder" / "twin")
        os.mkfifo(self.root / "pipe")
        with (self.root / "holes").open("wb") as file:
            file.truncate(5 << 20)
            file.seek(4 << 20)
            file.write(b"end")
        (self.root / "folder" / "text").chmod(0o4755)
        self.out = program.Memory()
        self.there = tmp_path / "there"

    def tree(self, now: int = LATER) -> tree.Tree:
        return tree.Tree(tree.LAYER, self.root, lambda: now)

    def index(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.out.content["layer.json"])
        return value

    def contents(self) -> int:
        return sum(path.startswith("layer/") for path in self.out.content)

    def applied(self) -> Path:
        """Apply what was kept, as the interposer does."""
        image = self.there.parent / "image"
        (image / "layer").mkdir(parents=True)
        for path, content in self.out.content.items():
            (image / path).write_bytes(content)
        self.there.mkdir()
        applying.lay(str(image), "layer", str(self.there))
        return self.there


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


def same(one: Path, other: Path) -> None:
    """Raise unless two folders are the same in every respect that is kept."""
    assert sorted(os.listdir(one)) == sorted(os.listdir(other))
    for name in os.listdir(one):
        left, right = (one / name).lstat(), (other / name).lstat()
        assert (left.st_mode, left.st_uid, left.st_gid, left.st_mtime_ns, left.st_nlink) == (
            right.st_mode,
            right.st_uid,
            right.st_gid,
            right.st_mtime_ns,
            right.st_nlink,
        ), name
        if (one / name).is_symlink():
            assert os.readlink(one / name) == os.readlink(other / name)
        elif (one / name).is_dir():
            same(one / name, other / name)
        elif (one / name).is_file():
            assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize("ahead", [True, False])
def test_a_folder_comes_back_as_it_was(source: Source, ahead: bool) -> None:
    made = source.tree()
    if ahead:
        made.ahead(source.out)
        assert source.contents() == 4  # large, its twin, text, holes
    made.capture(source.out, frozenset())
    same(source.root, source.applied())


def _file_away(root: Path) -> Path:
    (root / "empty").unlink()
    return root / "folder" / "inner"


CHANGES: dict[str, Callable[[Path], object]] = {
    "written": lambda root: (root / "large").write_bytes(b"new"),
    "as long as before": lambda root: (root / "large").write_bytes(os.urandom(3 << 20)),
    "replaced": lambda root: os.replace(root / "holes", root / "large"),
    "removed": lambda root: (root / "folder" / "text").unlink(),
    "removed with its folder": lambda root: shutil.rmtree(root / "folder"),
    "made": lambda root: (root / "new").write_text("new"),
    "shorter": lambda root: os.truncate(root / "large", 5000),
    "of another mode": lambda root: (root / "large").chmod(0o600),
    "a folder now": lambda root: os.replace(_file_away(root), root / "empty"),
    "renamed": lambda root: (root / "folder").rename(root / "moved"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changed_since_is_copied_again(source: Source, change: Callable[[Path], object]) -> None:
    made = source.tree()
    made.ahead(source.out)
    change(source.root)
    made.capture(source.out, frozenset())
    same(source.root, source.applied())


def test_only_what_changed_is_copied_again(source: Source) -> None:
    made = source.tree()
    made.ahead(source.out)
    before = source.contents()
    (source.root / "holes").write_text("short")
    made.capture(source.out, frozenset())
    assert source.contents() == before + 1


def test_what_changed_a_moment_ago_is_not_copied_ahead(source: Source) -> None:
    made = source.tree(now=(source.root / "large").stat().st_ctime_ns)
    made.ahead(source.out)
    assert source.contents() == 0


def test_what_is_mapped_is_copied_again(source: Source) -> None:
    made = source.tree()
    made.ahead(source.out)
    before = source.contents()
    made.capture(source.out, frozenset({"holes"}))
    assert source.contents() == before + 1


def test_contents_keep_their_names(source: Source) -> None:
    source.tree().capture(source.out, frozenset())
    again = program.Memory()
    source.tree().capture(again, frozenset())
    assert again.content.keys() == source.out.content.keys()


def test_what_is_mapped_in_a_volume_is_told_by_where_the_container_has_it(source: Source) -> None:
    made = tree.Tree("volume-3", source.root, lambda: LATER, "/data/in")
    made.ahead(source.out)
    assert sum(path.startswith("volume-3/") for path in source.out.content) == 4
    made.capture(source.out, frozenset({"data/in/holes", "large"}))
    assert sum(path.startswith("volume-3/") for path in source.out.content) == 5


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make devices and trusted attributes")
class TestAsRoot:
    def test_marks_of_the_overlay(self, source: Source) -> None:
        os.mknod(source.root / "gone", 0o020000, 0)
        os.setxattr(source.root / "folder", "trusted.overlay.opaque", b"y")
        os.setxattr(source.root / "large", "user.kept", b"value")
        os.setxattr(source.root / "large", "trusted.overlay.origin", b"x")
        source.tree().capture(source.out, frozenset())
        index = source.index()
        assert index["deleted"] == ["gone"]
        entries = {entry["path"]: entry for entry in index["entries"]}
        assert entries["folder"]["opaque"] is True
        assert entries["large"]["xattrs"] == {"user.kept": "dmFsdWU="}

    @pytest.mark.parametrize("ahead", [True, False])
    def test_a_device_is_refused(self, source: Source, ahead: bool) -> None:
        os.mknod(source.root / "folder" / "disk", 0o060600, os.makedev(7, 99))
        with pytest.raises(errors.InvalidInput, match="/folder/disk is a device"):
            source.tree().ahead(source.out) if ahead else source.tree().capture(source.out, frozenset())

    def test_marks_of_an_overlay_mean_nothing_in_a_volume(self, source: Source, tmp_path: Path) -> None:
        """It may hold the layers of an engine that runs in the container."""
        os.setxattr(source.root / "folder", "trusted.overlay.opaque", b"y")
        os.setxattr(source.root, "user.kept", b"value")
        made = tree.Tree("volume-0", source.root, lambda: LATER, "/data")
        made.capture(source.out, frozenset())
        image, there = tmp_path / "image", tmp_path / "there"
        for path, content in source.out.content.items():
            (image / path).parent.mkdir(parents=True, exist_ok=True)
            (image / path).write_bytes(content)
        (there / "folder" / "of-the-image").mkdir(parents=True)
        applying.replace(str(image), "volume-0", str(there))
        same(source.root, there)
        assert os.getxattr(there / "folder", "trusted.overlay.opaque") == b"y"
        assert os.getxattr(there, "user.kept") == b"value"
        os.mknod(source.root / "gone", 0o020000, 0)
        with pytest.raises(errors.InvalidInput, match="/data/gone is a device"):
            made.capture(source.out, frozenset())

    def test_a_redirect_is_refused(self, source: Source) -> None:
        os.setxattr(source.root / "folder", "trusted.overlay.redirect", b"/other")
        with pytest.raises(errors.InvalidInput, match="redirect_dir=off"):
            source.tree().ahead(source.out)


@pytest.mark.parametrize("turn", range(2))
def test_a_folder_that_becomes_a_link_meanwhile_shows_nothing_of_the_host(tmp_path: Path, turn: int) -> None:
    """Root of a container may at any moment put a link into its layer, which means something else on the host."""
    host, root, out = tmp_path / "host", tmp_path / "upper", program.Memory()
    for place in (host, root / "a", root / "b"):
        place.mkdir(parents=True)
        (place / "shadow").write_text("of the host" if place == host else "its own")
    clock = iter(range(LATER, LATER + 99))

    def now() -> int:
        looks = next(clock) - LATER
        if looks == turn + 1:  # the folders were seen, and nothing in them
            for name in ("a", "b"):
                (root / name).rename(root / f"{name}-before")
                (root / name).symlink_to(host)
        return LATER

    tree.Tree(tree.LAYER, root, now).ahead(out)
    assert b"of the host" not in out.content.values()


def _device(path: Path) -> None:
    os.mknod(path, 0o020600, os.makedev(1, 5))


@pytest.mark.parametrize(
    "other", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/etc/passwd"), pytest.param(_device, marks=ROOT)]
)
def test_what_becomes_another_thing_meanwhile_is_left_to_the_freeze(tmp_path: Path, other: Callable[[Path], None]) -> None:
    root, out = tmp_path / "upper", program.Memory()
    root.mkdir()
    for name in ("a", "b"):
        (root / name).write_text("its own")
    (root / "c").symlink_to("a")
    clock = iter(range(LATER, LATER + 99))

    def now() -> int:
        looks = next(clock) - LATER
        for name in {1: "a", 3: "c"}.get(looks, ""):
            (root / name).unlink()
            other(root / name) if name == "a" else (root / name).mkdir()
        return LATER

    tree.Tree(tree.LAYER, root, now).ahead(out)
    assert sum(content == b"its own" for content in out.content.values()) == 1
