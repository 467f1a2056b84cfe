"""Files of a layer: what is captured is what is laid, and nothing is laid outside its root."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.runtime import capture, tree
from agent.runtime.call import Refused
from tests import hostile

NAMES = st.sampled_from(["a", "b", "c", "ä b", "x\ny"])
FILE = {"kind": "file", "mode": 0o644, "uid": os.geteuid(), "gid": os.getegid(), "mtime": 5}


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    (tmp_path / "rootfs").mkdir()
    return tmp_path / "rootfs"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_captured_comes_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    place = tmp_path_factory.mktemp("layer")
    upper, image, rootfs = place / "upper", place / "image", place / "rootfs"
    for one in (upper, image, rootfs):
        one.mkdir()
    _grow(upper, data, depth=0)
    capture.take(str(upper), str(image), "layer")
    tree.lay(str(image), "layer", str(rootfs))
    assert _told(rootfs) == _told(upper)


@pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices are root's")
def test_owners_modes_attributes_links_and_deletions(tmp_path: Path, rootfs: Path) -> None:
    upper, image = tmp_path / "upper", tmp_path / "image"
    for one in (upper, image, rootfs / "old", rootfs / "hidden"):
        one.mkdir()
    (rootfs / "old" / "inside").write_text("of the image")
    (rootfs / "hidden" / "inside").write_text("of the image")
    (rootfs / "replaced").mkdir()
    (rootfs / "replaced" / "inside").write_text("of the image")
    (upper / "program").write_text("#!/bin/sh\n")
    os.chown(upper / "program", 7, 8)
    (upper / "program").chmod(0o6755)
    os.setxattr(upper / "program", "user.note", b"\0\xff")
    os.link(upper / "program", upper / "again")
    os.mknod(upper / "old", stat.S_IFCHR, 0)
    (upper / "hidden").mkdir()
    os.setxattr(upper / "hidden", "trusted.overlay.opaque", b"y")
    (upper / "replaced").symlink_to("../../etc/passwd")
    os.mkfifo(upper / "pipe", 0o600)
    capture.take(str(upper), str(image), "layer")
    tree.lay(str(image), "layer", str(rootfs))
    assert sorted(os.listdir(rootfs)) == ["again", "hidden", "pipe", "program", "replaced"]
    status = (rootfs / "program").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (7, 8, 0o6755)
    assert os.getxattr(rootfs / "program", "user.note") == b"\0\xff"
    assert (rootfs / "again").stat().st_ino == status.st_ino
    assert os.listdir(rootfs / "hidden") == []
    assert os.listxattr(rootfs / "hidden") == []
    assert os.readlink(rootfs / "replaced") == "../../etc/passwd"


@pytest.mark.skipif(os.geteuid() != 0, reason="devices are root's")
def test_a_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    (tmp_path / "image").mkdir()
    os.mknod(tmp_path / "upper" / "disk", stat.S_IFBLK, os.makedev(8, 0))
    with pytest.raises(Refused, match="device at /disk"):
        capture.take(str(tmp_path / "upper"), str(tmp_path / "image"), "layer")


@pytest.mark.parametrize("path", ["../out", "/etc/x", "a/../../out", "a//b", ".", "a/.", "a\0b"])
@pytest.mark.parametrize("how", ["entry", "deleted", "same"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, rootfs: Path, path: str, how: str) -> None:
    entries: list[dict[str, Any]] = []
    if how == "entry":
        entries = [{**FILE, "path": path}]
    elif how == "same":
        entries = [{"path": "x", "kind": "file", "same": path}]
    with pytest.raises(Refused, match="names the path"):
        _lay(tmp_path, rootfs, entries, [path] if how == "deleted" else [])


@pytest.mark.parametrize("kind", ["entry", "inside", "deleted", "data"])
def test_no_link_is_followed(tmp_path: Path, rootfs: Path, kind: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("untouched")
    (rootfs / "link").symlink_to(outside)
    (rootfs / "file").symlink_to(outside / "secret")
    if kind == "entry":
        _lay(tmp_path, rootfs, [{**FILE, "path": "file", "data": 0, "size": 4}], [])
        assert (rootfs / "file").read_text() == "data"
        assert not (rootfs / "file").is_symlink()
    elif kind == "inside":
        with pytest.raises(OSError, match="link"):
            _lay(tmp_path, rootfs, [{**FILE, "path": "link/secret"}], [])
    elif kind == "deleted":
        _lay(tmp_path, rootfs, [], ["link/secret", "file"])
        assert not (rootfs / "file").is_symlink()
    else:
        (tmp_path / "image" / "layer").mkdir(parents=True)
        (tmp_path / "image" / "layer" / "7").symlink_to(outside / "secret")
        with pytest.raises(OSError, match="7"):
            _lay(tmp_path, rootfs, [{**FILE, "path": "x", "data": 7, "size": 9}], [])
    assert (outside / "secret").read_text() == "untouched"


@pytest.mark.skipif(os.geteuid() != 0, reason="owners are root's")
def test_a_folder_that_is_replaced_holds_nothing_else(tmp_path: Path, rootfs: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("untouched")
    (rootfs / "of-the-image" / "deep").mkdir(parents=True)
    (rootfs / "of-the-image" / "deep" / "file").touch()
    (rootfs / "way-out").symlink_to(outside)
    (rootfs / ".hidden").touch()
    os.setxattr(rootfs, "user.old", b"x")
    image = tmp_path / "image"
    (image / "volume-0").mkdir(parents=True)
    root = {"path": "", "kind": "directory", "mode": 0o1770, "uid": 5, "gid": 6, "mtime": 7}
    entries = [root, {**FILE, "path": "kept"}, {**FILE, "path": "way-out", "kind": "link", "target": str(outside)}]
    (image / "volume-0.json").write_text(json.dumps({"v": 1, "entries": entries, "deleted": []}))
    tree.replace(str(image), "volume-0", str(rootfs))
    assert sorted(os.listdir(rootfs)) == ["kept", "way-out"]
    status = rootfs.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777, status.st_mtime_ns) == (5, 6, 0o1770, 7)
    assert os.listxattr(rootfs) == []
    assert os.readlink(rootfs / "way-out") == str(outside)  # it leads where the container has that
    assert (outside / "secret").read_text() == "untouched"
    entries.append({**FILE, "path": "way-out/secret"})
    (image / "volume-0.json").write_text(json.dumps({"v": 1, "entries": entries, "deleted": []}))
    with pytest.raises(NotADirectoryError):
        tree.replace(str(image), "volume-0", str(rootfs))
    assert (outside / "secret").read_text() == "untouched"


def test_a_link_is_not_replaced(tmp_path: Path, rootfs: Path) -> None:
    (tmp_path / "link").symlink_to(rootfs)
    (rootfs / "kept").touch()
    with pytest.raises(NotADirectoryError):
        tree.replace(str(tmp_path), "volume-0", str(tmp_path / "link"))
    assert (rootfs / "kept").exists()


@pytest.mark.parametrize("kind", ["block", "char", "socket", ""])
def test_what_an_image_must_not_bring_is_refused(tmp_path: Path, rootfs: Path, kind: str) -> None:
    with pytest.raises(Refused, match="the image holds"):
        _lay(tmp_path, rootfs, [{**FILE, "path": "x", "kind": kind}], [])


@pytest.mark.parametrize("missing", ["uid", "mode", "kind", "path"])
def test_an_index_that_lacks_something_is_refused(tmp_path: Path, rootfs: Path, missing: str) -> None:
    entry = {key: value for key, value in {**FILE, "path": "x"}.items() if key != missing}
    with pytest.raises(Refused, match="not understood"):
        _lay(tmp_path, rootfs, [entry], [])


def test_removing_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "gone" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "gone" / "link").symlink_to(tmp_path / "kept")
    tree.remove(str(tmp_path / "gone"))
    tree.remove(str(tmp_path / "gone"))
    assert not (tmp_path / "gone").exists()
    assert (tmp_path / "kept" / "file").exists()


def _lay(tmp_path: Path, rootfs: Path, entries: list[dict[str, Any]], deleted: list[str]) -> None:
    image = tmp_path / "image"
    (image / "layer").mkdir(parents=True, exist_ok=True)
    (image / "layer" / "0").write_text("data")
    (image / "layer.json").write_text(json.dumps({"v": 1, "entries": entries, "deleted": deleted}))
    tree.lay(str(image), "layer", str(rootfs))


def _grow(folder: Path, data: st.DataObject, depth: int) -> None:
    for name in data.draw(st.lists(NAMES, unique=True, max_size=3)):
        path = folder / name
        kind = data.draw(st.sampled_from(["file", "folder", "link", "twin"]))
        if kind == "folder" and depth < 3:
            path.mkdir()
            _grow(path, data, depth + 1)
            path.chmod(data.draw(st.sampled_from([0o755, 0o700, 0o1777])))
        elif kind == "link":
            path.symlink_to(data.draw(st.sampled_from(["a", "/etc/passwd", "../..", "nowhere"])))
        elif kind == "twin" and (others := [one for one in folder.iterdir() if one.is_file() and not one.is_symlink()]):
            os.link(others[0], path)
        else:
            path.write_bytes(data.draw(st.binary(max_size=50)))
            path.chmod(data.draw(st.sampled_from([0o644, 0o600, 0o755])))
        os.utime(path, ns=(0, data.draw(st.integers(0, 2**60))), follow_symlinks=False)


def _told(top: Path) -> list[tuple[Any, ...]]:
    found = []
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        content: Any = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = base64.b64encode(path.read_bytes())
        mode = stat.S_IMODE(status.st_mode) if not path.is_symlink() else 0
        found.append((str(path.relative_to(top)), mode, status.st_mtime_ns, status.st_nlink, content))
    return found


def test_a_tree_is_removed_however_deep_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    hostile.deepen(tmp_path / "a", hostile.DEEP)
    tree.remove(str(tmp_path / "a"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts an overlay")
def test_folders_of_an_images_own_layer_are_removed_which_overlayfs_does_not_move(tmp_path: Path) -> None:
    for name in ("lower/gone/examples/deep", "upper", "work", "merged"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "lower/gone/examples/deep/file").touch()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work,redirect_dir=off"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(tmp_path / "merged")], check=True)
    try:
        tree.remove(str(tmp_path / "merged/gone"))
        assert list((tmp_path / "merged").iterdir()) == []
    finally:
        subprocess.run(["umount", str(tmp_path / "merged")], check=True)
