"""The helper that programs import: what it does inside Perdure, and that it is harmless outside."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

from tests import conditions

SOURCE = Path(__file__).parents[2] / "agent/contract/perdure_job.py"


@pytest.fixture
def perdure() -> ModuleType:
    found = importlib.util.spec_from_file_location("perdure_job", SOURCE)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("PERDURE_CHECKPOINT_DIR", str(tmp_path / "checkpoint"))
    monkeypatch.setenv("PERDURE_REQUEST_FILE", str(tmp_path / "request.json"))
    monkeypatch.setenv("PERDURE_PROGRESS_FILE", str(tmp_path / "progress.jsonl"))
    return tmp_path


def ask(folder: Path, name: str, deadline: float = 5.0) -> None:
    (folder / "request.json").write_text(json.dumps({"id": name, "reason": "timer", "deadline": deadline}))


def test_outside_nothing_happens(perdure: ModuleType) -> None:
    assert perdure.restore_dir() is None
    assert perdure.requested() is None
    perdure.progress(1, of=2)
    with perdure.checkpoint(1) as folder:
        (folder / "state").write_text("x")
    assert not folder.exists()


def test_a_checkpoint_is_complete_when_the_block_is_left(perdure: ModuleType, inside: Path) -> None:
    with perdure.checkpoint(7) as folder:
        (folder / "state").write_text("x")
        assert not (folder / "COMPLETE").exists()
    assert json.loads((folder / "COMPLETE").read_text()) == {"step": 7}
    assert sorted(path.name for path in (inside / "checkpoint").iterdir()) == ["COMPLETE", "state"]


def test_a_block_that_raises_makes_no_checkpoint_and_the_next_one_begins_clean(perdure: ModuleType, inside: Path) -> None:
    def fail() -> None:
        with perdure.checkpoint() as folder:
            (folder / "half").mkdir()
            (folder / "half" / "a").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not (inside / "checkpoint" / "COMPLETE").exists()
    with perdure.checkpoint() as folder:
        assert list(folder.iterdir()) == []


def test_a_request_is_answered_once(perdure: ModuleType, inside: Path) -> None:
    assert perdure.requested() is None
    ask(inside, "a")
    assert perdure.requested() == ("a", "timer", 5.0)
    with perdure.checkpoint():
        pass
    assert perdure.requested() is None
    (inside / "checkpoint" / "COMPLETE").unlink()
    ask(inside, "b")
    assert perdure.requested().id == "b"


def test_a_request_whose_answer_was_lost_is_answered_again(perdure: ModuleType, inside: Path) -> None:
    ask(inside, "a")
    with perdure.checkpoint():
        pass
    (inside / "checkpoint" / "COMPLETE").unlink()  # by an agent that was killed, or whose store failed, before it was stored
    assert perdure.requested() is None
    ask(inside, "a", deadline=6.0)
    assert perdure.requested() == ("a", "timer", 6.0)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": 1}', "null"])
def test_a_request_that_cannot_be_read_is_none(perdure: ModuleType, inside: Path, content: str) -> None:
    (inside / "request.json").write_text(content)
    assert perdure.requested() is None


def test_it_waits_until_the_one_before_was_taken(perdure: ModuleType, inside: Path) -> None:
    with perdure.checkpoint():
        pass
    entered = threading.Event()

    def save() -> None:
        with perdure.checkpoint():
            entered.set()

    thread = threading.Thread(target=save)
    thread.start()
    assert not entered.wait(0.1)
    (inside / "checkpoint" / "COMPLETE").unlink()
    conditions.eventually(entered.is_set)
    thread.join()
    with pytest.raises(TimeoutError), perdure.checkpoint(patience=0.05):
        pass


def test_progress_is_json_lines(perdure: ModuleType, inside: Path) -> None:
    perdure.progress(1)
    perdure.progress(2, of=9)
    lines = [json.loads(line) for line in (inside / "progress.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1}, {"step": 2, "of": 9}]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_does_not_end_the_work(perdure: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_PROGRESS_FILE", "/dev/full")
    perdure.progress(1, of=2)


def test_it_is_one_file_on_the_standard_library() -> None:
    code = f"import sys; sys.path.insert(0, {str(SOURCE.parent)!r}); import perdure_job"
    assert subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False).returncode == 0
