"""The agent is killed at effects chosen by a seed, again and again; what the reconciler sees stays true, and happens once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core import codec, observed, spec
from tests import conditions
from tests.agent.host import Host

EFFECTS = 160
"""About as many as one undisturbed agent has in this story: a seed picks among twice as many points."""
KILLS = 3

PROGRAM = """
import os, sys, time
import perdure_job as p
os.close(os.open(sys.argv[1] + "/started-%d" % os.getpid(), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
step = 0
while not os.path.exists(sys.argv[1] + "/go"):
    step += 1
    p.progress(step)
    if p.requested():
        with p.checkpoint(step) as folder:
            (folder / "step").write_text(str(step))
    time.sleep(0.01)
sys.exit(7)
"""


class Story:
    """A reconciler that wants one attempt run, saved once, and forgotten, whatever the agent does meanwhile."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.stage = host.jobs / "stage"
        self.stage.mkdir()
        self.stage.chmod(0o777)
        what = host.attempt(PROGRAM)
        command = (*what.workload.command, str(self.stage))
        workload = type(what.workload)(command=command)
        self.what = spec.AttemptSpec(**{**{name: getattr(what, name) for name in what.__slots__}, "workload": workload})
        self.assignment = spec.Assignment(spec=self.what, grace=1.0)
        self.exit: observed.Exit | None = None
        self.generation = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.kills = 0
        (host.folder / "options.json").write_text(json.dumps({"jobs": str(host.jobs)}))
        self.assign()

    def assign(self, **changed: object) -> None:
        self.assignment = spec.Assignment(
            **{**{name: getattr(self.assignment, name) for name in self.assignment.__slots__}, **changed}
        )
        self.generation += 1
        found = spec.Assignments(host="here", generation=self.generation, items=(self.assignment,))
        partial = self.host.folder / "assignments.partial"
        partial.write_bytes(codec.encode(found))
        partial.replace(self.host.folder / "assignments.json")

    def keep_up(self, dice: random.Random) -> None:
        """Starts the agent when there is none, with a next doom while there are kills left."""
        if self.process is not None and self.process.poll() is None:
            return
        if self.process is not None:
            assert self.process.returncode == -signal.SIGKILL, "the agent failed by itself"
            self.kills += 1
        at = dice.randrange(1, 2 * EFFECTS // KILLS) if self.kills < KILLS else 0
        root = Path(__file__).parents[2]
        command = [sys.executable, "-m", "tests.agent.doomed", str(self.host.folder), str(at)]
        self.process = subprocess.Popen(command, cwd=root)

    def state(self) -> observed.HostState | None:
        try:
            return codec.decode((self.host.folder / "state.json").read_bytes(), observed.HostState)
        except FileNotFoundError:
            return None

    def go_on(self, dice: random.Random) -> bool:
        """One look of the reconciler; true when all is done."""
        self.keep_up(dice)
        state = self.state()
        if state is None or state.accepted < self.generation:
            return False
        item = next((item for item in state.items if item.ref == self.what.ref), None)
        if item is None:
            assert self.assignment.want is spec.Want.REMOVE, "it is absent, and nobody wanted that"
            return True
        if item.state is observed.ItemState.ENDED:
            assert item.exit is not None
            assert self.exit in (None, item.exit), "two outcomes"
            self.exit = item.exit
            if self.assignment.want is spec.Want.RUN:
                self.assign(want=spec.Want.REMOVE)
        elif item.progress is not None and self.assignment.request is None:
            self.assign(request=spec.Request(id="once", purpose=spec.Purpose.DEMAND, deadline=30.0))
        elif item.request is not None and item.request.done:
            assert item.request.digest, f"the program saves within a moment, and yet: {item.request.detail}"
            (self.stage / "go").touch()
        return False

    def close(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path)
    yield one
    one.close()


@pytest.mark.parametrize("seed", range(12))
def test_killed_at_any_effect_the_attempt_runs_once_and_ends_once(host: Host, seed: int) -> None:
    dice = random.Random(seed)
    story = Story(host)
    try:
        conditions.eventually(lambda: story.go_on(dice), timeout=90.0, message=lambda: f"seed {seed}: {story.state()}")
    finally:
        story.close()
    assert story.exit == observed.Exit(kind=observed.ExitKind.EXITED, code=7)
    assert len(list(story.stage.glob("started-*"))) == 1
    taken = host.store.list(story.what.run)
    assert [one.request for one in taken].count("once") <= 1
    assert taken
    assert all(host.store.verify(one.digest).ok for one in taken)
    assert not (host.data / "attempts" / str(story.what.ref)).exists()
    assert not host.shared(story.what.ref).exists()
    assert host.pids() - {os.getpid()} == set()
