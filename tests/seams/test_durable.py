"""Atomic files and the directory lock, with a killed writer and a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.seams import durable

HOLDER = """
import pathlib, sys
from reconciler.seams import durable
durable.DirectoryLock(pathlib.Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "state"
    assert durable.read(path) is None
    durable.write_atomic(path, b"one")
    durable.write_atomic(path, b"two", mode=0o644)
    assert durable.read(path) == b"two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_data_is_flushed_before_the_rename_and_the_rename_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace: list[str] = []
    flush, rename = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        trace.append("directory" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        flush(descriptor)

    def replace(source: Path, target: Path) -> None:
        trace.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    durable.write_atomic(tmp_path / "state", b"one")
    assert trace == ["file", "rename", "directory"]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_content_and_says_what_to_do(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    durable.write_atomic(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, full)
    with pytest.raises(errors.Unavailable, match="No space left") as caught:
        durable.write_atomic(path, b"new")
    assert caught.value.remedy
    assert caught.value.where == str(path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_a_file_can_be_removed_twice(tmp_path: Path) -> None:
    durable.write_atomic(tmp_path / "state", b"one")
    durable.remove(tmp_path / "state")
    durable.remove(tmp_path / "state")
    assert durable.read(tmp_path / "state") is None


def test_something_that_is_no_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(errors.Unavailable, match="cannot be read") as caught:
        durable.read(tmp_path)
    assert caught.value.remedy == durable.FOREIGN


def test_a_directory_is_kept_to_one_process_until_it_dies(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdin is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        (folder / f"{durable.PARTIAL}state-1").write_bytes(b"half")
        with pytest.raises(errors.Busy, match=f"in use by process {holder.pid}"):
            durable.DirectoryLock(folder).acquire()
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
    with durable.DirectoryLock(folder):
        assert [entry.name for entry in folder.iterdir()] == ["lock"]


def test_one_process_cannot_hold_a_directory_twice(tmp_path: Path) -> None:
    lock = durable.DirectoryLock(tmp_path)
    with lock, pytest.raises(errors.Busy, match=f"process {os.getpid()}"):
        durable.DirectoryLock(tmp_path).acquire()
    lock.release()
    with durable.DirectoryLock(tmp_path):
        pass
