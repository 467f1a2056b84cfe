"""`checkpoint` of a container with ARCH's variables: whole or not at all, and it always goes on when it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from agent.runtime import cgroup
from tests import conditions
from tests.agent.runtime.place import ATTEMPT, CONTAINER, Place

pytestmark = pytest.mark.usefixtures("root")


@pytest.fixture
def running(place: Place) -> Place:
    """A container with the variables, on an overlay."""
    lower, upper, work = (place.folder / name for name in ("lower", "upper", "work"))
    for one in (lower, upper, work):
        one.mkdir()
    place.overlay(lower, upper, work)
    place.config("ARCH_ENABLE=1", f"ARCH_CHECKPOINT_HOST_PATH={place.roots}")
    assert place.create().returncode == 0, place.told()
    (place.rootfs / "written").write_text("by the program")
    place.record.unlink()
    return place


@pytest.mark.parametrize("stays", [True, False])
def test_it_ends_the_container_unless_it_was_to_go_on(running: Place, stays: bool) -> None:
    words = [
        "checkpoint",
        "--image-path",
        "/engine",
        "--work-path=/engine",
        "--tcp-established",
        "--manage-cgroups-mode",
        "soft",
    ]
    done = running.call(*words, *(["--leave-running"] if stays else []), CONTAINER)
    assert done.returncode == 0, done.stderr
    assert running.subcommands() == ["ps", "state", "pause", "checkpoint", *([] if stays else ["kill"]), "resume"]
    argv = running.calls()[3]["argv"]
    assert "--leave-running" in argv
    assert "--tcp-established" in argv
    assert "--manage-cgroups-mode=soft" in argv
    assert "/engine" not in argv
    image = running.roots / "moby" / CONTAINER
    assert sorted(path.name for path in image.iterdir()) == [
        *("container.json", "criu", "layer", "layer.json", "shm", "shm.json", "sizes.json"),
    ]
    assert "written" in (image / "layer.json").read_text()
    assert image.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "source",
    [
        f"/var/lib/docker/volumes/{'a' * 64}/_data",
        f"/var/lib/containerd/io.containerd.grpc.v1.cri/containers/{'a' * 64}/volumes/{'b' * 64}",
    ],
)
def test_a_volume_without_a_name_is_refused(running: Place, source: str) -> None:
    mount = {"destination": "/data", "type": "bind", "source": source, "options": ["rbind"]}
    running.config("ARCH_ENABLE=1", f"ARCH_CHECKPOINT_HOST_PATH={running.roots}", mounts=[mount])
    running.call("delete", CONTAINER)
    assert running.create().returncode == 0, running.told()
    running.record.unlink()
    assert running.call("checkpoint", CONTAINER).returncode == 1
    assert "its image declares a volume at /data" in running.told()
    assert running.calls() == []
    assert not (running.roots / "moby" / CONTAINER).exists()


@pytest.mark.parametrize("fails", ["pause", "checkpoint"])
def test_what_fails_leaves_the_older_image_and_the_container_running(running: Place, fails: str) -> None:
    assert running.call("checkpoint", "--leave-running", CONTAINER).returncode == 0
    image = running.roots / "moby" / CONTAINER
    before = (image / "layer.json").stat().st_ino
    running.record.unlink()
    assert running.call("checkpoint", CONTAINER, fails=fails).returncode == 1
    assert running.subcommands()[-1] == "resume"
    assert "kill" not in running.subcommands()
    assert (image / "layer.json").stat().st_ino == before
    assert [path.name for path in image.parent.iterdir()] == [CONTAINER]


def test_whoever_kills_us_leaves_no_paused_container(running: Place, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = running.runc.read_text().splitlines()
    running.runc.write_text(f'{script[0]}\ncase "$*" in *image-path*) read _ < {gate} ;; esac\n{script[1]}\n')
    process = running.begin("checkpoint", CONTAINER)
    conditions.eventually(lambda: "pause" in running.subcommands())
    process.send_signal(signal.SIGKILL)
    process.wait()
    conditions.eventually(lambda: running.subcommands()[-1] == "resume")
    assert not (running.roots / "moby" / CONTAINER).exists()


def test_a_success_without_an_image_is_none(running: Place) -> None:
    running.runc.write_text(running.runc.read_text().replace("exec ", "export FAKE_LIES=1; exec "))
    assert running.call("checkpoint", CONTAINER).returncode == 1
    assert "not there" in running.told()
    assert running.subcommands() == ["ps", "state", "pause", "checkpoint", "resume"]
    assert not (running.roots / "moby" / CONTAINER).exists()


def test_what_the_real_runtime_prints_is_not_what_its_engine_shows(running: Place) -> None:
    """containerd passes the first line on, and what runc says of CRIU helps nobody."""
    script = running.runc.read_text().splitlines()
    noise = 'case "$*" in *image-path*) echo "criu failed: type NOTIFY errno 0" >&2; exit 1 ;; esac'
    running.runc.write_text(f"{script[0]}\n{noise}\n{script[1]}\n")
    done = running.call("checkpoint", CONTAINER)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("perdure: no checkpoint was taken, and it runs on: CRIU says 'criu failed: type NOTIFY")


@pytest.mark.skipif(Path(cgroup.UNIFIED).exists(), reason="with cgroup version 2 CRIU can stop what stands")
def test_a_stopped_process_is_named_and_nothing_is_paused(running: Place) -> None:
    with subprocess.Popen(["sleep", "1000"]) as stopped:
        script = running.runc.read_text().splitlines()
        running.runc.write_text(f'{script[0]}\ncase "$*" in *" ps "*) echo "[{stopped.pid}]" ;; esac\n{script[1]}\n')
        os.kill(stopped.pid, signal.SIGSTOP)
        conditions.eventually(lambda: " T " in Path(f"/proc/{stopped.pid}/stat").read_text())
        assert running.call("checkpoint", CONTAINER).returncode == 1
        stopped.kill()
    assert f"process {stopped.pid} of the container was stopped by a signal (SIGSTOP)" in running.told()
    assert running.subcommands() == ["ps"]


@pytest.mark.parametrize("own", [True, False])
def test_memory_that_an_engine_has_made_for_it_alone_goes_along(running: Place, own: bool) -> None:
    """`docker run --ipc shareable`, Podman; not another container's, which goes on with it."""
    engines = running.folder / "containers" / (CONTAINER if own else "another") / "mounts" / "shm"
    engines.mkdir(parents=True)
    (engines / "counted").write_text("7")
    bind = {"destination": "/dev/shm", "type": "bind", "source": str(engines), "options": ["rbind", "rprivate"]}
    running.call("delete", CONTAINER)
    running.config("ARCH_ENABLE=1", f"ARCH_CHECKPOINT_HOST_PATH={running.roots}", mounts=[bind])
    assert running.create().returncode == 0, running.told()
    assert running.call("checkpoint", CONTAINER).returncode == 0, running.told()
    image = running.roots / "moby" / CONTAINER
    assert (image / "shm.json").exists() is own
    (engines / "counted").unlink()
    running.call("delete", CONTAINER)
    running.config("ARCH_ENABLE=1", f"ARCH_CHECKPOINT_HOST_PATH={running.roots}", mounts=[bind])
    assert running.create().returncode == 0, running.told()
    assert running.subcommands()[-1] == "restore"
    assert (engines / "counted").exists() is own


def test_an_attempt_of_ours_is_the_real_runtimes_to_checkpoint(place: Place) -> None:
    place.home.mkdir(parents=True)
    (place.home / "state.json").write_text(json.dumps({"v": 1, "root": str(place.root), "attempt": ATTEMPT}))
    assert place.call("checkpoint", "--image-path", "/x", CONTAINER).returncode == 0
    assert place.calls()[0]["argv"][-4:] == ["checkpoint", "--image-path", "/x", CONTAINER]


def test_a_checkpoint_in_parts_is_refused(running: Place) -> None:
    assert running.call("checkpoint", "--pre-dump", CONTAINER).returncode == 1
    assert "in parts" in running.told()
    assert running.calls() == []


def test_without_an_overlay_nothing_is_taken(running: Place) -> None:
    running.release()
    assert running.call("checkpoint", CONTAINER).returncode == 1
    assert "is no overlay" in running.told()
    assert running.subcommands() == ["ps", "state", "pause", "checkpoint", "resume"]
