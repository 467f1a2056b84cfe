"""`make demo`, played for real: every claim it makes holds, and it leaves nothing behind."""

from __future__ import annotations

import importlib
import itertools
import os
import runpy
import shlex
import signal
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import cgroups
from reconciler.seams import ending
from tests import conditions, programs

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 400.0
"""Seconds: several times what it takes, so that a loaded machine does not fail it."""
TOOLS = ("git", "sh", "nice")
"""All programs of the machine that the demo and its jobs may know: those that README asks for, and what no machine lacks."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that jobs of another user may pass through, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="perdure-test-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def tools() -> Iterator[Path]:
    """A PATH with nothing on it that a small machine lacks."""
    with tempfile.TemporaryDirectory(prefix="perdure-tools-") as folder:
        os.chmod(folder, 0o755)
        yield programs.only(Path(folder, "bin"), TOOLS)


def begin(place: Path, tools: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PATH": str(tools), "TMPDIR": str(place), "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "demo")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def groups() -> set[Path]:
    """The control groups of hosts that are there."""
    return set(Path("/sys/fs/cgroup").glob(f"*/{cgroups.PREFIX}*"))


def test_every_claim_holds_and_nothing_is_left(place: Path, tools: Path) -> None:
    before = groups()
    demo = begin(place, tools)
    told, _ = demo.communicate(timeout=LONGEST)
    assert demo.returncode == 0, told
    assert told.count("✓") >= 8
    assert "✗" not in told
    assert list(place.iterdir()) == []
    hosts = [Path(place, f"perdure-demo-{os.getuid()}", name) for name in ("amsterdam", "berlin", "cairo")]
    left = {f"{cgroups.PREFIX}{cgroups.name_of(host)}" for host in hosts}
    assert not [group for group in groups() - before if group.name in left]


def test_an_interrupted_demo_is_clean(place: Path, tools: Path) -> None:
    demo = begin(place, tools)
    try:
        assert demo.stdout is not None
        seen = ""
        while "joined" not in seen:
            line = demo.stdout.readline()
            assert line, f"the demo ended early:\n{seen}"
            seen += line
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
        rest, _ = demo.communicate(timeout=60)
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
            demo.wait()
    assert demo.returncode == 130, seen + rest
    assert "Traceback" not in seen + rest
    conditions.eventually(lambda: list(place.iterdir()) == [], message="the demo's folder is gone")


def test_a_demo_that_nobody_reads_is_clean_and_silent(place: Path, tools: Path) -> None:
    demo = begin(place, tools)
    assert demo.stdout is not None
    while "1. Jobs" not in demo.stdout.readline():
        pass
    demo.stdout.close()
    assert demo.wait(timeout=60) == ending.CLOSED_PIPE
    assert list(place.iterdir()) == []


def test_a_demo_that_was_kept_can_be_ended(place: Path, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = place / f"perdure-demo-{os.getuid()}"
    folder.mkdir()
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", f"{folder}/berlin"])
    monkeypatch.setenv("STOP", "1")
    for says in ("removed", "no demo is running"):
        demo = begin(place, tools)
        told, _ = demo.communicate(timeout=60)
        assert (demo.returncode, says in told) == (0, True), told
    assert left.wait(timeout=10) == -signal.SIGKILL
    assert list(place.iterdir()) == []


def test_a_failed_job_ends_it_at_once_with_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "demo"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    machines = importlib.import_module("machines")
    site = machines.Site(None)
    monkeypatch.setattr(site, "jobs", lambda: [{"name": "flaky", "phase": "failed", "sentence": "There is no Python."}])
    with pytest.raises(machines.DemoError, match=r"flaky has failed\. There is no Python\."):
        site.until("flaky finishes", lambda: False)


def test_it_waits_as_long_as_something_moves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "demo"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    machines = importlib.import_module("machines")
    steps, clock = iter([*range(10), *[9] * 10]), itertools.count(step=40.0)
    monkeypatch.setattr(machines, "time", types.SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _seconds: None))
    site = machines.Site(None)
    monkeypatch.setattr(site, "jobs", lambda: [{"phase": "running", "attempt": 1, "step": next(steps)}])
    with pytest.raises(TimeoutError, match="nothing has moved for 120 s"):
        site.until("train finishes", lambda: False)
    assert len(list(steps)) in range(5, 10)


def test_what_to_try_next_names_a_host_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "demo"))
    machines, scenes = importlib.import_module("machines"), importlib.import_module("scenes")
    said: list[str] = []
    monkeypatch.setattr(scenes.console.Stage, "command", lambda _stage, line, _output="": said.append(line))
    stage = scenes.console.Stage()
    monkeypatch.setenv("TMPDIR", "/tmp/with a space")
    monkeypatch.setattr(tempfile, "tempdir", None)
    for lost in machines.HOSTS:
        site = machines.Site(stage)
        scenes.encore(site, stage, lost)
        program, notice, *_, data = shlex.split(said[-1])
        assert (program, notice) == (str(machines.BIN / "perdure-agent"), "notice")
        assert data in [str(site.root / host) for host in machines.HOSTS if host != lost], "a shell can take it as it is"


def test_a_training_that_is_over_too_early_is_played_once_more_and_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "demo"))
    machines, scenes, console = (importlib.import_module(name) for name in ("machines", "scenes", "console"))
    played_twice = runpy.run_path(str(ROOT / "scripts" / "demo" / "__main__.py"))["_played"]
    prepared: list[float] = []
    played = iter([machines.TooShortError("over"), scenes.Story(reference="told")])

    def play(_site: object, _stage: object) -> object:
        found = next(played)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(machines.Site, "prepare", lambda _site, seconds=machines.TRAINS: prepared.append(seconds))
    monkeypatch.setattr(machines.Site, "close", lambda _site, *, forget: prepared.append(0.0))
    monkeypatch.setattr(scenes, "play", play)
    assert played_twice(machines.Site(None), console.Stage()).reference == "told"
    assert prepared == [machines.TRAINS, 0.0, machines.TRAINS * 3]


def test_it_trains_as_long_as_the_scenes_take_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "demo"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    machines = importlib.import_module("machines")
    spent, wall = iter([100.0, 100.5] * 3), iter([0.0, 0.5, 0.0, 1.0, 0.0, 50.0])
    monkeypatch.setattr(machines, "_spent", lambda: next(spent))
    monkeypatch.setattr(machines, "run", lambda *_words, **_more: "")
    monkeypatch.setattr(machines, "time", types.SimpleNamespace(monotonic=lambda: next(wall)))
    site = machines.Site(None)
    assert [site._steps(40) for _ in range(3)] == [32_000, 64_000, 96_000]
