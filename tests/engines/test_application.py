"""The application engine: the request, the wait, the move aside, and what a folder may hold."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler import errors
from reconciler.contracts import engine, store
from reconciler.core import spec
from reconciler.engines import application, folder
from reconciler.seams import clock
from tests import hostile
from tests.engines import program

ENGINE = application.ApplicationEngine(clock.System())
SAVED = program.request(spec.Purpose.SAVED)


@pytest.fixture
def site(tmp_path: Path) -> engine.Site:
    return program.site(tmp_path)


def take(site: engine.Site, asked: spec.Request = SAVED) -> tuple[engine.Captured | engine.Failed, program.Memory]:
    sink = program.Memory()
    return ENGINE.take(site, sink.open, asked), sink


def test_it_asks_waits_and_empties_the_folder(site: engine.Site) -> None:
    said: list[dict[str, object]] = []

    def answer() -> None:
        said.append(json.loads(site.request_file.read_text()))
        program.save(site.checkpoints, {"a": "1", "sub/b": "2"}, '{"step": 12}')

    thread = program.answering(site, answer)
    found, sink = take(site, program.request())
    thread.join()
    assert isinstance(found, engine.Captured)
    assert found.taken.step == 12
    assert (said[0]["id"], said[0]["reason"]) == ("r1", "because")
    assert list(site.checkpoints.iterdir()) == []
    assert list(site.aside.iterdir()) == []
    assert not site.request_file.exists()
    assert [entry.path for entry in sink.entries_] == ["a", "sub", "sub/b"]


def test_the_request_is_gone_before_the_folder_is_free(site: engine.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = program.answering(site, lambda: program.save(site.checkpoints, {"a": "1"}))
    seen: list[bool] = []
    rename = os.rename

    def watched(*args: object, **kwargs: object) -> None:
        seen.append(site.request_file.exists())
        rename(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", watched)
    take(site, program.request())
    thread.join()
    assert seen == [False, False]


def test_complete_is_moved_last(site: engine.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    program.save(site.checkpoints, {"Z": "1", "a": "2"})
    moved: list[str] = []
    rename = os.rename

    def watched(source: str, target: str, **kwargs: int) -> None:
        moved.append(source)
        rename(source, target, **kwargs)

    monkeypatch.setattr(os, "rename", watched)
    take(site)
    assert moved[-1] == "COMPLETE"
    assert len(moved) == 3


def test_a_move_that_was_cut_short_is_continued(site: engine.Site) -> None:
    program.save(site.checkpoints, {"a": "1", "b": "2"})
    (site.aside / "current").mkdir()
    (site.checkpoints / "a").rename(site.aside / "current" / "a")
    assert ENGINE.saved(site)
    found, sink = take(site)
    assert isinstance(found, engine.Captured)
    assert sorted(sink.content) == ["a", "b"]


def test_a_newer_checkpoint_replaces_one_that_could_not_be_stored(site: engine.Site) -> None:
    program.save(site.checkpoints, {"old": "1"})
    ENGINE.take(site, program.Memory(broken="full").open, SAVED)
    program.save(site.checkpoints, {"new": "2"})
    _, sink = take(site)
    assert sorted(sink.content) == ["new"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"alive": lambda: False}, "ended without saving"),
        ({"given_up": lambda: True}, "given up"),
        ({"signal": "SIGUSR1", "send_signal": lambda name: False}, "has ended"),
    ],
)
def test_why_it_waits_no_longer(tmp_path: Path, changed: dict[str, object], reason: str) -> None:
    site = program.site(tmp_path, **changed)
    found, _ = take(site, program.request())
    assert isinstance(found, engine.Failed)
    assert reason in found.reason
    assert not site.request_file.exists()


def test_the_deadline_is_the_programs(site: engine.Site) -> None:
    found, _ = take(site, program.request(deadline=0.19605))  # what a notice leaves is no round number
    assert found == engine.Failed(reason="the program did not save within 0.2 s")


def test_a_missing_folder_is_said(site: engine.Site) -> None:
    site.checkpoints.rmdir()
    found, _ = take(site)
    assert isinstance(found, engine.Failed)
    assert "missing" in found.reason


def test_a_checkpoint_of_another_engine_is_refused(site: engine.Site) -> None:
    with pytest.raises(errors.Refused, match="criu"):
        ENGINE.prepare_restore(program.Memory(engine="criu"), site)  # type: ignore[arg-type]


def _fifo(folder: Path) -> None:
    os.mkfifo(folder / "bad")


def _socket(folder: Path) -> None:
    here = os.getcwd()
    os.chdir(folder)  # the address of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("bad")
    finally:
        os.chdir(here)


def _device(folder: Path) -> None:
    try:
        os.mknod(folder / "bad", 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def _not_utf8(folder: Path) -> None:
    with open(os.fsencode(folder) + b"/bad\xff", "w"):
        pass


@pytest.mark.parametrize(
    "spoil",
    [
        _fifo,
        _socket,
        _device,
        _not_utf8,
        lambda folder: (folder / "bad").symlink_to("/etc/passwd"),
        lambda folder: (folder / "bad").symlink_to("../../../etc/passwd"),
    ],
    ids=["fifo", "socket", "device", "not-utf8", "absolute-link", "link-out"],
)
def test_what_an_image_cannot_hold_is_refused_with_the_reason(site: engine.Site, spoil: Callable[[Path], None]) -> None:
    (site.checkpoints / "sub").mkdir()
    spoil(site.checkpoints / "sub")
    program.save(site.checkpoints, {"good": "1"})
    found, sink = take(site)
    assert isinstance(found, engine.Failed)
    assert "sub/bad" in found.reason
    assert sink.aborted
    assert sink.commits == 0
    assert not ENGINE.saved(site), "it would be refused again and again"


def test_links_that_stay_inside_are_kept(site: engine.Site) -> None:
    (site.checkpoints / "sub").mkdir()
    (site.checkpoints / "sub" / "link").symlink_to("../good")
    program.save(site.checkpoints, {"good": "1"})
    found, sink = take(site)
    assert isinstance(found, engine.Captured)
    assert [(entry.path, entry.link) for entry in sink.entries_ if entry.kind == "symlink"] == [("sub/link", "../good")]


def test_a_hard_link_is_a_file(site: engine.Site) -> None:
    program.save(site.checkpoints, {"one": "1"})
    os.link(site.checkpoints / "one", site.checkpoints / "two")
    _, sink = take(site)
    assert {path: bytes(data) for path, data in sink.content.items()} == {"one": b"1", "two": b"1"}


def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    site = program.site(tmp_path, owner=(12345, 12345))
    program.save(site.checkpoints, {"one": "1"})
    found, _ = take(site)
    assert isinstance(found, engine.Failed)
    assert "another user" in found.reason


def test_closed_folders_and_set_user_bits_do_no_harm(site: engine.Site) -> None:
    program.save(site.checkpoints, {"sub/file": "1", "tool": "2"})
    (site.checkpoints / "tool").chmod(0o4755)
    (site.checkpoints / "sub" / "file").chmod(0)
    (site.checkpoints / "sub").chmod(0)
    found, sink = take(site)
    assert isinstance(found, engine.Captured)
    modes = {entry.path: entry.mode for entry in sink.entries_}
    assert modes.pop("sub") in (0, 0o700), "without root a closed folder must be opened to be moved"
    assert modes == {"sub/file": 0, "tool": 0o755}


def test_folders_without_end_are_refused_and_removed(site: engine.Site) -> None:
    program.save(site.checkpoints, {"a": "1"})
    hostile.deepen(site.checkpoints, hostile.DEEP)
    found, _ = take(site)
    assert isinstance(found, engine.Failed)
    assert "folders deep" in found.reason
    assert list(site.aside.iterdir()) == []
    assert list(site.checkpoints.iterdir()) == []


def test_names_without_end_are_neither_listed_nor_moved_and_the_program_goes_on(
    site: engine.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "MOST_NAMES", 5)
    program.save(site.checkpoints, {str(number): "1" for number in range(7)})
    found, _ = take(site)
    assert isinstance(found, engine.Failed)
    assert "more than 5 entries" in found.reason
    assert not ENGINE.saved(site)
    assert len(list(site.checkpoints.iterdir())) == 7
    program.save(site.checkpoints, {})
    for number in range(7):
        (site.checkpoints / str(number)).unlink()
    assert isinstance(take(site)[0], engine.Captured)


def _link_of_a_stranger(place: Path, stranger: Path) -> None:
    place.unlink()
    os.link(stranger, place)


def _device_of_its_own(place: Path, stranger: Path) -> None:
    del stranger
    place.unlink()
    os.mknod(place, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of other users")
@pytest.mark.parametrize("swap", [_link_of_a_stranger, _device_of_its_own])
def test_what_is_swapped_between_the_look_and_the_read_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: Callable[[Path, Path], None]
) -> None:
    """A program can still reach a folder that it stood in when it was moved out of its reach."""
    site = program.site(tmp_path, owner=(65534, 65534))
    program.save(site.checkpoints, {"a": "mine"})
    os.chown(site.checkpoints / "a", 65534, 65534)
    (tmp_path / "shadow").write_text("secret of root")
    look = os.stat

    def slow(path: str, **how: Any) -> os.stat_result:
        found = look(path, **how)
        if path == "a":
            monkeypatch.setattr(os, "stat", look)
            swap(site.aside / "current" / "a", tmp_path / "shadow")
        return found

    monkeypatch.setattr(os, "stat", slow)
    found, sink = take(site)
    assert isinstance(found, engine.Failed)
    assert "changed while it was read" in found.reason
    assert not any(sink.content.values())


def test_holes_are_not_sent(site: engine.Site) -> None:
    size = 64 << 20
    with open(site.checkpoints / "sparse", "wb") as file:
        file.truncate(size)
        file.seek(32 << 20)
        file.write(b"x" * 10)
    program.save(site.checkpoints, {})
    found, sink = take(site)
    assert isinstance(found, engine.Captured)
    assert sum(length for _, _, length in sink.extents_) <= 2 << 20
    assert sink.content["sparse"][32 << 20 : (32 << 20) + 10] == b"x" * 10
    assert all(offset % store.UNIT == 0 for _, offset, _ in sink.extents_)


@pytest.mark.parametrize(
    "complete", ["", "{", '{"step": "x"}', '{"step": true}', "[1]", "\x00" * 9000, '{"step": -1}', f'{{"step": {2**53}}}']
)
def test_complete_may_hold_anything(site: engine.Site, complete: str) -> None:
    program.save(site.checkpoints, {"a": "1"}, complete)
    found, sink = take(site)
    assert isinstance(found, engine.Captured)
    assert sink.step is None
