"""What CRIU cannot capture is said in plain words before anything is frozen, and the program runs on."""

from __future__ import annotations

import os

from tests import conditions
from tests.lab.criu_inside import Place
from tests.lab.criu_rig import Container, Rig

LIVE = """
import json, os, time
n = 0
while True:
    n += 1
    with open("/.said", "w") as out:
        json.dump({"n": n, "wrong": 0}, out)
    os.replace("/.said", "/said")
    time.sleep(0.01)
"""


def live(rig: Rig, before: str = "", **asked: object) -> Container:
    one = rig.run(["python3", "-c", before + LIVE], **asked)
    one.said()
    return one


def refused(one: Container, words: str) -> None:
    """Said by pre-flight and by an attempt to take, and the program never stands still for it."""
    assert words in one.rig.ask("preflight", name=one.name)["reason"]
    assert words in one.take()["failed"]
    one.goes_on()


def test_io_uring(rig: Rig) -> None:
    ring = "import ctypes; assert ctypes.CDLL(None).syscall(425, 8, ctypes.create_string_buffer(120)) > 0\n"
    refused(live(rig, ring), "io_uring")


def test_a_process_that_a_signal_has_stopped(rig: Rig) -> None:
    """CRIU would wait for it without end, and the container stand still with it."""
    child = "import os, signal\nchild = os.fork() or signal.pause()\n"
    stopped = "os.kill(child, signal.SIGSTOP)\nos.waitpid(child, os.WUNTRACED)\n"
    one = live(rig, child + stopped)
    refused(one, "was stopped by a signal (SIGSTOP)")


def test_a_container_of_another_shape(rig: Rig) -> None:
    one = live(rig)
    state = rig.node.path(f"/run/runc/{one.name}/state.json")
    text = state.read_text()
    state.write_text(text.replace(f"/srv/lab/criu/{one.name}/home/net", ""))
    refused(one, "interposer")
    state.write_text(text)


def test_a_device_among_the_files(rig: Rig) -> None:
    one = live(rig)
    os.mknod(one.upper / "disk", 0o060600, os.makedev(7, 99))
    assert "/disk is a device" in one.take()["failed"]
    one.goes_on()


def test_a_socket_to_the_outside_is_named(rig: Rig) -> None:
    """Known only once CRIU has looked: the program is let go at once."""
    rig.node.daemon(
        [
            "python3",
            "-c",
            "import socket; s = socket.socket(1); s.bind('/srv/lab/out'); s.listen(); kept = s.accept(); s.accept()",
        ],
        log="/var/log/outside",
    )
    conditions.eventually(lambda: rig.node.path("/srv/lab/out").exists())
    one = live(
        rig,
        "import socket; s = socket.socket(1); s.connect('/out')\n",
        mounts=[{"destination": "/out", "type": "bind", "source": "/srv/lab/out", "options": ["bind"]}],
    )
    answer = one.take()
    assert "unix socket" in answer.get("failed", ""), answer
    one.goes_on()


def test_terminals_inside_are_kept(rig: Rig) -> None:
    pair = """
import os, pty, threading
master, slave = pty.openpty()
os.write(slave, b"before")
"""
    one = live(rig, pair).moved()
    one.goes_on()


def test_layer_and_volumes(rig: Rig) -> None:
    """Deletions, modes, links and what a read-only volume shows."""
    lines = """
import os, shutil
os.unlink("/etc/motd") if os.path.exists("/etc/motd") else None
os.unlink("/etc/passwd")
shutil.rmtree("/usr/share/doc", ignore_errors=True)
os.makedirs("/data/in")
open("/data/in/a", "w").write("a")
os.link("/data/in/a", "/data/b")
os.symlink("/data/b", "/data/c")
os.chmod("/data/in/a", 0o4711)
os.setxattr("/data/in", "user.mark", b"yes")
assert open("/volume/x").read() == "shared"
"""
    (rig.lab.shared / "volume").mkdir(exist_ok=True)
    (rig.lab.shared / "volume" / "x").write_text("shared")
    volume = {"destination": "/volume", "type": "bind", "source": "/srv/lab/volume", "options": ["rbind", "ro"]}
    one = live(rig, lines, mounts=[volume])
    there = one.moved()
    there.goes_on()
    root = there.upper
    assert (root / "data" / "in" / "a").stat().st_ino == (root / "data" / "b").stat().st_ino
    assert (root / "data" / "in" / "a").stat().st_mode & 0o7777 == 0o4711
    assert os.readlink(root / "data" / "c") == "/data/b"
    assert os.getxattr(root / "data" / "in", "user.mark") == b"yes"
    assert not (there.merged / "etc" / "passwd").exists()


def test_another_user_needs_a_capability_of_the_agent(rig: Rig) -> None:
    child = """
import os, time
if os.fork() == 0:
    os.setgid(1000)
    os.setuid(1000)
    time.sleep(1000)
"""
    one = live(rig, child)
    held = next(line for line in rig.node.out("cat", "/proc/self/status").splitlines() if line.startswith("CapEff:"))
    if int(held.split()[1], 16) >> 24 & 1:
        assert "digest" in one.take()
    else:
        refused(one, "CAP_SYS_RESOURCE")


def test_a_volume_that_its_engine_does_not_say_is_its_own(rig: Rig) -> None:
    source = f"/srv/lab/volumes/{'ab' * 32}/_data"
    rig.node.run(["mkdir", "-p", source])
    refused(
        live(rig, mounts=[{"destination": "/data", "type": "bind", "source": source, "options": ["bind"]}]),
        "a volume without a name at /data",
    )


def test_a_volume_that_another_container_has_mounted(rig: Rig) -> None:
    one = live(rig, volumes=["/data"])
    source = str(Place(name=one.name).volume("/data"))
    other = live(rig, mounts=[{"destination": "/theirs", "type": "bind", "source": source, "options": ["bind"]}])
    refused(one, "the volume at /data is mounted in another container, too")
    rig.ask("remove", name=other.name)
    assert "digest" in one.take()


def test_a_device_in_a_volume(rig: Rig) -> None:
    one = live(rig, volumes=["/data"])
    os.mknod(one.volume("/data") / "disk", 0o060600, os.makedev(7, 99))
    assert "/data/disk is a device" in one.take()["failed"]
    one.goes_on()
