"""What is looked at before a dump, what is swept after one that was cut short, and how CRIU's log is said."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.contracts import engine
from reconciler.engines.criu import (
    externals,
    hook,
    leftovers,
    logtext,
    preflight,
    program,
    runtime_state,
    volumes,
    watches,
)
from reconciler.engines.criu.runtime_state import Mount, State
from tests import conditions

STATE = {
    "id": "c1",
    "init_process_pid": os.getpid(),
    "init_process_start": runtime_state.started(os.getpid()),
    "config": {
        "rootfs": "/bundle/rootfs",
        "mounts": [
            {"destination": "/proc", "source": "proc", "device": "proc"},
            {"destination": "/dev/shm", "source": "/home/shm", "device": "bind"},
        ],
        "namespaces": [{"type": "NEWNET", "path": "/proc/self/ns/net"}, {"type": "NEWPID"}],
        "mask_paths": ["/proc/kcore", "/proc/nowhere"],
    },
    "cgroup_paths": {"freezer": "/sys/fs/cgroup/freezer/c1", "cpu": "/sys/fs/cgroup/cpu/c1"},
    "external_descriptors": ["/dev/null", "pipe:[1]", "pipe:[2]"],
}


def state(tmp_path: Path, **changed: object) -> State:
    (tmp_path / "state.json").write_text(json.dumps({**STATE, **changed}))
    return runtime_state.read(tmp_path / "state.json")


def look(tmp_path: Path, *mounts: Mount, **changed: object) -> preflight.Look:
    root = Mount(root="/", destination="/", kind="overlay", options="rw,upperdir=/u")
    return preflight.Look(state(tmp_path, **changed), (root, *mounts), (os.getpid(),), (4, 2), (6, 18))


def test_what_runc_has_written(tmp_path: Path) -> None:
    found = state(tmp_path)
    assert found.alive()
    assert found.binds == {"/dev/shm": "/home/shm"}
    assert found.freezer == "/sys/fs/cgroup/freezer/c1"
    said = externals.arguments(found)
    assert "mnt[/dev/shm]:/dev/shm" in said
    assert f"net[{os.stat('/proc/self/ns/net').st_ino}]:extRootNetNS" in said
    assert "mnt[/proc/nowhere]:/dev/null" not in said
    assert json.loads(externals.descriptors(found)) == STATE["external_descriptors"]
    assert json.loads(externals.record(found, {"linux": {"seccomp": {"b": 1, "a": 2}}})) == {
        "v": 1,
        "mounts": ["/dev/shm"],
        "volumes": [],
        "seccomp": "d3626ac30a87e6f7a6428233b3c68299976865fa5508e4267c5415c76af7a772",
        "network": True,
        "devices": [],
    }


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"config": {}}'])
def test_a_state_that_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(errors.Damaged):
        runtime_state.read(tmp_path / "state.json")
    with pytest.raises(errors.Unavailable):
        runtime_state.read(tmp_path / "nowhere.json")


def test_a_container_of_ours_can_be_captured(tmp_path: Path) -> None:
    assert preflight.decide(look(tmp_path)) == engine.Can()


@pytest.mark.parametrize(
    ("users", "asks", "can"), [("0\t0\t0\t0", False, True), ("0\t7\t0\t0", False, False), ("7\t7\t7\t7", True, True)]
)
def test_limits_of_other_users_want_a_capability(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, users: str, asks: bool, can: bool
) -> None:
    monkeypatch.setattr(preflight, "_status", lambda pid, name: users if name in ("Uid", "Gid") else "")
    found = preflight.decide(dataclasses.replace(look(tmp_path), asks_limits=asks))
    assert isinstance(found, engine.Can) is can
    if isinstance(found, engine.Cannot):
        assert "CAP_SYS_RESOURCE" in found.reason


CONFIG = STATE["config"]
assert isinstance(CONFIG, dict)


@pytest.mark.parametrize(
    ("changed", "mounts", "words"),
    [
        ({"init_process_start": 1}, (), "ended"),
        ({"cgroup_paths": {}}, (), "no cgroup"),
        ({"config": {**CONFIG, "namespaces": [{"type": "NEWNET"}]}}, (), "interposer"),
        ({}, (Mount(root="/", destination="/", kind="ext4", options="rw"),), "ext4"),
        ({}, (Mount(root="/", destination="/data", kind="fuse.sshfs", options="rw"),), "/data is a mount of kind fuse.sshfs"),
        ({}, (Mount(root="/", destination="/over", kind="overlay", options="rw"),), "/over is a mount of kind overlay"),
    ],
)
def test_what_cannot_be_captured_is_said(
    tmp_path: Path, changed: dict[str, object], mounts: tuple[Mount, ...], words: str
) -> None:
    found = preflight.decide(look(tmp_path, *mounts, **changed))
    assert isinstance(found, engine.Cannot)
    assert words in found.reason


NAMES = ("a" * 64, "b" * 64)
VOLUMES = [{"device": "bind", "destination": f"/v{n}", "source": f"/d/volumes/{NAMES[n]}/_data"} for n in (1, 0)]
POD = f"/var/lib/containerd/io.containerd.grpc.v1.cri/containers/{'c' * 64}/volumes/{'d' * 64}"


def mounting(tmp_path: Path, *mounts: dict[str, str]) -> State:
    assert isinstance(CONFIG, dict)
    return state(tmp_path, config={**CONFIG, "mounts": [{"device": "tmpfs", "destination": "/", "source": ""}, *mounts]})


def test_volumes_of_its_own_are_sorted_by_where_they_are(tmp_path: Path) -> None:
    found = mounting(tmp_path, *VOLUMES, {"device": "bind", "destination": "/a", "source": "/d/volumes/named/_data"})
    own = volumes.folders(found, NAMES)
    assert list(own.items()) == [(f"/v{n}", f"/d/volumes/{NAMES[n]}/_data") for n in (0, 1)]
    assert volumes.folders(found, NAMES[:1]) == {"/v0": own["/v0"]}
    assert json.loads(externals.record(found, {}, own))["volumes"] == ["/v0", "/v1"]


@pytest.mark.parametrize(
    ("source", "own", "can"),
    [
        (f"/d/volumes/{NAMES[0]}/_data", NAMES[:1], True),
        (f"/d/volumes/{NAMES[0]}/_data", (), False),
        (f"/d/volumes/{NAMES[0]}/_data", NAMES[1:], False),
        ("/d/volumes/named/_data", (), True),
        (POD, (), False),
    ],
)
def test_whose_a_volume_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, own: tuple[str, ...], can: bool
) -> None:
    monkeypatch.setattr(runtime_state, "processes", lambda state: (os.getpid(),))
    seen = look(tmp_path)
    found = mounting(tmp_path, {"device": "bind", "destination": "/data", "source": source})
    said = preflight.decide(preflight.Look(found, seen.mounts, seen.processes, seen.criu, seen.kernel, own))
    assert isinstance(said, engine.Can) is can
    if isinstance(said, engine.Cannot):
        assert "/data" in said.reason


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts are root's")
def test_a_volume_that_another_container_has_mounted_is_not_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_state, "processes", lambda state: (os.getpid(),))
    source = tmp_path / "volumes" / NAMES[0] / "_data"
    (source / "sub").mkdir(parents=True)
    seen, found = look(tmp_path), mounting(tmp_path, {"device": "bind", "destination": "/data", "source": str(source)})
    mine = preflight.Look(found, seen.mounts, seen.processes, seen.criu, seen.kernel, NAMES[:1])
    assert preflight.decide(mine) == engine.Can()
    script = f"mount --bind {source}/sub /mnt && echo mounted && read _"
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == b"mounted\n"
        said = preflight.decide(mine)
        other.stdin.close()
    assert isinstance(said, engine.Cannot)
    assert f"the volume at /data is mounted in another container, too (process {other.pid})" in said.reason


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/dev/pts/3", "terminal"),
        ("anon_inode:[io_uring]", "io_uring"),
        ("anon_inode:[userfaultfd]", "userfaultfd"),
        ("/proc/1/task/4000000000/stat", "a thread that has ended"),
        ("/dev/nvidia0", "GPU"),
    ],
)
def test_what_is_open_may_speak_against_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, words: str) -> None:
    monkeypatch.setattr(preflight, "_links", lambda folder: iter(["socket:[1]", target]))
    found = preflight.decide(look(tmp_path))
    assert isinstance(found, engine.Cannot)
    assert words in found.reason


@pytest.fixture
def child() -> Iterator[int]:
    """A process that waits."""
    with subprocess.Popen(["sleep", "1000"]) as one:
        yield one.pid
        one.kill()


def with_process(found: preflight.Look, pid: int) -> preflight.Look:
    return dataclasses.replace(found, processes=(os.getpid(), pid))


@pytest.fixture
def rooted(tmp_path: Path) -> Iterator[State]:
    """A process with a root of its own, where /var/run is a link to /run and /loop one to itself."""
    root = tmp_path / "root"
    (root / "var").mkdir(parents=True)
    (root / "run").mkdir()
    (root / "var" / "run").symlink_to("/run")
    (root / "up").symlink_to("../../run/../run")
    (root / "loop").symlink_to("loop")
    assert isinstance(CONFIG, dict)
    script = f"import os, time; os.chroot({str(root)!r}); print(flush=True); time.sleep(1000)"
    with subprocess.Popen([sys.executable, "-IS", "-c", script], stdout=subprocess.PIPE) as one:
        assert one.stdout
        assert one.stdout.readline() == b"\n"
        binds = ("/data/", "/var/run/x", "/up/y", "/loop/z")
        mounts = [{"destination": at, "source": "/srv", "device": "bind"} for at in binds]
        yield state(tmp_path, init_process_pid=one.pid, config={**CONFIG, "mounts": mounts})
        one.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="a root is root's to change")
def test_a_mount_is_where_the_links_of_its_image_lead(rooted: State) -> None:
    assert rooted.links() == {"/up/y": "/run/y", "/var/run/x": "/run/x"}
    assert rooted.place("/loop/z") == "/loop/z"
    assert "mnt[/run/x]:/run/x" in externals.arguments(rooted)
    assert json.loads(externals.record(rooted, {}))["links"] == rooted.links()
    here = Mount(root="/", destination="/run/x", kind="ext4", options="rw")
    seen = preflight.Look(rooted, (here,), (), (4, 2), (6, 18))
    assert preflight._mounts(seen) is None


def test_a_command_that_runs_in_a_container_is_not_captured(child: int) -> None:
    with subprocess.Popen(["sh", "-c", "sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout
        second = int(first.stdout.readline())
        assert set(runtime_state.descending(first.pid, (second, child, first.pid))) == {first.pid, second}
        os.kill(second, signal.SIGKILL)
        first.kill()


def test_a_stopped_process_is_told_before_criu_waits_for_it(tmp_path: Path, child: int) -> None:
    found = with_process(look(tmp_path), child)
    assert preflight.decide(found) == engine.Can()
    os.kill(child, signal.SIGSTOP)
    conditions.eventually(lambda: runtime_state.stopped(child))
    said = preflight.decide(found)
    assert isinstance(said, engine.Cannot)
    assert f"process {child} of the container was stopped by a signal" in said.reason
    assert f"kill -CONT {child}" in said.remedy
    second = with_process(look(tmp_path, cgroup_paths={"": "/sys/fs/cgroup/c1"}), child)
    assert preflight.decide(second) == engine.Can(), "cgroup version 2"


def test_a_program_that_lies_in_memory_only_is_told(tmp_path: Path) -> None:
    with open("/bin/sleep", "rb") as program:
        memory = os.memfd_create("packed")
        os.write(memory, program.read())
    with subprocess.Popen(["sleep", "1000"], executable=f"/proc/self/fd/{memory}", pass_fds=(memory,)) as one:
        said = preflight.decide(with_process(look(tmp_path), one.pid))
        one.kill()
    os.close(memory)
    assert isinstance(said, engine.Cannot)
    assert f"process {one.pid} of the container runs a program from memory (/memfd:packed" in said.reason


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces are root's to make")
@pytest.mark.parametrize(("flag", "name"), [("--mount", "mount"), ("--uts", "host name")])
def test_a_namespace_within_is_named(tmp_path: Path, flag: str, name: str) -> None:
    with subprocess.Popen(["unshare", flag, "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE) as one:
        assert one.stdout
        one.stdout.readline()
        said = preflight.decide(with_process(look(tmp_path), one.pid))
        one.kill()
    assert isinstance(said, engine.Cannot)
    assert f"process {one.pid} of the container has made a {name} namespace of its own" in said.reason


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"TracerPid": "17"}, "is traced by process 17"),
        ({"State": "Z (zombie)", "Threads": "3"}, "has ended and others go on"),
        ({"State": "Z (zombie)", "Threads": "1"}, ""),
    ],
)
def test_what_a_process_is_may_speak_against_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: dict[str, str], words: str
) -> None:
    monkeypatch.setattr(preflight, "_status", lambda pid, name: status.get(name, ""))
    said = preflight.decide(look(tmp_path))
    assert words in said.reason if isinstance(said, engine.Cannot) else not words


def test_a_message_queue_is_named(tmp_path: Path) -> None:
    """The file system of queues is made anew where the container goes on."""
    place = tmp_path / "mqueue"
    place.mkdir()
    found = look(tmp_path, Mount(root="/", destination=str(place), kind="mqueue", options="rw"))
    assert preflight.decide(found) == engine.Can()
    (place / "jobs").touch()
    said = preflight.decide(found)
    assert isinstance(said, engine.Cannot)
    assert f"a POSIX message queue ({place}/jobs)" in said.reason


@pytest.mark.parametrize(
    ("criu", "kernel", "can"), [((4, 1), (6, 18), False), ((4, 1), (6, 12), True), ((4, 2), (6, 18), True)]
)
def test_sockets_need_a_criu_that_knows_the_kernel(
    tmp_path: Path, criu: tuple[int, int], kernel: tuple[int, int], can: bool
) -> None:
    seen = look(tmp_path)
    with socket.create_server(("127.0.0.1", 0)):
        found = preflight.decide(preflight.Look(seen.state, seen.mounts, seen.processes, criu, kernel))
    assert isinstance(found, engine.Can) is can


def test_a_watch_is_found_by_its_inode(tmp_path: Path) -> None:
    here = tmp_path / "watched"
    here.mkdir()
    pairs = dict(watches._inodes(tmp_path, tmp_path.stat().st_dev))
    assert pairs["watched"] == here.stat().st_ino
    fdinfo = "pos:\t0\nflags:\t00\ninotify wd:1 ino:2a sdev:fe00001 mask:100 ignored_mask:0 fhandle-bytes:8\n"
    assert watches._WATCH.findall(fdinfo) == [("2a", "fe00001")]


def test_a_log_in_plain_words(tmp_path: Path) -> None:
    log = tmp_path / "dump.log"
    log.write_text(
        "(00.1) Warn  (x.c:1): nothing\n(00.2) Error (criu/util.c:1): rlimit: Can't setup RLIMIT_NOFILE for self\n"
        "(00.2) Error (criu/files-reg.c:947): Can't dump ghost file /tmp/big of 9 size, increase limit\n"
        "(00.3) Error (criu/cr-dump.c:2111): Dumping FAILED.\n"
    )
    assert logtext.explain(log).startswith("the deleted file /tmp/big that is still open is too large (9 bytes) (CRIU: Error")
    log.write_text("(00.1) Error (new.c:1): something new\n(00.2) Error (new.c:2): and more\n")
    assert logtext.explain(log) == "Error (new.c:1): something new; Error (new.c:2): and more"
    assert logtext.explain(tmp_path / "nowhere") == ""
    assert not logtext.is_passing(log)
    for line in ("inet: In-flight connection (l) for 4f", "unix: Non-empty write queue on an in-flight socket 0x7ffa5"):
        log.write_text(f"(01.2) Error (criu/sk.c:185): {line}\n")
        assert logtext.is_passing(log)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "Error (criu/files-ext.c:94): Can't dump file 3 of that type [600] (anon anon_inode:[perf_event])",
            "the program has a descriptor of kind perf_event open",
        ),
        (
            "Error (criu/sockets.c:767): sockets: BUG! Unknown socket collected (family 40)",
            "the program has a socket of family 40",
        ),
        ("Error (criu/proc_parse.c:502): Unknown shit 100600 (/secretmem (deleted))", "the program has secret memory"),
        ("Error (criu/namespaces.c:460): Can't dump nested uts namespace for 12147", "process 12147 has made a uts namespace"),
        ("Error (criu/filesystems.c:650): mqueue isn't empty", "the container has a POSIX message queue"),
        ("Error (criu/seize.c:882): Zombies with threads are not supported", "the first thread of a process has ended"),
    ],
)
def test_what_criu_says_of_a_program(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "dump.log").write_text(
        f"(00.2) {line}\n(00.3) Error (criu/cr-dump.c:1545): Dump files (pid: 7) failed with -1\n"
    )
    assert logtext.explain(tmp_path / "dump.log").startswith(said)


@pytest.mark.parametrize(("answer", "status"), [(hook.YES, 0), (b"0", 1), (b"", 1), (None, 1)])
def test_only_a_yes_ends_a_program(tmp_path: Path, answer: bytes | None, status: int) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        if answer is not None:
            listener.bind(str(path))
            listener.listen(1)

        def speak() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(answer or b"")

        thread = threading.Thread(target=speak)
        if answer is not None:
            thread.start()
        done = subprocess.run([sys.executable, "-IS", str(hook.__file__), str(path), "10"], check=False)
        if answer is not None:
            thread.join()
    assert done.returncode == status


def trace(**changed: object) -> leftovers.Trace:
    me = {"container": "c1", "pid": os.getpid(), "started": runtime_state.started(os.getpid()), "freezer": "", "network": ""}
    return leftovers.Trace(**{**me, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "frozen", "thawed"), [("freezer.state", "FROZEN", "THAWED"), ("cgroup.freeze", "1", "0")])
def test_a_container_that_was_left_frozen_is_thawed(tmp_path: Path, name: str, frozen: str, thawed: str) -> None:
    (tmp_path / name).write_text(frozen)
    assert leftovers.frozen(str(tmp_path))
    leftovers.calm(trace(freezer=str(tmp_path)))
    assert (tmp_path / name).read_text().startswith(thawed)


def test_a_container_that_somebody_had_paused_stays_so(tmp_path: Path) -> None:
    container = engine.Container(id="c1", state_file=tmp_path / "state.json", bundle=tmp_path)
    (tmp_path / "freezer.state").write_text("FROZEN")
    leftovers.begin(tmp_path / "dumps", container, state(tmp_path, cgroup_paths={"freezer": str(tmp_path)}))
    assert leftovers.sweep(tmp_path / "dumps") == ("c1",)
    assert (tmp_path / "freezer.state").read_text() == "FROZEN"


def test_a_sweep_leaves_nothing_and_touches_no_other(tmp_path: Path) -> None:
    container = engine.Container(id="c1", state_file=tmp_path / "state.json", bundle=tmp_path)
    (tmp_path / "cgroup").mkdir()
    (tmp_path / "cgroup" / "freezer.state").write_text("FROZEN")
    one = state(tmp_path, cgroup_paths={"freezer": str(tmp_path / "cgroup")}, init_process_start=1)
    folder, _ = leftovers.begin(tmp_path / "dumps", container, one)
    (folder / "spool").write_bytes(b"x")
    (tmp_path / "dumps" / "half").mkdir()
    assert leftovers.sweep(tmp_path / "dumps") == ("c1",)
    assert list((tmp_path / "dumps").iterdir()) == []
    assert (tmp_path / "cgroup" / "freezer.state").read_text() == "FROZEN"  # another process has that number now
    assert leftovers.sweep(tmp_path / "nowhere") == ()


def test_a_criu_that_is_missing_or_old(tmp_path: Path) -> None:
    with pytest.raises(errors.Unavailable, match="not on this machine"):
        program.version(str(tmp_path / "criu"))
    criu = tmp_path / "criu"
    criu.write_text('#!/bin/sh\n[ "$1" = check ] && echo "Error (x.c:1): no such call" || echo "Version: 3.17.1"\n')
    criu.chmod(0o700)
    with pytest.raises(errors.Unavailable, match=r"3\.17 is too old"):
        program.version(str(criu))
    with pytest.raises(errors.Unavailable, match="no such call"):
        program.check(str(criu))
