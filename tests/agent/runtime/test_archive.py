"""ARCH's and Tardis's variables: which of them mean what, where they are allowed, and what is left of an image."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent import archives
from tests.agent.runtime.place import CONTAINER, Answers, Place

pytestmark = pytest.mark.usefixtures("root")


def _enabled(place: Place, *env: str, brand: str = "ARCH", **changes: Any) -> None:
    place.config(f"{brand}_ENABLE=1", *env, **changes)


def _image(place: Place, folder: Path) -> None:
    """An image of exactly the container that the bundle describes now: taken from what the interposer wrote at its create."""
    folder.mkdir(parents=True, mode=0o700)
    (folder / "criu").mkdir()
    (folder / "container.json").write_text((place.home / "container.json").read_text())


@pytest.mark.parametrize(
    ("brand", "variable", "below"),
    [
        ("ARCH", "ARCH_CHECKPOINT_HOST_PATH", ""),
        ("TARDIS", "TARDIS_CHECKPOINT_HOST_PATH", ""),
        ("ARCH", "TARDIS_CHECKPOINT_HOST_PATH", ""),
        ("ARCH", "ARCH_SHAREDFS_HOST_PATH", "checkpoint"),
        ("ARCH", "ARCH_NETWORKFS_HOST_PATH", "checkpoint"),
        ("TARDIS", "TARDIS_NETWORKFS_HOST_PATH", "checkpoint"),
        ("TARDIS", "TARDIS_SHAREDFS_HOST_PATH", "checkpoint"),
    ],
)
def test_every_name_of_every_generation(place: Place, brand: str, variable: str, below: str) -> None:
    _shared(place)
    (place.rootfs / "tmp").mkdir()
    _enabled(place, f"{variable}={place.roots}/jobs", brand=brand)
    assert place.create().returncode == 0
    assert _image_path(place) == place.roots / "jobs" / below / "moby" / CONTAINER


@pytest.mark.parametrize("said", ["/", "/jobs/", "/jobs//"])
def test_a_slash_at_the_end_means_nothing(place: Place, said: str) -> None:
    _enabled(place, f"ARCH_CHECKPOINT_HOST_PATH={place.roots}{said}")
    assert place.create().returncode == 0
    assert _image_path(place) == Path(f"{place.roots}{said}") / "moby" / CONTAINER


@pytest.mark.parametrize(("env", "key"), [([], CONTAINER), (["AWS_BATCH_JOB_ID=0a1b-22:7"], "0a1b-22:7")])
def test_what_has_an_image_goes_on_from_there(place: Place, env: list[str], key: str) -> None:
    variables = [f"ARCH_CHECKPOINT_HOST_PATH={place.roots}", *env]
    _enabled(place, *variables)
    assert place.create().returncode == 0
    _image(place, place.roots / "moby" / key)
    place.call("delete", CONTAINER)
    _enabled(place, *variables)
    place.record.unlink()
    assert place.create().returncode == 0, place.told()
    assert place.call("start", CONTAINER).returncode == 0
    assert place.subcommands() == ["restore"]


@pytest.mark.parametrize("value", ["0", "yes", "true", ""])
def test_only_one_enables(place: Place, value: str) -> None:
    place.config(f"ARCH_ENABLE={value}", f"ARCH_CHECKPOINT_HOST_PATH={place.roots}")
    place.create()
    assert not place.home.exists()
    assert place.subcommands() == ["create"]


@pytest.mark.parametrize("path", ["/elsewhere", "ROOT/../elsewhere", "ROOTother", "relative", "ROOT/a//b", ""])
def test_a_path_that_no_root_allows_means_nothing(place: Place, path: str) -> None:
    _enabled(place, f"ARCH_CHECKPOINT_HOST_PATH={path.replace('ROOT', str(place.roots))}")
    assert place.create().returncode == 0
    assert not place.home.exists()
    assert place.subcommands() == ["create"]
    assert "no root" in _log(place)


def test_under_a_kubernetes_runtime_they_are_off(place: Place) -> None:
    place.root = place.folder / "state" / "k8s.io"
    place.root.mkdir()
    _enabled(place, f"ARCH_CHECKPOINT_HOST_PATH={place.roots}")
    assert place.create().returncode == 0
    assert place.subcommands() == ["create"]
    assert "off in namespace k8s.io" in _log(place)


def test_without_a_host_file_they_are_off(place: Place) -> None:
    (place.etc / "runtime.json").unlink()
    _enabled(place, f"ARCH_CHECKPOINT_HOST_PATH={place.roots}")
    assert place.create().returncode == 0
    assert place.subcommands() == ["create"]


@pytest.mark.parametrize("where", ["jobs", "jobs/moby", "jobs/moby/c0ffee"])
def test_no_symbolic_link_is_followed(place: Place, where: str) -> None:
    (place.folder / "secret").mkdir()
    link = place.roots / where
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(place.folder / "secret")
    _enabled(place, f"ARCH_CHECKPOINT_HOST_PATH={place.roots}/jobs")
    assert place.create().returncode == 1
    assert place.calls() == []
    assert f"{link} is no folder, or a symbolic link" in place.told()
    assert "Not a directory" not in place.told(), "Docker would add what it makes of these words"
    assert list((place.folder / "secret").iterdir()) == []


@pytest.mark.parametrize("job", ["../other", "a/b", ".hidden", "x" * 200, "a b"])
def test_a_job_id_is_a_name(place: Place, job: str) -> None:
    _enabled(place, f"ARCH_CHECKPOINT_HOST_PATH={place.roots}", f"AWS_BATCH_JOB_ID={job}")
    assert place.create().returncode == 1
    assert "AWS_BATCH_JOB_ID" in place.told()


def test_a_shared_file_system_that_is_not_mounted_is_refused(place: Place) -> None:
    base = _unmounted()
    place.install(arch={"roots": [base], "namespaces": ["moby"]})
    _enabled(place, f"ARCH_SHAREDFS_HOST_PATH={base}")
    assert place.create().returncode == 1
    assert "is not mounted" in place.told()


def test_the_work_directory_is_mounted_and_the_program_starts_in_it(place: Place) -> None:
    _shared(place)
    (place.rootfs / "work").mkdir()
    user = {"user": {"uid": 12, "gid": 34}, "args": ["x"], "cwd": "/"}
    env = ["ARCH_ENABLE=1", f"ARCH_SHAREDFS_HOST_PATH={place.roots}", "ARCH_WORKDIR_CONTAINER_PATH=/work"]
    place.config(process={**user, "env": env})
    place.create()
    shaped = place.shaped()
    work = place.roots / "work" / "moby" / CONTAINER
    assert {"destination": "/work", "source": str(work)}.items() <= _mount(shaped, "/work").items()
    assert shaped["process"]["cwd"] == "/work"
    assert (work.stat().st_uid, work.stat().st_gid) == (12, 34)


@pytest.mark.parametrize("target", ["/work", "work", "/", "../work"])
@pytest.mark.parametrize("image", [False, True])
def test_without_a_place_for_the_work_directory_it_falls_back_but_never_behind_an_image(
    place: Place, image: bool, target: str
) -> None:
    _shared(place)
    if image:
        (place.roots / "checkpoint" / "moby" / CONTAINER).mkdir(parents=True)
    _enabled(place, f"ARCH_SHAREDFS_HOST_PATH={place.roots}", f"ARCH_WORKDIR_CONTAINER_PATH={target}")
    assert place.create().returncode == int(image)
    assert "WORKDIR_CONTAINER_PATH" in (place.told() if image else _log(place))
    assert place.subcommands() == ([] if image else ["create"])
    assert "cwd" not in place.shaped()["process"] or place.shaped()["process"]["cwd"] == "/"


@pytest.mark.parametrize("change", ["args", "user", "mounts"])
def test_an_image_of_another_container_is_refused(place: Place, change: str) -> None:
    env = f"ARCH_CHECKPOINT_HOST_PATH={place.roots}"
    _enabled(place, env)
    place.create()
    _image(place, place.roots / "moby" / CONTAINER)
    place.call("delete", CONTAINER)
    place.record.unlink()
    _enabled(place, env)
    config = place.shaped()
    if change == "args":
        config["process"]["args"] = ["sh"]
    elif change == "user":
        config["process"]["user"]["uid"] = 5
    else:
        config["mounts"].append({"destination": "/data", "type": "bind", "source": "/srv"})
    (place.bundle / "config.json").write_text(json.dumps(config))
    assert place.create().returncode == 1
    assert f"the image at {place.roots}/moby/{CONTAINER} was made of a container with another command, user" in place.told()
    assert place.calls() == []


@pytest.mark.parametrize(("left", "said"), [(4096, "has 4096 bytes of 8192"), (None, "is missing")])
def test_an_image_that_was_cut_short_is_refused(place: Place, left: int | None, said: str) -> None:
    """CRIU would wait for the rest, and the engine for CRIU."""
    env = f"ARCH_CHECKPOINT_HOST_PATH={place.roots}"
    _enabled(place, env)
    place.create()
    folder = place.roots / "moby" / CONTAINER
    _image(place, folder)
    (folder / "sizes.json").write_text('{"pages-1.img": 8192}')
    if left is not None:
        (folder / "criu" / "pages-1.img").write_bytes(bytes(left))
    place.call("delete", CONTAINER)
    place.record.unlink()
    _enabled(place, env)
    assert place.create().returncode == 1
    assert f"the image at {folder} is damaged: criu/pages-1.img {said}. Remove it to begin anew" in place.told()
    assert place.calls() == []


def test_an_image_that_arch_itself_has_made_is_refused_with_the_way_out(place: Place) -> None:
    folder = place.roots / "moby" / CONTAINER
    folder.mkdir(parents=True, mode=0o700)
    (folder / "dump.log").write_text("Dumping finished successfully\n")
    _enabled(place, f"ARCH_CHECKPOINT_HOST_PATH={place.roots}")
    assert place.create().returncode == 1
    assert f"the image at {folder} is not understood" in place.told()
    assert "only ARCH restores. Remove it" in place.told()


def test_a_crash_between_the_two_renames_loses_no_image(place: Place) -> None:
    env = f"ARCH_CHECKPOINT_HOST_PATH={place.roots}"
    _enabled(place, env)
    place.create()
    _image(place, place.roots / "moby" / f".{CONTAINER}.old")
    place.call("delete", CONTAINER)
    place.record.unlink()
    _enabled(place, env)
    assert place.create().returncode == 0
    assert place.subcommands() == ["restore"]


def test_an_agent_is_not_asked(place: Place, answers: Answers) -> None:
    _enabled(place, f"ARCH_CHECKPOINT_HOST_PATH={place.roots}")
    with place.agent(answers):
        place.create()
        for words in (["start"], ["kill"], ["delete"]):
            place.call(*words, CONTAINER)
    assert answers.asked == []
    assert place.subcommands() == ["create", "start", "kill", "delete"]


@pytest.mark.parametrize(("code", "stays"), [(0, False), (1, True), (137, True), (None, True)])
def test_an_image_goes_after_an_exit_with_zero_and_only_then(place: Place, code: int | None, stays: bool) -> None:
    _shared(place)
    (place.rootfs / "tmp").mkdir()
    _enabled(place, f"ARCH_SHAREDFS_HOST_PATH={place.roots}")
    place.create()
    image = place.roots / "checkpoint" / "moby" / CONTAINER
    _image(place, image)
    place.call("delete", CONTAINER)
    folder = place.folder / "var" / "archives"
    (which,) = archives.remembered(folder)
    assert (which.namespace, which.container) == ("moby", CONTAINER)
    archives.ended(which, code, folder)
    assert image.exists() is stays
    assert (place.roots / "work" / "moby" / CONTAINER).exists() is stays
    assert bool(archives.remembered(folder)) is (code not in (0, None))
    archives.ended(which, code, folder)


def test_nothing_is_removed_through_a_link(place: Place) -> None:
    _enabled(place, f"ARCH_CHECKPOINT_HOST_PATH={place.roots}/jobs")
    place.create()
    precious = place.folder / "precious" / "moby" / CONTAINER
    precious.mkdir(parents=True)
    for one in (place.roots / "jobs").rglob("*"):
        one.rmdir()
    (place.roots / "jobs").rmdir()
    (place.roots / "jobs").symlink_to(place.folder / "precious")
    folder = place.folder / "var" / "archives"
    archives.ended(archives.remembered(folder)[0], 0, folder)
    assert precious.exists()


def _image_path(place: Place) -> Path:
    state = json.loads((place.home / "state.json").read_text())
    return Path(state["archive"]["image"])


def _shared(place: Place) -> None:
    """Makes the root a mount of its own."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place.roots)], check=True)


def _unmounted() -> str:
    """A folder of the root's own file system; that it does not exist is found later than that it is no mount."""
    return "/perdure-test-nowhere"


def _mount(config: dict[str, Any], destination: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in config["mounts"] if one["destination"] == destination)
    return found


def _log(place: Place) -> str:
    return (place.folder / "log" / "runtime.log").read_text()
