"""Images of ARCH's variables go with an exit of 0, whoever was away when it happened."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agent import archives
from agent.containers import archived, seam
from agent.containers.fake import FakeDocker
from reconciler import errors
from reconciler.seams import clock
from tests import conditions


@pytest.fixture
def docker() -> FakeDocker:
    made = FakeDocker(clock.System().now)
    made.images["x"] = made.offered["x"] = _image()
    return made


def test_an_exit_with_zero_removes_it(docker: FakeDocker, tmp_path: Path) -> None:
    identity, image = _running(docker, tmp_path)
    keeper = _keeper(docker, tmp_path)
    keeper.look()
    assert image.exists()
    docker.end(identity, 0)
    keeper.look()
    assert not image.exists()
    keeper.look()


def test_another_exit_does_not(docker: FakeDocker, tmp_path: Path) -> None:
    identity, image = _running(docker, tmp_path)
    docker.end(identity, 137)
    _keeper(docker, tmp_path).look()
    assert image.exists()
    assert archives.remembered(tmp_path / "archives")


@pytest.mark.parametrize("code", [0, 1])
def test_the_end_of_what_was_removed_meanwhile_is_known_from_events(
    docker: FakeDocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    identity, image = _running(docker, tmp_path)
    docker.end(identity, code)
    docker.remove(identity)
    monkeypatch.setattr(archived, "PAUSE", 0.0)
    _keeper(docker, tmp_path).look()
    assert image.exists() is (code != 0)
    assert archives.remembered(tmp_path / "archives") == ()


def test_what_its_engine_lost_a_moment_ago_is_not_given_up(docker: FakeDocker, tmp_path: Path) -> None:
    identity, image = _running(docker, tmp_path)
    docker.remove(identity)
    keeper = _keeper(docker, tmp_path)
    keeper.look()
    keeper.look()
    assert archives.remembered(tmp_path / "archives")
    assert image.exists()


def test_an_end_before_the_last_create_is_of_an_earlier_time(docker: FakeDocker, tmp_path: Path) -> None:
    identity, image = _running(docker, tmp_path)
    docker.end(identity, 0)
    docker.start(identity)
    record = tmp_path / "archives" / "moby" / f"{identity}.json"
    os.utime(record, (docker.clock() + 1, docker.clock() + 1))
    _keeper(docker, tmp_path).look()
    assert image.exists()


def test_an_engine_that_does_not_answer_changes_nothing(docker: FakeDocker, tmp_path: Path) -> None:
    identity, image = _running(docker, tmp_path)
    docker.end(identity, 0)
    docker.trouble = errors.Unavailable("away")
    with pytest.raises(errors.Unavailable):
        _keeper(docker, tmp_path).look()
    assert image.exists()
    docker.trouble = None
    _keeper(docker, tmp_path).look()
    assert not image.exists()


def test_an_image_that_cannot_be_removed_is_told_once_until_that_changes(
    docker: FakeDocker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    identity, image = _running(docker, tmp_path)
    docker.end(identity, 0)
    record = tmp_path / "archives" / "moby" / f"{identity}.json"
    whole, created = record.read_bytes(), record.stat().st_mtime
    keeper = _keeper(docker, tmp_path)
    for content, said in ((b"[]", 1), (b"{}", 2)):
        record.write_bytes(content)
        os.utime(record, (created, created))
        for _ in range(3):
            keeper.look()
        assert caplog.text.count("is not removed") == said
    record.write_bytes(whole)
    os.utime(record, (created, created))
    keeper.look()
    assert not image.exists()


def test_a_host_without_images_asks_nothing(docker: FakeDocker, tmp_path: Path) -> None:
    _keeper(docker, tmp_path).look()
    assert not docker.calls


def test_its_thread_looks_and_ends(docker: FakeDocker, tmp_path: Path) -> None:
    identity, image = _running(docker, tmp_path)
    docker.end(identity, 0)
    keeper = _keeper(docker, tmp_path)
    keeper.open()
    conditions.eventually(lambda: not image.exists())
    keeper.close()


def _keeper(docker: FakeDocker, tmp_path: Path) -> archived.Keeper:
    return archived.Keeper(docker, clock.System(), tmp_path / "archives")


def _running(docker: FakeDocker, tmp_path: Path) -> tuple[str, Path]:
    """A container that runs, and its image."""
    identity = docker.create("c", {"Image": "x"})
    image = tmp_path / "shared" / "moby" / identity
    image.mkdir(parents=True)
    record = tmp_path / "archives" / "moby" / f"{identity}.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"v": 1, "root": str(tmp_path / "shared"), "image": str(image), "work": ""}))
    docker.start(identity)
    return identity, image


def _image() -> seam.Image:
    return seam.Image(id="sha256:1")
