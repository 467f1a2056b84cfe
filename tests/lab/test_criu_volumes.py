"""Volumes that an engine has made for one container alone are part of it: they come back as they were, in a new folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.lab.criu_rig import Container, Rig
from tests.lab.node import CommandFailed

KEEPS = """
import json, mmap, os, time
os.chdir("/data")
os.unlink("of-the-image")
open("in/text", "w").write("written")
os.link("in/text", "twin")
os.symlink("/etc/hostname", "link")
os.mkfifo("in/fifo")
os.chown("in/text", 7, 8)
os.chmod("in/text", 0o4750)
os.setxattr("in", "user.mark", b"yes")
os.chmod(".", 0o1770)
open("large", "wb").write(os.urandom(24 << 20))
kept = open("kept", "w+")
gone = open("gone", "w+")
gone.write("no name any more")
gone.flush()
os.unlink("gone")
renamed = open("renamed", "w+")
os.link("renamed", "still")
os.unlink("renamed")
with open("mapped", "wb") as file:
    file.truncate(4096)
mapped = mmap.mmap(os.open("mapped", os.O_RDWR), 4096)
n = 0
while True:
    n += 1
    kept.seek(0)
    kept.write(f"{n:012}")
    kept.flush()
    mapped[:12] = f"{n:012}".encode()
    gone.seek(0)
    wrong = gone.read() != "no name any more"
    wrong = wrong or open("kept").read() != f"{n:012}" or open("mapped", "rb").read(12) != f"{n:012}".encode()
    wrong = wrong or os.path.exists("of-the-image") or sorted(os.listdir("/data")) != sorted(
        ["in", "twin", "link", "large", "kept", "still", "mapped"]
    )
    with open("/.said", "w") as out:
        json.dump({"n": n, "wrong": int(wrong)}, out)
    os.replace("/.said", "/said")
    time.sleep(0.01)
"""
NAMES = ["in", "kept", "large", "link", "mapped", "still", "twin"]
WATCHES = """
import ctypes, json, os, time
c = ctypes.CDLL(None)
watch = c.inotify_init1(0o4000)
assert c.inotify_add_watch(watch, b"/data", 0x100) > 0
n = 0
while True:
    n += 1
    open(f"/data/{n}", "w").close()
    seen = os.read(watch, 4096)
    os.unlink(f"/data/{n}")
    with open("/.said", "w") as out:
        json.dump({"n": n, "wrong": int(not seen)}, out)
    os.replace("/.said", "/said")
    time.sleep(0.01)
"""


def keeps(rig: Rig) -> Container:
    one = rig.run(["python3", "-c", KEEPS], volumes=["/data", "/data/in/deep"])
    assert not one.said()["wrong"]
    return one


def same(one: Path, other: Path) -> None:
    """Raise unless a volume holds what another one did, up to the open files, which have gone on."""
    for name in ("in", "in/text", "in/fifo", "link", "large", "."):
        left, right = (one / name).lstat(), (other / name).lstat()
        assert (left.st_mode, left.st_uid, left.st_gid, left.st_size if name != "." else 0) == (
            right.st_mode,
            right.st_uid,
            right.st_gid,
            right.st_size if name != "." else 0,
        ), name
    assert (other / "in/text").stat().st_ino == (other / "twin").stat().st_ino
    assert os.readlink(other / "link") == "/etc/hostname"
    assert os.getxattr(other / "in", "user.mark") == b"yes"
    assert (one / "large").read_bytes() == (other / "large").read_bytes()
    assert sorted(os.listdir(other)) == NAMES


def test_a_volume_is_as_it_was(rig: Rig) -> None:
    one = keeps(rig)
    second = one.moved()
    assert not second.goes_on()["wrong"]
    same(one.volume("/data"), second.volume("/data"))
    assert os.listdir(second.volume("/data/in/deep")) == ["of-the-image"]  # a volume of its own, in the other
    third = second.moved()  # and once more
    assert not third.goes_on()["wrong"]
    same(one.volume("/data"), third.volume("/data"))


def test_a_program_that_goes_on_keeps_its_volume_and_so_do_its_copies(rig: Rig) -> None:
    one = keeps(rig)
    before = one.said()["n"]
    taken = one.take()
    assert not one.goes_on()["wrong"]
    copies = [one.continued(taken["digest"]) for _ in range(2)]
    for copy in copies:
        said = copy.goes_on()
        assert not said["wrong"]
        assert said["n"] > before
    assert len({copy.volume("/data") for copy in (one, *copies)}) == 3
    assert not one.goes_on()["wrong"]


def test_what_lies_still_in_a_volume_is_not_sent_again(rig: Rig) -> None:
    """24 MiB that the first image has are the second one's by its parent."""
    one = keeps(rig)
    first = one.take()
    second = one.take(parent=first["digest"])
    assert second["reused"] * 4096 > 24 << 20


def test_a_watch_in_a_volume_goes_on(rig: Rig) -> None:
    one = rig.run(["python3", "-c", WATCHES], volumes=["/data"])
    one.said()
    assert not one.moved().goes_on()["wrong"]


def test_a_container_without_that_volume_is_refused(rig: Rig) -> None:
    one = keeps(rig)
    taken = one.take(stop=True)
    one.asked = {**one.asked, "volumes": ["/data"]}
    with pytest.raises(CommandFailed, match="a volume at /data/in/deep that the container lacks"):
        one.continued(taken["digest"])
    one.asked = {**one.asked, "volumes": ["/data", "/data/in/deep", "/more"]}
    with pytest.raises(CommandFailed, match="the container has a volume at /more that it lacks"):
        one.continued(taken["digest"])
    assert json.loads(one.read("/said"))["n"] > 0
