"""`create` of a container of ours: what the agent is asked, what the container looks like, and what is left when it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from agent import verdicts
from tests import conditions
from tests.agent.runtime.place import ATTEMPT, CONTAINER, MARKED, TASK, Answers, Place

pytestmark = pytest.mark.usefixtures("root")


def test_the_agent_is_asked_and_the_container_gets_its_shape(place: Place, answers: Answers) -> None:
    place.config(MARKED, annotations={"io.kubernetes.pod.name": "p", "other": "x"})
    with place.agent(answers):
        assert place.create().returncode == 0
    ((verb, asked),) = answers.asked
    assert (verb, asked.container, asked.namespace, asked.attempt) == ("create", CONTAINER, "moby", ATTEMPT)
    assert asked.bundle == str(place.bundle)
    assert asked.annotations == {"io.kubernetes.pod.name": "p"}
    shaped = place.shaped()
    mounts = {mount["destination"]: mount for mount in shaped["mounts"]}
    assert mounts["/etc/hosts"]["source"] == "/etc/hosts"
    assert mounts["/dev/shm"]["type"] == "bind"
    assert {"nosuid", "noexec", "nodev"} <= set(mounts["/dev/shm"]["options"])
    assert os.statvfs(mounts["/dev/shm"]["source"]).f_blocks * 4096 == 1048576
    assert Path(mounts["/etc/hostname"]["source"]).read_text() == "c0ffee\n"
    assert {"/etc/resolv.conf", "/dev/termination-log", "/dev/perdure-generation"} <= set(mounts)
    (network,) = [one for one in shaped["linux"]["namespaces"] if one["type"] == "network"]
    assert "lo" in _in_network(network["path"], "cat /proc/net/if_inet6")
    assert Path(shaped["annotations"]["org.criu.config"]).read_text() == ""
    assert place.subcommands() == ["create"]


def counts(place: Place) -> str:
    """Where the program of the container is told to count its steps."""
    told = [one for one in place.shaped()["process"]["env"] if one.startswith("PERDURE_PROGRESS_FILE=")]
    assert len(told) <= 1
    return told[0].partition("=")[2] if told else ""


def test_a_program_that_begins_gets_a_file_to_count_its_steps_in(place: Place, answers: Answers) -> None:
    (place.rootfs / "run" / "perdure").mkdir(parents=True)
    (place.rootfs / "run" / "perdure" / "progress.jsonl").symlink_to("/etc/passwd")
    before = Path("/etc/passwd").stat()
    place.config(MARKED)
    with place.agent(answers):
        assert place.create().returncode == 0
    assert counts(place) == "/run/perdure/progress.jsonl"
    made = place.rootfs / "run/perdure/progress.jsonl"
    assert not made.is_symlink()
    assert (made.read_bytes(), made.stat().st_mode & 0o777) == (b"", 0o666)
    assert Path("/etc/passwd").stat() == before
    assert place.shaped()["process"]["env"][0] == "PATH=/usr/bin"


@pytest.mark.parametrize("mask", [0o077, 0])
def test_whoever_the_program_is_can_count(place: Place, answers: Answers, mask: int) -> None:
    place.config(MARKED)
    with place.agent(answers):
        assert place.create(umask=mask).returncode == 0
    assert [(place.rootfs / name).stat().st_mode & 0o777 for name in ("run", "run/perdure")] == [0o755, 0o755]
    assert counts(place)


def test_one_that_counts_elsewhere_is_left_alone(place: Place, answers: Answers) -> None:
    place.config(MARKED, "PERDURE_PROGRESS_FILE=/elsewhere")
    with place.agent(answers):
        assert place.create().returncode == 0
    assert counts(place) == "/elsewhere"
    assert list(place.rootfs.iterdir()) == []


@pytest.mark.parametrize("links", ["run", "run/perdure"])
def test_no_link_of_an_image_is_followed(place: Place, answers: Answers, links: str) -> None:
    outside = place.folder / "outside"
    outside.mkdir()
    (place.rootfs / links).parent.mkdir(exist_ok=True)
    (place.rootfs / links).symlink_to(outside)
    place.config(MARKED)
    with place.agent(answers):
        assert place.create().returncode == 0
    assert counts(place) == ""
    assert list(outside.iterdir()) == []


def test_a_root_that_cannot_be_written_is_no_place_to_count(place: Place, answers: Answers) -> None:
    place.config(MARKED, root={"path": str(place.rootfs), "readonly": True})
    with place.agent(answers):
        assert place.create().returncode == 0
    assert counts(place) == ""
    assert list(place.rootfs.iterdir()) == []


@pytest.mark.parametrize("destination", ["/run", "/run/perdure/", "/run/perdure/progress.jsonl"])
def test_what_a_mount_would_hide_is_not_made(place: Place, answers: Answers, destination: str) -> None:
    place.config(MARKED, mounts=[{"destination": destination, "type": "tmpfs", "source": "tmpfs"}])
    with place.agent(answers):
        assert place.create().returncode == 0
    assert counts(place) == ""
    assert list(place.rootfs.iterdir()) == []


def test_deleting_it_frees_everything_and_tells_the_agent(place: Place, answers: Answers) -> None:
    place.config(MARKED)
    with place.agent(answers):
        place.create()
        place.call("start", CONTAINER)
        place.call("kill", "--all", CONTAINER, "TERM")
        place.call("delete", CONTAINER)
    assert place.subcommands() == ["create", "start", "kill", "delete"]
    assert answers.verbs == ["create", "started", "kill", "deleted"]
    assert answers.asked[2][1].signal == signal.SIGTERM
    assert not place.home.exists()
    assert str(place.home) not in Path("/proc/self/mountinfo").read_text()


def test_mounts_and_networks_that_an_engine_has_named_are_left_alone(place: Place, answers: Answers) -> None:
    shm = {"destination": "/dev/shm", "type": "bind", "source": "/tmp", "options": ["rbind"]}
    spaces = [{"type": "network", "path": "/proc/self/ns/net"}, {"type": "pid"}]
    place.config(MARKED, mounts=[shm], linux={"namespaces": spaces})
    with place.agent(answers):
        place.create()
    assert shm in place.shaped()["mounts"]
    assert place.shaped()["linux"]["namespaces"] == spaces


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"linux": {"uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}}, "userns-remap"),
        ({"linux": {"namespaces": [{"type": "user"}]}}, "userns-remap"),
    ],
)
def test_an_engine_that_maps_users_is_refused(place: Place, answers: Answers, config: dict[str, Any], says: str) -> None:
    place.config(MARKED, **config)
    with place.agent(answers):
        assert place.create().returncode == 1
    assert says in place.told()
    assert place.calls() == []


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("installed", [True, False])
def test_a_rootless_engine_is_refused(place: Place, answers: Answers, installed: bool) -> None:
    """Its runtime is root in a namespace of users, of which a bundle says nothing, and may see an /etc of its own."""
    place.config(MARKED)
    if not installed:
        (place.etc / "runtime.json").unlink()
    create = (*place.flags, "create", "--bundle", str(place.bundle), CONTAINER)
    with place.agent(answers):
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", place.program, *create], check=False, env=place.environment
        )
    assert done.returncode == 1
    assert "its engine maps users (userns-remap, or rootless)" in place.told()
    assert (answers.asked, place.calls()) == ([], [])


def test_an_attempt_without_a_name_is_refused(place: Place, answers: Answers) -> None:
    place.config("PERDURE_ATTEMPT=")
    with place.agent(answers):
        assert place.create().returncode == 1
    assert "PERDURE_ATTEMPT is set to nothing in its environment, and is ours to set. Leave it out" in place.told()
    assert (answers.asked, place.calls()) == ([], [])


def test_two_attempts_in_one_environment_are_refused(place: Place, answers: Answers) -> None:
    place.config(MARKED, "PERDURE_ATTEMPT=def-1")
    with place.agent(answers):
        assert place.create().returncode == 1
    assert "more than once" in place.told()
    assert answers.asked == []


@pytest.mark.parametrize(
    "annotations", [{"io.kubernetes.cri.container-type": "sandbox"}, {"io.kubernetes.cri-o.ContainerType": "sandbox"}]
)
def test_a_sandbox_is_nobodys_attempt(place: Place, annotations: dict[str, str]) -> None:
    place.config(MARKED, annotations=annotations)
    assert place.create().returncode == 0
    assert place.subcommands() == ["create"]


def test_the_variable_in_another_place_than_the_environment_marks_nothing(place: Place) -> None:
    place.config(hostname="c", annotations={"note": MARKED})
    assert place.create().returncode == 0
    assert place.subcommands() == ["create"]


def test_a_refusal_is_what_the_engine_shows(place: Place, answers: Answers) -> None:
    answers.verdict = verdicts.Refuse(reason='attempt abc-3 has "started" already')
    place.config(MARKED)
    with place.agent(answers):
        done = place.create()
    assert done.returncode == 1
    assert place.told() == 'perdure: attempt abc-3 has "started" already'
    assert place.told() in done.stderr
    assert place.calls() == []
    assert not place.home.exists()


def test_an_agent_that_is_stopped_fails_the_create_within_its_deadline(place: Place) -> None:
    """Stopped, not dead: the kernel still accepts the connection for it."""
    place.install(deadline=0.2)
    place.config(MARKED)
    with _stopped_agent(place):
        assert place.create().returncode == 1
        assert "within 0.2 s (it is silent)" in place.told()
        place.home.mkdir(parents=True)
        (place.home / "state.json").write_text(json.dumps({"v": 1, "root": str(place.root), "attempt": ATTEMPT}))
        assert place.call("kill", CONTAINER, "TERM").returncode == 0
    assert place.subcommands() == ["kill"]


@pytest.mark.parametrize(("verb", "words"), [("kill", ("TERM",)), ("pause", ()), ("resume", ())])
def test_a_stop_signal_or_a_pause_waits_for_an_agent_that_is_busy_not_for_its_deadline(
    place: Place, verb: str, words: tuple[str, ...]
) -> None:
    place.install(deadline=1.5)  # two signs of life come in that time
    place.home.mkdir(parents=True)
    (place.home / "state.json").write_text(json.dumps({"v": 1, "root": str(place.root), "attempt": ATTEMPT}))
    allowed = threading.Event()

    class Busy(Answers):
        def kill(self, asked: verdicts.Asked) -> None:
            super().kill(asked)
            allowed.wait(3)

        def hold(self, asked: verdicts.Asked) -> None:
            super().hold(asked)
            allowed.wait(3)

    answers = Busy()
    with place.agent(answers):
        assert place.call(verb, CONTAINER, *words).returncode == 0
        assert answers.verbs == ["kill" if verb == "kill" else "hold"]
        log = Path(json.loads((place.etc / "runtime.json").read_text())["log"])
        assert not log.exists() or "failed" not in log.read_text()
        allowed.set()
    assert place.subcommands() == [verb]


def test_restoring(place: Place, answers: Answers, image: Path) -> None:
    (place.rootfs / "gone").write_text("of the image")
    answers.verdict = verdicts.Restore(directory=image)
    place.config(MARKED)
    with place.agent(answers):
        done = place.create()
        assert done.returncode == 0, done.stderr
        assert place.call("start", CONTAINER).returncode == 0
    (call,) = place.calls()
    argv = call["argv"]
    assert argv[:6] == ["--root", str(place.root), "--log", str(place.log), "--log-format", "json"]
    assert argv[6] == "restore"
    assert argv[-1] == CONTAINER
    assert argv[argv.index("--image-path") + 1] == str(image / "criu")
    assert argv[argv.index("--bundle") + 1] == str(place.bundle)
    assert argv[argv.index("--pid-file") + 1] == str(place.folder / "pid")
    assert "--detach" in argv
    assert call["env"]["PATH"].startswith("/bin:")
    assert not (place.rootfs / "gone").exists()
    assert (place.rootfs / "kept").read_text() == "from the checkpoint"
    status = (place.rootfs / "kept").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777, status.st_mtime_ns) == (7, 8, 0o640, 1_000_000_000)
    mounts = {mount["destination"]: mount for mount in place.shaped()["mounts"]}
    assert Path(mounts["/dev/shm"]["source"], "memory").read_bytes() == b"shared".ljust(4096, b"\0")
    assert Path(mounts["/run/secrets"]["source"]).is_dir()
    assert answers.verbs == ["create", "started"]


def test_a_restore_that_fails_leaves_no_half_container_and_says_why(place: Place, answers: Answers, image: Path) -> None:
    answers.verdict = verdicts.Restore(directory=image)
    place.config(MARKED)
    with place.agent(answers):
        assert place.create(fails="restore", status=1).returncode == 1
    assert place.subcommands() == ["restore", "delete"]
    assert place.calls()[1]["argv"][-3:] == ["delete", "--force", CONTAINER]
    assert "CRIU says 'No such thing'" in place.told()
    assert "(00.01) all well" in (place.folder / "log" / "runtime.log").read_text()
    assert not place.home.exists()
    assert answers.verbs == ["create", "failed"]
    assert "No such thing" in answers.asked[1][1].reason


def test_what_goes_wrong_after_the_restore_ends_the_container_too(place: Place, answers: Answers, image: Path) -> None:
    answers.verdict = verdicts.Restore(directory=image)
    place.config(MARKED, linux={"namespaces": [{"type": "uts"}, {"type": "network"}]})
    (place.folder / "pid").write_text("none")
    with place.agent(answers):
        assert place.create().returncode == 1
    assert place.subcommands() == ["restore", "delete"]
    assert "ValueError" in place.told()
    assert not place.home.exists()


def test_a_restore_that_takes_long_is_not_taken_for_a_failed_one(place: Place, answers: Answers, image: Path) -> None:
    gate, runc = place.folder / "gate", place.runc.read_text()
    os.mkfifo(gate)
    place.runc.write_text(f"#!/bin/sh\nread _ < {gate}\n")
    answers.verdict = verdicts.Restore(directory=image)
    place.config(MARKED)
    other = place.folder / "other"
    other.mkdir()
    (other / "config.json").write_text((place.bundle / "config.json").read_text())
    with place.agent(answers):
        process = place.begin("create", "--bundle", str(place.bundle), CONTAINER)
        conditions.eventually((place.home / "work").exists)
        os.utime(place.home, (0, 0))
        place.runc.write_text(runc)
        answers.verdict = verdicts.Create()
        assert place.call("create", "--bundle", str(other), "another").returncode == 0
        assert (place.home / "state.json").exists()
        process.kill()
        process.wait()


def test_whoever_kills_a_restore_kills_the_real_runtimes_too(place: Place, answers: Answers, image: Path) -> None:
    gate, alive = place.folder / "gate", place.folder / "alive"
    os.mkfifo(gate)
    place.runc.write_text(f"#!/bin/sh\necho $$ > {alive}\nread _ < {gate}\n")
    answers.verdict = verdicts.Restore(directory=image)
    place.config(MARKED)
    with place.agent(answers):
        process = place.begin("create", "--bundle", str(place.bundle), CONTAINER)
        conditions.eventually(lambda: alive.exists() and alive.read_text().strip())
        process.kill()
        process.wait()
    conditions.eventually(lambda: not Path(f"/proc/{alive.read_text().strip()}").exists())


def test_only_roots_own_folder_is_restored_from(place: Place, answers: Answers, image: Path) -> None:
    image.chmod(0o755)
    answers.verdict = verdicts.Restore(directory=image)
    place.config(MARKED)
    with place.agent(answers):
        assert place.create().returncode == 1
    assert "only root can enter" in place.told()


def test_an_image_that_does_not_fit_is_not_restored(place: Place, answers: Answers, image: Path) -> None:
    (image / "credentials.json").write_text(json.dumps({"v": 1, "tasks": [{**TASK, "uids": [5, 5, 5, 5]}]}))
    answers.verdict = verdicts.Restore(directory=image)
    place.config(MARKED)
    with place.agent(answers):
        assert place.create().returncode == 1
    assert "its process 1 runs as another user" in place.told()
    assert place.calls() == []


def test_a_container_of_ours_is_not_restored_by_its_engine(place: Place) -> None:
    place.config(MARKED)
    done = place.call("restore", "--bundle", str(place.bundle), "--image-path", "/elsewhere", CONTAINER)
    assert done.returncode == 1
    assert "restored by Perdure only" in place.told()


def test_what_a_failed_real_create_has_left_is_freed_by_a_later_one(place: Place, answers: Answers) -> None:
    place.config(MARKED)
    with place.agent(answers):
        assert place.create(fails="create", status=1).returncode == 1
        assert place.home.exists()
        os.utime(place.home, (0, 0))
        assert place.call("create", "--bundle", str(place.bundle), "another").returncode == 0
    assert not place.home.exists()


def test_the_host_file_must_be_roots(place: Place) -> None:
    (place.etc / "runtime.json").chmod(0o666)
    place.config(MARKED)
    assert place.create().returncode == 1
    assert "belong to root" in place.told()


def test_the_log_is_bounded(place: Place, answers: Answers) -> None:
    log = place.folder / "log" / "runtime.log"
    log.parent.mkdir()
    log.write_text("x" * (1 << 20) + "\n")
    place.config(MARKED)
    with place.agent(answers):
        place.create()
    assert log.stat().st_size < 1000
    assert log.with_name("runtime.log.1").stat().st_size > 1 << 20


def _in_network(path: str, script: str) -> str:
    return subprocess.run(["nsenter", f"--net={path}", "sh", "-c", script], check=True, capture_output=True, text=True).stdout


STOPPED = """
import os, signal, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print(flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


class _stopped_agent:
    def __init__(self, place: Place) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-IS", "-c", STOPPED, str(place.run / "runtime.sock")], stdout=subprocess.PIPE
        )

    def __enter__(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.readline()
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
