"""Steps of a container that is saved from outside: read in its layer, whole across restores."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from agent.containers import counting
from agent.runtime import shape
from reconciler.contracts import engine
from reconciler.core import spec
from tests.agent.containers.rig import REF, WHAT, Rig
from tests.agent.test_progress import told


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def layer(rig: Rig, ref: spec.AttemptRef = REF) -> Path:
    """The layer of an attempt's container, with a file to count in, as the interposer makes it."""
    folder = rig.folder / f"layer-{ref.attempt}"
    file = folder / shape.PROGRESS
    file.parent.mkdir(parents=True)
    file.touch()
    rig.control.books.set(ref, layer=str(folder))
    return file


def test_steps_are_reported_and_a_checkpoint_has_the_newest(rig: Rig) -> None:
    one = rig.running()
    file = layer(rig)
    assert rig.item().progress is None
    file.write_text(told(1, 2, 3))
    rig.look(1)
    item = rig.item()
    assert (item.first_step, item.progress and item.progress.step) == (1, 3)
    with file.open("a") as more:
        more.write(told(4, 5))  # between the last look and the checkpoint
    rig.docker.stop(one.id, 10)
    rig.look(6)
    (taken,) = rig.item().checkpoints
    assert taken.step == rig.store.list(REF.run)[0].step == 5
    item = rig.item()
    assert item.progress is not None
    assert item.progress.step == 5, "nothing that was saved counts as lost"


def test_the_next_attempt_goes_on_counting(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.running()
    layer(rig).write_text(told(1, 2, 3))
    rig.assign(request=spec.Request(id="r1", purpose=spec.Purpose.SUSPEND, then_stop=True))
    rig.ended()
    (taken,) = rig.item().checkpoints
    rig.assign(WHAT, want=spec.Want.REMOVE)
    rig.look(4)
    monkeypatch.setattr(counting, "laid_out", lambda folder: len(told(1, 2, 3)))
    second = dataclasses.replace(WHAT, attempt=2, restore=taken.digest)
    rig.running(second)
    file = layer(rig, second.ref)
    file.write_text(told(1, 2, 3))  # with its checkpoint
    rig.look(2)
    item = rig.item(second.ref)
    assert (item.first_step, item.progress) == (None, None)
    file.write_text(told(1, 2, 3, 4))
    rig.look(2)
    item = rig.item(second.ref)
    assert (item.first_step, item.progress and item.progress.step) == (4, 4)
    rig.start()
    rig.look(2)
    item = rig.item(second.ref)
    assert (item.first_step, item.progress and item.progress.step) == (4, 4), "the next agent knows it too"


def test_where_a_checkpoint_was_laid_out_its_size_is_known(tmp_path: Path) -> None:
    assert counting.laid_out(tmp_path) == 0
    entries = [{"path": "", "kind": "directory"}, {"path": "run", "kind": "directory"}]
    (tmp_path / "layer.json").write_text(json.dumps({"v": 1, "deleted": [], "entries": entries}))
    assert counting.laid_out(tmp_path) == 0
    entries.append({"path": shape.PROGRESS, "kind": "file", "size": 77, "data": "1"})  # type: ignore[dict-item]
    (tmp_path / "layer.json").write_text(json.dumps({"v": 1, "deleted": [], "entries": entries}))
    assert counting.laid_out(tmp_path) == 77


def test_without_a_layer_nothing_is_read(rig: Rig) -> None:
    rig.running()
    source = counting.Layer(REF, rig.control.books, lambda: None)
    with pytest.raises(OSError, match="no container"):
        source.open()
    gone = engine.Container(id="c", state_file=rig.folder / "none.json", bundle=rig.folder)
    with pytest.raises(OSError, match="state cannot be read"):
        counting.Layer(REF, rig.control.books, lambda: gone).open()
    state = {
        "init_process_pid": os.getpid(),  # another process than the container's, whose number it has
        "init_process_start": 1,
        "config": {"rootfs": "/", "namespaces": [], "mounts": []},
        "cgroup_paths": {},
    }
    (rig.folder / "state.json").write_text(json.dumps(state))
    other = dataclasses.replace(gone, state_file=rig.folder / "state.json")
    with pytest.raises(OSError, match="has ended"):
        counting.Layer(REF, rig.control.books, lambda: other).open()
    assert rig.control.books.get(REF).layer == ""
