"""The real disk: nothing through a link, nothing outside the root, nothing underneath a mount that went away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
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
    with pytest.raises(errors.Unavailable):
        _open(tmp_path / "file").list(RUN)
    assert not _open(tmp_path / "file").health().ok


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
        assert "may not be used" in unavailable(lambda: depot.writer(images.meta()))
        assert "may not be used" in depot.health().detail
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
