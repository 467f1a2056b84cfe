"""`create` of a restored container whose image declares volumes: they hold what the checkpoint says, and nothing else does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from agent import verdicts
from tests.agent.runtime.place import MARKED, Answers, Place

pytestmark = pytest.mark.usefixtures("root")


def volume(place: Place, name: str = "a" * 64) -> Path:
    """A volume as dockerd makes it for one container, with what the container's image has there."""
    folder = place.folder / "docker" / "volumes" / name / "_data"
    (folder / "sub").mkdir(parents=True)
    (folder / "of-the-image").write_text("fresh")
    own = {"destination": "/data", "type": "bind", "source": str(folder), "options": ["rbind"]}
    place.config(MARKED, mounts=[own, {"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts"}])
    return folder


def kept(image: Path, *entries: dict[str, Any], at: str = "/data") -> None:
    """Has the checkpoint hold a volume."""
    record = json.loads((image / "container.json").read_text())
    mounts = [one for one in record["mounts"] if one != "/run/secrets"]
    (image / "container.json").write_text(json.dumps({**record, "mounts": [*mounts, at], "volumes": [at]}))
    (image / "volume-0").mkdir()
    (image / "volume-0" / "3").write_text("of the volume")
    own = {"uid": 7, "gid": 8, "mtime": 1}
    root = {"path": "", "kind": "directory", "mode": 0o700, **own}
    file = {"path": "written", "kind": "file", "mode": 0o640, "data": "3", "size": 13, **own}
    index = {"v": 1, "deleted": [], "entries": [root, file, *({"mode": 0o640, **own, **one} for one in entries)]}
    (image / "volume-0.json").write_text(json.dumps(index))


def test_what_was_in_a_volume_is_in_the_new_one_and_nothing_else(place: Place, answers: Answers, image: Path) -> None:
    folder = volume(place)
    kept(image)
    answers.verdict = verdicts.Restore(directory=image, volumes=("a" * 64,))
    with place.agent(answers):
        done = place.create()
    assert done.returncode == 0, done.stderr
    assert os.listdir(folder) == ["written"]
    assert (folder / "written").read_text() == "of the volume"
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o7777) == (7, 0o700)


@pytest.mark.parametrize(
    ("names", "at", "says"),
    [
        ((), "/data", "it has a volume at /data that the container lacks"),
        (("b" * 64,), "/data", "it has a volume at /data that the container lacks"),
        (("a" * 64,), "/other", "it has a volume at /other that the container lacks"),
        (("a" * 64,), "/etc/hosts", "it has a volume at /etc/hosts that the container lacks"),
    ],
    ids=["not said by the engine", "another one", "elsewhere", "over a file of the host"],
)
def test_a_volume_that_is_not_the_containers_own_is_not_touched(
    place: Place, answers: Answers, image: Path, names: tuple[str, ...], at: str, says: str
) -> None:
    folder = volume(place)
    kept(image, at=at)
    answers.verdict = verdicts.Restore(directory=image, volumes=names)
    with place.agent(answers):
        assert place.create().returncode == 1
    assert says in place.told()
    assert sorted(os.listdir(folder)) == ["of-the-image", "sub"]
    assert place.calls() == []


def test_a_volume_that_the_checkpoint_lacks_is_said(place: Place, answers: Answers, image: Path) -> None:
    volume(place)
    answers.verdict = verdicts.Restore(directory=image, volumes=("a" * 64,))
    with place.agent(answers):
        assert place.create().returncode == 1
    assert "the container has a volume at /data that it lacks" in place.told()


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (
            (
                {"path": "out", "kind": "link", "target": "{outside}"},
                {"path": "out/planted", "kind": "file"},
            ),
            "Not a directory: 'out'",
        ),
        (({"path": "../planted", "kind": "file"},), "names the path"),
        (({"path": "disk", "kind": "block"},), "holds a block"),
    ],
    ids=["a link that leads out", "a path that leads out", "a device"],
)
def test_nothing_of_a_volume_leaves_it(
    place: Place, answers: Answers, image: Path, entries: tuple[dict[str, Any], ...], says: str
) -> None:
    outside = place.folder / "outside"
    outside.mkdir()
    folder = volume(place)
    kept(image, *({**one, **({"target": str(outside)} if "target" in one else {})} for one in entries))
    answers.verdict = verdicts.Restore(directory=image, volumes=("a" * 64,))
    with place.agent(answers):
        assert place.create().returncode == 1
    assert says in place.told()
    assert os.listdir(outside) == []
    assert not (folder.parent / "planted").exists()
    assert place.calls() == []
    assert not place.home.exists()
