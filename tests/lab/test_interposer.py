"""The interposer under a real dockerd, with the agent's end of its socket played by the test."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import verdicts
from tests import conditions
from tests.agent.runtime.place import Answers
from tests.lab import interposer
from tests.lab.docker import Docker, ping
from tests.lab.lab import CHECKOUT, Lab
from tests.lab.recipe import BASE_IMAGE, TINY_IMAGE

COUNTER = """
import itertools, pathlib, time
for number in itertools.count():
    print(number, flush=True)
    for place in ("/count", "/dev/shm/count"):
        pathlib.Path(place + ".new").write_text(str(number))
        pathlib.Path(place + ".new").replace(place)
    time.sleep(0.02)
"""
STOPPED = """
import os, signal, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.fixture(scope="module")
def engine(lab: Lab) -> Iterator[Docker]:
    node = lab.node("interposed")
    interposer.install(node, roots=["/srv/archive"])
    yield node.docker(interposer.OPTIONS)
    lab.remove(node)


@pytest.fixture
def docker(engine: Docker) -> Iterator[Docker]:
    yield engine
    engine.clean()
    assert not list(engine.node.path(interposer.CONTAINERS).glob("*/*"))
    assert "/run/perdure/containers" not in engine.node.path("/proc/1/mounts").read_text()


@pytest.fixture
def answers(docker: Docker) -> Iterator[Answers]:
    """An agent that says what it is told to say."""
    made = Answers()
    with verdicts.serve(docker.node.path(interposer.SOCKET), made):
        yield made


def test_unmarked_containers_run_without_python_library_or_agent(docker: Docker) -> None:
    gone = ["/usr/bin/python3", interposer.LIBRARY, "/etc/perdure/runtime.json"]
    for path in gone:
        docker.node.run(["mv", path, f"{path}.gone"])
    try:
        assert docker.printed(TINY_IMAGE, "echo", "hello") == "hello"
        docker.cli("run", "--detach", "--name", "sleeper", TINY_IMAGE, "sleep", "1000")
        assert docker.cli("exec", "sleeper", "echo", "inside") == "inside"
        docker.cli("stop", "--time", "0", "sleeper")
        assert docker.node.run(["docker", "run", "--rm", TINY_IMAGE, "sh", "-c", "exit 9"], check=False).returncode == 9
        refused = _refused(docker)
    finally:
        for path in gone:
            docker.node.run(["mv", f"{path}.gone", path])
    assert "perdure-agent install" in refused


def test_without_an_agent_a_marked_container_does_not_start_from_its_beginning(docker: Docker) -> None:
    assert "the agent does not answer at /run/perdure/runtime.sock" in _refused(docker)


def test_an_agent_that_is_stopped_holds_up_nobody_else(docker: Docker) -> None:
    node = docker.node
    agent = node.daemon(["python3", "-IS", "-c", STOPPED, interposer.SOCKET], log="/var/log/stopped")
    conditions.eventually(lambda: " T " in node.path(f"/proc/{agent.pid}/stat").read_text())
    refusals: list[str] = []
    waiting = threading.Thread(target=lambda: refusals.append(_refused(docker)))
    waiting.start()
    try:
        conditions.eventually(lambda: "perdure_runc.pyz create" in node.out("ps", "-ef"))
        assert ping(node)
        assert docker.printed(TINY_IMAGE, "echo", "hello") == "hello"
        docker.cli("ps", "--all")
        assert waiting.is_alive()
        waiting.join(60)
        assert "does not answer" in refusals[0]
    finally:
        waiting.join(60)
        agent.stop(9)
        node.run(["rm", "-f", interposer.SOCKET])


def test_a_refusal_is_what_docker_run_shows(docker: Docker, answers: Answers) -> None:
    answers.verdict = verdicts.Refuse(reason="attempt abc-1 has begun already on this host")
    assert _refused(docker).endswith("perdure: attempt abc-1 has begun already on this host: unknown.")


def test_a_container_of_ours_has_the_shape_of_every_engine(docker: Docker, answers: Answers) -> None:
    script = "cat /proc/mounts; cat /sys/class/net/lo/operstate; hostname -i; cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
    said = docker.printed("--env", "PERDURE_ATTEMPT=abc-1", "--shm-size", "8m", TINY_IMAGE, "sh", "-c", script)
    for mount in ("/dev/shm tmpfs", "/etc/hosts ", "/etc/hostname ", "/etc/resolv.conf ", "/dev/termination-log "):
        assert f" {mount}" in said
    assert "size=8192k" in said
    assert said.splitlines()[-2].startswith("172.")
    assert said.splitlines()[-1] == "0"
    assert answers.verbs == ["create", "started", "deleted"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--network", "none"],
        ["--network", "host"],
        ["--ipc", "host"],
        ["--ipc", "shareable"],
        ["--pid", "host"],
        ["--uts", "host"],
        ["--read-only"],
        ["--tmpfs", "/dev/shm:size=1m"],
        ["--volume", "/srv:/dev/shm"],
        ["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.shm_rmid_forced=1"],
        ["--privileged"],
        ["--cap-drop", "ALL", "--user", "1000:1000", "--security-opt", "no-new-privileges"],
        ["--init", "--hostname", "a.b.c", "--add-host", "other:10.0.0.1"],
        ["--tty"],
        ["--restart", "on-failure:2"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("answers")
def test_whatever_else_a_container_asks_for_it_gets(docker: Docker, flags: list[str]) -> None:
    script = "test -d /dev/shm && ip link show lo | grep -q UP && exit 0"
    cleaned = [] if "--restart" in flags else ["--rm"]
    docker.cli("run", *cleaned, *flags, "--env", "PERDURE_ATTEMPT=abc-1", TINY_IMAGE, "sh", "-c", script)


def test_a_server_is_reached_at_its_new_address_and_port(docker: Docker, answers: Answers) -> None:
    serve = ["--network", "inner", "--publish", "8080:80", BASE_IMAGE, "python3", "-m", "http.server", "80"]
    docker.cli("network", "create", "inner")
    docker.cli("run", "--detach", "--name", "first", "--env", "PERDURE_ATTEMPT=abc-1", *serve)
    conditions.eventually(lambda: _fetched(docker))
    interposer.checkpoint(docker, "first", "/run/perdure/image-server")
    answers.verdict = verdicts.Restore(directory=Path("/run/perdure/image-server"))
    docker.cli("rm", "--force", "first")
    docker.cli("run", "--detach", "--name", "other", "--network", "inner", TINY_IMAGE, "sleep", "1000")  # takes its address
    docker.cli("run", "--detach", "--name", "second", "--env", "PERDURE_ATTEMPT=abc-2", *serve)
    conditions.eventually(lambda: _fetched(docker))
    asked = docker.cli("exec", "other", "wget", "-q", "-O", "-", "http://second/etc/hostname")
    assert asked == docker.inspect("second")["Config"]["Hostname"]


def test_a_command_in_a_container_of_ours_asks_nobody(docker: Docker, answers: Answers) -> None:
    docker.cli("run", "--detach", "--name", "one", "--env", "PERDURE_ATTEMPT=abc-1", TINY_IMAGE, "sleep", "1000")
    assert docker.cli("exec", "--env", "PERDURE_ATTEMPT=abc-1", "one", "echo", "inside") == "inside"
    assert answers.verbs == ["create", "started"]


@pytest.mark.usefixtures("answers")
def test_a_command_with_a_terminal_does_not_stand_in_the_way_of_a_checkpoint(docker: Docker) -> None:
    """It is no part of what is captured."""
    docker.cli("run", "--detach", "--name", "one", "--env", "PERDURE_ATTEMPT=abc-1", TINY_IMAGE, "sleep", "1000")
    docker.node.daemon(["docker", "exec", "--tty", "one", "sleep", "1000"], log="/var/log/exec")

    def terminals() -> list[str]:
        pids = docker.cli("top", "one", "-o", "pid").split()[1:]
        return [str(docker.node.path(f"/proc/{pid}/fd/0").readlink()) for pid in pids]

    conditions.eventually(lambda: any(each.startswith("/dev/pts/") for each in terminals()))
    asked = json.dumps({"name": "one", "docker": docker.inspect("one")["Id"]})
    look = [sys.executable, "-m", "tests.lab.criu_inside", "preflight", asked]
    assert docker.node.run(look, cwd=str(CHECKOUT)).stdout == "{}\n"


def test_an_ordinary_container_goes_on_where_another_was_checkpointed(docker: Docker, answers: Answers) -> None:
    _count(docker, "first")
    seen = _checkpointed(docker, answers, "first", "/run/perdure/image-1")
    _count(docker, "second", attempt=2)
    assert _numbers(docker, "second")[0] == seen + 1
    assert int(docker.cli("exec", "second", "cat", "/count")) > seen
    assert int(docker.cli("exec", "second", "cat", "/dev/shm/count")) > seen
    again = _checkpointed(docker, answers, "second", "/run/perdure/image-2")
    for number in ("3", "4", "5"):
        _count(docker, f"copy-{number}", attempt=int(number))
    for number in ("3", "4", "5"):
        assert _numbers(docker, f"copy-{number}")[0] == again + 1
    addresses = {docker.inspect(f"copy-{number}")["NetworkSettings"]["IPAddress"] for number in ("3", "4", "5")}
    assert len(addresses) == 3
    resolve = "import socket; print(socket.gethostbyname(socket.gethostname()))"
    assert {docker.cli("exec", f"copy-{number}", "python3", "-c", resolve) for number in ("3", "4", "5")} == addresses
    docker.cli("stop", "--time", "0", "copy-3")
    assert docker.inspect("copy-3")["State"]["ExitCode"] == 137


def test_a_damaged_image_leaves_no_half_container(docker: Docker, answers: Answers) -> None:
    _count(docker, "first")
    _checkpointed(docker, answers, "first", "/run/perdure/image-3")
    pages = next(docker.node.path("/run/perdure/image-3/criu").glob("mm-1.img"))
    pages.write_bytes(pages.read_bytes()[:20])
    said = _refused(docker, attempt=2)
    assert "it could not be restored: CRIU says" in said
    assert answers.verbs[-1] == "failed"
    assert docker.node.out("runc", "--root", interposer.RUNTIMES, "list", "--quiet") == ""
    assert "python3" not in docker.node.out("ps", "-eo", "comm")
    assert "Error" in docker.node.path(interposer.LOG).read_text()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--user", "1000"], "runs as another user; its process 1 has further"),
        (["--cap-drop", "CHOWN"], "has further capabilities"),
        (["--security-opt", "no-new-privileges"], "may gain privileges"),
        (["--security-opt", "seccomp=unconfined"], "it has another seccomp profile"),
        (["--volume", "/srv:/data"], "the manifest has a mount at /data that it lacks"),
        (["--network", "host"], "one of them has the host's network"),
        (["--device", "/dev/zero:/dev/zero2"], "it has other devices"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_image_with_more_rights_than_the_manifest_is_refused(
    docker: Docker, answers: Answers, kept_image: str, flags: list[str], says: str
) -> None:
    answers.verdict = verdicts.Restore(directory=Path(kept_image))
    said = _refused(docker, *flags, attempt=2)
    assert says.split(";", maxsplit=1)[0] in said


@pytest.mark.parametrize(
    "flags",
    [
        ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--group-add", "44"],
        ["--security-opt", "seccomp=unconfined", "--cap-add", "SYS_PTRACE"],
        ["--read-only", "--tmpfs", "/tmp", "--hostname", "fixed"],
        ["--network", "host", "--ipc", "host"],
        ["--volume", "/media:/data:ro", "--volume", "named:/more", "--init"],
        ["--device", "/dev/zero:/dev/zero2", "--memory", "200m", "--cpus", "0.5", "--pids-limit", "50"],
        ["--privileged"],
    ],
    ids=" ".join,
)
def test_an_image_fits_the_manifest_that_it_came_from(docker: Docker, answers: Answers, flags: list[str]) -> None:
    program = [*flags, BASE_IMAGE, "python3", "-c", COUNTER.partition("    for place")[0] + "    time.sleep(0.02)"]
    docker.cli("run", "--detach", "--name", "first", "--env", "PERDURE_ATTEMPT=abc-1", *program)
    conditions.eventually(lambda: len(_numbers(docker, "first")) > 3)
    directory = f"/run/perdure/image-{len(' '.join(flags))}"
    seen = _checkpointed(docker, answers, "first", directory)
    docker.cli("run", "--detach", "--name", "second", "--env", "PERDURE_ATTEMPT=abc-2", *program)
    conditions.eventually(lambda: len(_numbers(docker, "second")) > 3)
    assert _numbers(docker, "second")[0] == seen + 1


@pytest.fixture(scope="module")
def kept_image(engine: Docker) -> str:
    made = Answers()
    with verdicts.serve(engine.node.path(interposer.SOCKET), made):
        _count(engine, "kept")
        _checkpointed(engine, made, "kept", "/run/perdure/image-kept")
        engine.cli("rm", "--force", "kept")
    return "/run/perdure/image-kept"


def test_before_a_stop_signal_the_agent_may_checkpoint(docker: Docker) -> None:
    allowed, asked = threading.Event(), threading.Event()

    class Careful(Answers):
        def kill(self, question: verdicts.Asked) -> None:
            super().kill(question)
            asked.set()
            allowed.wait(30)

    careful = Careful()
    script = "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.02; done"
    with verdicts.serve(docker.node.path(interposer.SOCKET), careful):
        docker.cli("run", "--detach", "--name", "one", "--env", "PERDURE_ATTEMPT=abc-1", TINY_IMAGE, "sh", "-c", script)
        conditions.eventually(lambda: docker.cli("logs", "one") == "ready")
        printed = docker.node.path(docker.inspect("one")["LogPath"])
        stopping = docker.node.popen(["docker", "stop", "--time", "20", "one"])
        assert asked.wait(30)
        assert careful.asked[-1][1].signal == 15
        assert "got it" not in printed.read_text()  # dockerd holds the container's lock: `docker logs` would wait
        assert docker.cli("ps", "--quiet") != ""
        assert docker.printed(TINY_IMAGE, "echo", "hello") == "hello"
        allowed.set()
        stopping.communicate(timeout=60)
    assert docker.inspect("one")["State"]["ExitCode"] == 3
    assert docker.cli("logs", "one").endswith("got it")


def test_the_agent_hears_of_a_sigkill(docker: Docker, answers: Answers) -> None:
    docker.cli("run", "--detach", "--name", "one", "--env", "PERDURE_ATTEMPT=abc-1", TINY_IMAGE, "sleep", "1000")
    docker.cli("kill", "one")
    conditions.eventually(lambda: answers.verbs[-1] == "deleted")
    assert answers.verbs == ["create", "started", "kill", "deleted"]
    assert answers.asked[2][1].signal == 9


def test_the_end_of_dockerd_asks_too(docker: Docker, answers: Answers) -> None:
    docker.cli(
        "run", "--detach", "--name", "one", "--env", "PERDURE_ATTEMPT=abc-1", "--stop-timeout", "1", TINY_IMAGE, "sleep", "1000"
    )
    docker.stop()
    docker.start()
    assert answers.verbs == ["create", "started", "kill", "kill", "deleted"]
    assert [asked.signal for verb, asked in answers.asked if verb == "kill"] == [15, 9]


def _refused(docker: Docker, *flags: str, attempt: int = 1) -> str:
    argv = ["docker", "run", "--rm", "--env", f"PERDURE_ATTEMPT=abc-{attempt}", *flags, BASE_IMAGE, "python3", "-c", COUNTER]
    done = docker.node.run(argv, check=False)
    assert done.returncode == 125, done.stdout
    return done.stderr.strip()


def _fetched(docker: Docker) -> bool:
    """Whether the published port leads to a server."""
    ask = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/', timeout=2)"
    return docker.node.run(["python3", "-c", ask], check=False).returncode == 0


def _count(docker: Docker, name: str, attempt: int = 1) -> None:
    docker.cli(
        "run", "--detach", "--name", name, "--env", f"PERDURE_ATTEMPT=abc-{attempt}", BASE_IMAGE, "python3", "-c", COUNTER
    )
    conditions.eventually(lambda: len(_numbers(docker, name)) > 3)


def _numbers(docker: Docker, name: str) -> list[int]:
    return [int(line) for line in docker.cli("logs", name).split()]


def _checkpointed(docker: Docker, answers: Answers, name: str, directory: str) -> int:
    """The last number before the checkpoint, which the agent now has restored."""
    interposer.checkpoint(docker, name, directory)
    answers.verdict = verdicts.Restore(directory=Path(directory))
    conditions.eventually(lambda: not docker.inspect(name)["State"]["Running"])
    return _numbers(docker, name)[-1]
