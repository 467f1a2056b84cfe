"""The processes of `passes`: one that makes the fleet, and the one that is measured."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from reconciler import loop
from reconciler.cli import pacing
from reconciler.core import codec, observed, record, spec
from tests.bench import commands, fleet, manifests
from tests.seams import repositories

AGO = 7200.0
"""Seconds since the fleet was begun."""


def prepare(folder: Path, count: int, seed: int) -> None:
    """Let a loop start every job, and keep the repository with its ledger, and what the hosts say."""
    folder.mkdir()
    remote = repositories.bare(folder / "remote.git")
    person = repositories.Person(remote, folder / "person")
    manifests.write(person.folder, count, seed)
    person.commit({})
    person.push()
    time = fleet.Clock(-AGO)
    hosts = fleet.Hosts(time)
    for state in fleet.empty_hosts(count):
        hosts.hear(state)
    turns = loop.Loop(fleet.parts(remote, folder / "data", time, hosts))
    for _ in range(3):
        done = turns.once()
        if done.standing is not loop.Standing.DONE:
            raise AssertionError(f"the fleet cannot be made: {done.notice}")
        hosts.answer()
        time.ahead += fleet.STEP
    (folder / "states").mkdir()
    for name, state in hosts.states.items():
        (folder / "states" / name).write_bytes(codec.encode(state))


class Measured:
    """One process of the loop, from nothing."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.time = fleet.Clock()
        self.hosts = fleet.Hosts(self.time)
        for file in sorted((folder / "states").iterdir()):
            self.hosts.hear(codec.decode(file.read_bytes(), observed.HostState))
        self._turns = loop.Loop(fleet.parts(folder / "remote.git", data, self.time, self.hosts))

    def once(self) -> loop.Pass:
        """Make a pass; the hosts then do what they were told, and time goes on."""
        done = self._turns.once()
        if done.standing is not loop.Standing.DONE:
            raise AssertionError(f"a pass did not come to its end: {done.notice}")
        self.hosts.answer()
        self.time.ahead += fleet.STEP
        return done

    def seconds(self, expect: Callable[[loop.Pass], bool]) -> float:
        """Time one pass, which must do what is expected."""
        began = time.perf_counter()
        done = self.once()
        taken = time.perf_counter() - began
        if not expect(done):
            raise AssertionError(f"a pass did something else: {len(done.plan.records) if done.plan else 0} records changed")
        return taken

    def hear_progress(self) -> None:
        """Every host sends its state again, in new objects as messages bring them, with all its jobs further on."""
        for state in list(self.hosts.states.values()):
            fresh = codec.decode(codec.encode(state), observed.HostState)
            items = tuple(self._further(item) for item in fresh.items)
            self.hosts.hear(dataclasses.replace(fresh, items=items, generation=fresh.generation + 1))

    def _further(self, item: observed.Item) -> observed.Item:
        step = item.progress.step + 1 if item.progress else 1
        return dataclasses.replace(item, progress=observed.Progress(step=step, of=1000, at=self.time.now()))


def measure(folder: Path, data: Path, passes: int) -> None:
    """Print a line when the first pass is over, and at the end the seconds of all others and the most memory."""
    # The process of `perdure reconcile` has threads as well: what is only quick with a single one does not count.
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    measured = Measured(folder, data)
    victim = next(run for run in measured.once().records.values() if run.live is not None)
    print("ready", flush=True)
    pacing.keep()
    noop = [measured.seconds(_changes(0)) for _ in range(passes)]
    heard = []
    for _ in range(passes):
        measured.hear_progress()
        heard.append(measured.seconds(_changes(0)))
    person = repositories.Person(folder / "remote.git", data.with_name(f"{data.name}-person"))
    person.git("fetch", "--quiet", "origin", "main")
    person.git("reset", "--quiet", "--hard", "origin/main")
    changed = []
    for number in range(passes):
        _change_a_job(person, number)
        changed.append(measured.seconds(_changes(1)))
    _see_a_kill(measured, spec.AttemptRef(run=victim.run, attempt=victim.attempts[-1].number))
    print(json.dumps({"noop": noop, "heard": heard, "changed": changed, "peak": commands.own_peak()}))


def _changes(records: int) -> Callable[[loop.Pass], bool]:
    return lambda done: done.plan is not None and len(done.plan.records) == records


def _change_a_job(person: repositories.Person, number: int) -> None:
    """Another clone commits and pushes another number of retries for one job."""
    path = person.folder / "jobs" / f"job-{number:05d}.yaml"
    text = path.read_text()
    now = int(re.findall(r"failure: (\d+)", text)[0])
    person.commit({f"jobs/{path.name}": text.replace(f"failure: {now}", f"failure: {now + 1}").encode()})
    person.push()


def _see_a_kill(measured: Measured, victim: spec.AttemptRef) -> None:
    """Let a job be killed, without a commit: the next pass must know that its attempt has ended."""
    measured.hosts.kill(victim)
    if measured.once().records[victim.run].attempts[victim.attempt - 1].ending is not record.Ending.FAILED:
        raise AssertionError("a job that was killed without a commit was not seen")


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        prepare(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        measure(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
