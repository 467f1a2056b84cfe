"""The real disk: nothing through a link, nothing outside the root, nothing underneath a mount that went away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.contracts import store
from reconciler.storage import path
from reconciler.storage.disk.local import LocalDisk
from tests.storage import images
from tests.storage.images import RUN


def _open(root: Path, **more: object) -> path.PathStore:
    return path.PathStore(images.config(str(root), **more), store.Keys())


def test_files_are_private(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "store"
    images.put(_open(root), {"a": b"1"})
    for found in (root, *root.rglob("*")):
        assert found.stat().st_mode & 0o077 == 0, found


def test_group_bits_alone_share_nothing(tmp_path: Path) -> None:
    """Many a folder has them by accident."""
    root = tmp_path / "store"
    root.mkdir()
    root.chmod(0o775)
    images.put(_open(root), {"a": b"1"})
    for found in root.rglob("*"):
        assert found.stat().st_mode & 0o077 == 0, found


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")
def test_accounts_of_one_group_share_a_store(tmp_path: Path) -> None:
    """As an agent that is root and a loop that is not; a third account has no part in it."""
    root, group = tmp_path / "store", 12345
    root.mkdir()
    os.chown(root, 0, group)
    root.chmod(0o2770)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    tmp_path.chmod(0o711)
    digest = images.put(_open(root), {"a": b"1"}).digest
    assert _open(root).verify(digest).ok, "and all that it imports, others need not be able to read"

    def loop() -> None:
        images.put(_open(root), {"a": b"2"}, images.meta(2))
        assert [taken.attempt for taken in _open(root).list(RUN)] == [1, 2]
        assert _open(root).verify(digest).ok

    def stranger() -> None:
        with pytest.raises(errors.Unavailable, match="may not be used") as caught:
            _open(root).list(RUN)
        assert "chgrp -R GROUP DIR" in caught.value.remedy

    umask = os.umask(0o077)
    try:
        _as(54321, group, loop)
        _as(54322, 54322, stranger)
    finally:
        os.umask(umask)
    images.put(_open(root), {"a": b"3"}, images.meta(3))
    assert len(_open(root).list(RUN)) == 3
    for found in root.rglob("*"):
        mode = 0o2770 if found.is_dir() else 0o660
        assert (found.stat().st_gid, found.stat().st_mode & 0o7777) == (group, mode), found


def _as(user: int, group: int, work: Callable[[], None]) -> None:
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            work()
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_link_planted_in_the_store_leads_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "store"
    for planted in ("packs", "writing", "checkpoints", "attempts"):
        shutil.rmtree(root, ignore_errors=True)
        (root / "runs" / RUN).mkdir(parents=True)
        (root / "runs" / RUN / planted).symlink_to(outside)
        with pytest.raises(errors.PerdureError):
            images.put(_open(root), {"a": b"1"})
        assert list(outside.iterdir()) == []


def test_a_file_that_is_no_file_is_not_read(tmp_path: Path) -> None:
    root = tmp_path / "store"
    digest = images.put(_open(root), {"a": b"1"}).digest
    manifest = root / "runs" / RUN / "checkpoints" / digest[7:] / "manifest.json"
    content = manifest.read_bytes()
    manifest.unlink()
    os.mkfifo(manifest)
    with pytest.raises(errors.PerdureError):
        _open(root).open(digest)
    manifest.unlink()
    secret = tmp_path / "secret"
    secret.write_bytes(content)
    manifest.symlink_to(secret)
    with pytest.raises(errors.PerdureError):
        _open(root).open(digest)


def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.Unavailable, match="is not a folder"):
        _open(tmp_path / "file").list(RUN)
    health = _open(tmp_path / "file").health()
    assert (health.ok, health.detail) == (False, "the store is not a folder")
    assert "path.root" in health.remedy


@pytest.mark.parametrize("name", ["packs", "attempts", "logs", "logs/1/0000000000000000"])
def test_something_else_in_the_store_is_named_and_the_store_not_called_no_folder(tmp_path: Path, name: str) -> None:
    root, ref = tmp_path / "store", images.ALONE
    depot = _open(root)
    depot.claim(ref, "me")
    depot.append_log(ref, 0, b"text")
    place = root / "runs" / ref.run / name
    shutil.rmtree(place, ignore_errors=True)
    if place.exists():
        place.unlink()
        place.mkdir()
    else:
        place.write_text("")
    use = partial(depot.append_log, ref, 0, b"x") if name.startswith("logs") else partial(images.put, depot, {"state": b"x"})
    with pytest.raises(errors.Unavailable, match=f"something else lies in the place of {place.relative_to(root)}: ") as caught:
        use()
    assert caught.value.remedy


def test_a_name_that_only_looks_like_a_number_is_nobodys(tmp_path: Path) -> None:
    depot, ref = _open(tmp_path / "store"), images.ALONE
    depot.claim(ref, "me")
    depot.append_log(ref, 0, b"text")
    for folder in ("attempts", f"logs/{ref.attempt}"):
        (tmp_path / "store" / "runs" / ref.run / folder / "\u00b2").touch()
    assert depot.claim(ref, "me")
    assert depot.append_log(ref, 4, b"more") == 8


def test_a_root_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    root = tmp_path / "store"
    depot = _open(root)
    depot.claim(images.ALONE, "me")
    sink = depot.writer(images.meta())
    images.fill(sink, {"a": images.noise(1, 600)})
    root.rename(tmp_path / "old")
    (tmp_path / "store").mkdir()
    with pytest.raises(errors.Unavailable, match="not where it was"):
        sink.commit()
    assert list(root.iterdir()) == []
    assert not list((tmp_path / "old").rglob("manifest.json"))


def test_where_nothing_is_mounted() -> None:
    root = Path("/") / "perdure-is-not-mounted-here"
    depot = _open(root, must_be_mounted=True)
    with pytest.raises(errors.Unavailable, match="does not exist"):
        depot.claim(images.ALONE, "me")
    assert not root.exists()


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    depot = _open(tmp_path / "store")
    first = images.put(depot, {"a": images.noise(1, 300)})
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    second = images.put(depot, {"a": images.noise(1, 300)}, images.meta(at=2), first.digest)
    images.content_of(depot, second.digest)
    depot.verify(first.digest)
    aborted = depot.writer(images.meta(at=3), first.digest)
    aborted.abort()
    with pytest.raises(errors.Refused):
        depot.open("sha256:" + "0" * 64)
    depot.sweep(0)
    assert len(os.listdir("/proc/self/fd")) == before


PRELUDE = """
import os, subprocess, sys
from reconciler import errors
from reconciler.contracts import store
from reconciler.storage import path
from tests.storage import images

def mount(*args): subprocess.run(["mount", *args], check=True)
def umount(*args): return subprocess.run(["umount", *args], capture_output=True).returncode == 0
def tmpfs(where): mount("-t", "tmpfs", "-o", "size=64m", "none", where)
def unavailable(call):
    try: call()
    except errors.Unavailable as error: return str(error)
    raise SystemExit("it went through")

root = sys.argv[1] + "/mnt"
os.mkdir(root)
depot = path.PathStore(images.config(root, must_be_mounted=True), store.Keys())
"""

MOUNTS = {
    "refused-until-mounted": """
        mount("--bind", "/", sys.argv[1])
        root = "/"
        depot = path.PathStore(images.config(root, must_be_mounted=True), store.Keys())
        assert "mustBeMounted" in unavailable(lambda: depot.claim(images.ALONE, "me"))
        assert not depot.health().ok
        """,
    "a-mount-and-a-folder-below-one": """
        tmpfs(root)
        images.put(depot, {"a": b"1"})
        os.mkdir(root + "/below")
        below = path.PathStore(images.config(root + "/below", must_be_mounted=True), store.Keys())
        images.put(below, {"a": b"1"})
        assert umount(root), "nothing keeps it busy"
        """,
    "unmounted-while-written": """
        tmpfs(root)
        depot.claim(images.ALONE, "me")
        sink = depot.writer(images.meta())
        images.fill(sink, {"a": images.noise(1, 600)})
        assert not umount(root), "a writer keeps it busy"
        assert umount("-l", root)
        images.fill(sink, {"b": images.noise(2, 600)})
        assert "not where it was" in unavailable(sink.commit)
        assert os.listdir(root) == [], "nothing lies underneath"
        """,
    "mounted-over-while-written": """
        tmpfs(root)
        depot.claim(images.ALONE, "me")
        sink = depot.writer(images.meta())
        images.fill(sink, {"a": images.noise(1, 600)})
        tmpfs(root)
        assert "not where it was" in unavailable(sink.commit)
        assert os.listdir(root) == []
        umount(root)
        assert depot.list(images.RUN) == ()
        """,
    "bind-mounted-over-itself": """
        os.mkdir(sys.argv[1] + "/real")
        mount("--bind", sys.argv[1] + "/real", root)
        taken = images.put(depot, {"a": b"1"})
        sink = depot.writer(images.meta(at=2))
        mount("--bind", sys.argv[1] + "/real", root)
        assert "not where it was" in unavailable(sink.commit), "the same folder through another mount"
        assert images.content_of(depot, taken.digest) == {"a": b"1"}
        """,
    "full": """
        mount("-t", "tmpfs", "-o", "size=2m", "none", root)
        depot.claim(images.ALONE, "me")
        def write():
            sink = depot.writer(images.meta())
            images.fill(sink, {"a": images.noise(1, 1000)})
            sink.commit()
        assert "full" in unavailable(write)
        images.put(depot, {"a": images.noise(1, 100)})
        """,
    "out-of-inodes": """
        mount("-t", "tmpfs", "-o", "nr_inodes=14", "none", root)
        taken = images.put(depot, {"a": b"1"})
        assert "full" in unavailable(lambda: images.put(depot, {"a": b"2"}))
        assert images.content_of(depot, taken.digest) == {"a": b"1"}
        """,
    "read-only": """
        tmpfs(root)
        taken = images.put(depot, {"a": b"1"})
        mount("-o", "remount,ro", root)
        assert "Mount it for writing" in unavailable(lambda: depot.writer(images.meta()))
        assert "may not be used" in depot.health().detail
        assert "Mount it for writing" in depot.health().remedy
        assert images.content_of(depot, taken.digest) == {"a": b"1"}
        """,
}


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("unshare"), reason="mounting needs root on Linux"
)
@pytest.mark.parametrize("case", MOUNTS)
def test_mounts(case: str, tmp_path: Path) -> None:
    script = PRELUDE + textwrap.dedent(MOUNTS[case])
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", script, str(tmp_path)]
    top = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=top, check=False)
    assert done.returncode == 0, done.stderr


def test_the_space_that_is_left(tmp_path: Path) -> None:
    disk = LocalDisk(str(tmp_path))
    space = disk.space()
    assert 0 < space.free <= space.total
    disk.close()
    with pytest.raises(OSError, match="closed"):
        disk.names("")
