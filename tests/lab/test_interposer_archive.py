"""Containers with ARCH's variables under real engines, without any agent: checkpointed by hand, and going on from there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import archives
from tests import conditions
from tests.lab import interposer
from tests.lab.docker import Docker
from tests.lab.lab import Lab
from tests.lab.recipe import BASE_IMAGE, TINY_IMAGE

COUNTER = """
import itertools, pathlib, time
for number in itertools.count():
    print(number, flush=True)
    for place in ("count", "/dev/shm/count"):
        pathlib.Path(place + ".new").write_text(str(number))
        pathlib.Path(place + ".new").replace(place)
    time.sleep(0.02)
"""
ROOT = "/srv/archive"
LOOK = """
from agent import archives
from agent.containers import archived, dockerd
from reconciler.seams import clock
from tests import conditions
archived.Keeper(dockerd.Dockerd("/run/docker.sock"), clock.System()).open()
conditions.eventually(lambda: not archives.remembered())
"""
"""What an agent does that was away when it happened."""
CHECKOUT = Path(__file__).parents[2]
BASIC = f"ARCH_CHECKPOINT_HOST_PATH={ROOT}/jobs"
OUTSIDE = "/var/lib/perdure/archives"


@pytest.fixture(scope="module")
def engine(lab: Lab) -> Iterator[Docker]:
    node = lab.node("archived")
    interposer.install(node, roots=[ROOT])
    node.run(["mkdir", "-p", ROOT])
    yield node.docker({**interposer.OPTIONS, "experimental": True})
    lab.remove(node)


@pytest.fixture
def docker(engine: Docker) -> Iterator[Docker]:
    yield engine
    engine.clean()
    engine.node.run(["rm", "-rf", f"{ROOT}/jobs", OUTSIDE])
    assert not list(engine.node.path(interposer.CONTAINERS).glob("*/*"))


BY_DOCKER = ["docker", "checkpoint", "create", "counter", "by-hand"]
BY_CONTAINERD = ["ctr", "--address", "/run/docker/containerd/containerd.sock", "--namespace", "moby", "tasks", "checkpoint"]


@pytest.mark.parametrize(
    ("trigger", "flags"),
    [
        (BY_DOCKER, []),
        (BY_DOCKER, ["--ipc", "shareable"]),
        ([*BY_CONTAINERD, "--exit", "--image-path", "/tmp/unused", "ID"], []),
    ],
    ids=["docker", "with a /dev/shm that dockerd has made", "ctr"],
)
def test_a_container_that_was_checkpointed_goes_on_at_its_next_start(
    docker: Docker, trigger: list[str], flags: list[str]
) -> None:
    _count(docker, *flags, "--env", "ARCH_ENABLE=1", "--env", BASIC)
    identity = docker.inspect("counter")["Id"]
    docker.node.run([identity if word == "ID" else word for word in trigger])
    conditions.eventually(lambda: not docker.inspect("counter")["State"]["Running"])
    before = _numbers(docker)
    docker.cli("start", "counter")
    conditions.eventually(lambda: len(_numbers(docker)) > len(before) + 3)
    numbers = _numbers(docker)
    assert numbers == list(range(len(numbers)))
    assert int(docker.cli("exec", "counter", "cat", "/count")) >= len(before)
    assert int(docker.cli("exec", "counter", "cat", "/dev/shm/count")) >= len(before)


def test_a_checkpoint_after_which_it_goes_on_is_where_a_restart_begins(docker: Docker) -> None:
    _count(docker, "--env", "TARDIS_ENABLE=1", "--env", f"TARDIS_CHECKPOINT_HOST_PATH={ROOT}/jobs")
    docker.cli("checkpoint", "create", "--leave-running", "counter", "by-hand")
    before = len(_numbers(docker))
    conditions.eventually(lambda: len(_numbers(docker)) > before + 5)
    docker.cli("restart", "--time", "0", "counter")
    after = len(_numbers(docker))
    conditions.eventually(lambda: len(_numbers(docker)) > after + 3)
    numbers = _numbers(docker)
    back = next(index for index in range(1, len(numbers)) if numbers[index] != numbers[index - 1] + 1)
    assert 0 < numbers[back] <= before


def test_another_container_of_the_same_batch_job_goes_on_there_with_its_work_directory(docker: Docker) -> None:
    docker.node.run(["mount", "-t", "tmpfs", "tmpfs", ROOT])
    flags = ["ARCH_ENABLE=1", f"ARCH_SHAREDFS_HOST_PATH={ROOT}/jobs", "AWS_BATCH_JOB_ID=4f-1:2"]
    try:
        _count(docker, *(word for flag in flags for word in ("--env", flag)))
        docker.cli("checkpoint", "create", "counter", "by-hand")
        conditions.eventually(lambda: not docker.inspect("counter")["State"]["Running"])
        before = _numbers(docker)
        work = docker.node.path(f"{ROOT}/jobs/work/moby/4f-1:2/count")
        assert int(work.read_text()) == before[-1]
        docker.cli("rm", "counter")
        _count(docker, *(word for flag in flags for word in ("--env", flag)))
        assert _numbers(docker)[0] == before[-1] + 1
        assert int(work.read_text()) > before[-1]
        docker.cli("rm", "--force", "counter")
    finally:
        docker.node.run(["umount", "--lazy", ROOT])


def test_a_checkpoint_that_fails_leaves_the_container_running_and_no_image(docker: Docker) -> None:
    _count(docker, "--cap-add", "MKNOD", "--env", "ARCH_ENABLE=1", "--env", BASIC)
    docker.cli("exec", "counter", "python3", "-c", "import os, stat; os.mknod('/disk', stat.S_IFBLK, os.makedev(8, 0))")
    done = docker.node.run(["docker", "checkpoint", "create", "counter", "by-hand"], check=False)
    assert done.returncode == 1
    assert "device at /disk" in docker.node.path(interposer.LOG).read_text()
    before = len(_numbers(docker))
    conditions.eventually(lambda: len(_numbers(docker)) > before + 3)
    assert list(docker.node.path(f"{ROOT}/jobs/moby").iterdir()) == []


def test_why_there_is_no_checkpoint_is_what_docker_shows(docker: Docker) -> None:
    """In our words: a stopped process, for which CRIU would wait without end, and a device that only CRIU finds."""
    program = "import os, signal, time\nchild = os.fork() or signal.pause()\nos.kill(child, signal.SIGSTOP)\nprint(child)\n"
    queue = "import ctypes\nctypes.CDLL(None).mq_open(b'/q', 0o102, 0o600, None)\n"
    flags = ["--env", "ARCH_ENABLE=1", "--env", BASIC]
    for text, said in ((program, "was stopped by a signal (SIGSTOP)"), (queue, "perdure: no checkpoint was taken")):
        script = f"{text}\nprint('ready', flush=True)\nimport time; time.sleep(1000)"
        docker.cli("run", "--detach", "--name", "counter", *flags, BASE_IMAGE, "python3", "-u", "-c", script)
        conditions.eventually(lambda: "ready" in docker.cli("logs", "counter"))
        done = docker.node.run(["docker", "checkpoint", "create", "counter", "by-hand"], check=False, timeout=60)
        assert said in done.stderr
        assert docker.inspect("counter")["State"]["Running"]
        docker.cli("rm", "--force", "counter")


@pytest.mark.parametrize("code", [0, 3])
def test_after_an_exit_with_zero_the_agent_removes_the_image(docker: Docker, code: int) -> None:
    ending = COUNTER.replace("itertools.count()", "range(100)") + f"\nraise SystemExit({code})"
    flags = ["--env", "ARCH_ENABLE=1", "--env", BASIC]
    docker.cli("run", "--detach", "--rm", "--name", "counter", *flags, BASE_IMAGE, "python3", "-c", ending)
    docker.cli("checkpoint", "create", "--leave-running", "counter", "by-hand")
    (which,) = archives.remembered(docker.node.path(OUTSIDE))
    image = docker.node.path(f"{ROOT}/jobs/moby/{which.container}")
    assert image.is_dir()
    conditions.eventually(lambda: docker.cli("ps", "--all", "--quiet") == "")
    docker.node.run([sys.executable, "-c", LOOK], cwd=str(CHECKOUT))
    assert image.exists() is (code != 0)
    assert archives.remembered(docker.node.path(OUTSIDE)) == ()


def test_a_container_that_a_person_restores_by_containerd(lab: Lab) -> None:
    """`ctr` is what ARCH was made for: the name of the container is its id, and the same name goes on."""
    node = lab.node()
    interposer.install(node, roots=[ROOT], namespaces=["default"])
    node.run(["mkdir", "-p", ROOT])
    containerd = node.containerd()
    image = containerd.load(BASE_IMAGE)
    run = ["run", "--detach", "--runc-binary", interposer.PROGRAM, "--env", "ARCH_ENABLE=1", "--env", BASIC, image, "counter"]
    command = ["python3", "-c", COUNTER]

    def counted() -> int:
        text = containerd.ctr("task", "exec", "--exec-id", "look", "counter", "cat", "/dev/shm/count")
        return int(text or 0)

    containerd.ctr(*run, *command)
    conditions.eventually(lambda: counted() > 10)
    containerd.ctr("containers", "checkpoint", "--task", "counter", "checkpoint/counter")
    before = counted()
    for words in (
        ["task", "kill", "--signal", "KILL", "counter"],
        ["task", "rm", "--force", "counter"],
        ["container", "rm", "counter"],
    ):
        node.run(["ctr", *words], check=False)
    containerd.ctr(*run, *command)
    assert counted() >= 10
    conditions.eventually(lambda: counted() > before)
    containerd.ctr("task", "kill", "--signal", "KILL", "counter")
    lab.remove(node)


def test_podman_with_runc(lab: Lab) -> None:
    node = lab.node()
    interposer.install(node, roots=[ROOT], namespaces=["runc"])
    node.run(["mkdir", "-p", ROOT])
    with lab.cache.image(TINY_IMAGE).open("rb") as archive:
        loading = node.popen(["podman", "load"], stdin=archive)
        said, _ = loading.communicate(timeout=60)
    assert loading.returncode == 0, said
    podman = ["podman", "--runtime", interposer.PROGRAM, "--cgroup-manager", "cgroupfs"]
    run = [*podman, "run", "--network", "none"]
    assert node.out(*run, "--rm", TINY_IMAGE, "echo", "hello") == "hello"
    marked = node.run([*run, "--env", "PERDURE_ATTEMPT=abc-1", TINY_IMAGE, "true"], check=False)
    assert marked.returncode == 126
    assert "the agent does not answer" in marked.stderr
    count = "echo kept > /dev/shm/kept; i=0; while :; do i=$((i+1)); echo $i > /dev/shm/count; sleep 0.02; done"
    flags = ["--env", "ARCH_ENABLE=1", "--env", BASIC, "--name", "counter", "--detach"]
    node.run([*run, *flags, TINY_IMAGE, "sh", "-c", count])
    look = [*podman, "exec", "counter", "cat", "/dev/shm/count"]
    conditions.eventually(lambda: int(node.out(*look) or 0) > 20)
    identity = node.out(*podman, "inspect", "--format", "{{.Id}}", "counter")
    node.run([interposer.PROGRAM, "checkpoint", identity])
    node.run([*podman, "stop", "--time", "0", "counter"], check=False)
    node.run([*podman, "start", "counter"])
    assert int(node.out(*look)) > 20
    assert node.out(*look[:-1], "/dev/shm/kept") == "kept"
    node.run([*podman, "rm", "--force", "--time", "0", "counter"])
    lab.remove(node)


def _count(docker: Docker, *flags: str) -> None:
    docker.cli("run", "--detach", "--name", "counter", *flags, BASE_IMAGE, "python3", "-c", COUNTER)
    conditions.eventually(lambda: len(_numbers(docker)) > 10)


def _numbers(docker: Docker) -> list[int]:
    return [int(line) for line in docker.cli("logs", "counter").split()]
