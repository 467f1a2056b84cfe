"""The process of `appends`: a ledger of so many runs on a server of this machine, and a plain clone that fetches from it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import sys
import time
from pathlib import Path

from reconciler.contracts import ledger
from reconciler.core import model, observed, record
from reconciler.ledger import wire
from reconciler.ledger.repository import RepositoryLedger
from reconciler.seams import clock
from tests.bench import fleet
from tests.seams import repositories


def measure(folder: Path, runs: int, rounds: int, seed: int) -> None:
    """Print the milliseconds of each append, of the append with the fetch of another clone after it, and of a plain push."""
    folder.mkdir()
    remote = repositories.bare(folder / "remote.git")
    person = repositories.Person(remote, folder / "person")
    revision = person.commit({"README.md": b"jobs\n"})
    person.push()
    mirrored = repositories.mirror_of(remote, folder / "data")
    mirrored.fetch(["+refs/heads/main:refs/perdure/source/heads/main"], shallow=True, partial=True)
    book = RepositoryLedger(mirrored, fleet.INSTANCE, clock.System())
    every = [_run(f"{seed}/{number}", revision) for number in range(runs)]
    book.append(book.read(), ledger.Change(records=tuple(every)))
    _fetch(person)
    chance = random.Random(seed)
    append, fetched, plain = [], [], []
    for number in range(rounds):
        snapshot = book.read()
        began = time.perf_counter()
        committed = book.append(snapshot, _transition(snapshot.records[chance.choice(every).run], number))
        pushed = time.perf_counter()
        _fetch(person)
        done = time.perf_counter()
        if not isinstance(committed, ledger.Committed) or _head(person) != committed.snapshot.head:
            raise AssertionError(f"the other clone has not fetched what was appended: {committed}")
        append.append((pushed - began) * 1e3)
        fetched.append((done - began) * 1e3)
        plain.append(_plain(person, number))
    print(json.dumps({"append": append, "fetched": fetched, "plain": plain}))


def _run(seed: str, revision: str) -> record.Record:
    name = hashlib.sha256(seed.encode()).hexdigest()[:32]
    workload = model.Workload(command=("python", "train.py"), args=("--steps", "1000"))
    return record.Record(
        run=name,
        instance=fleet.INSTANCE,
        tenant="default",
        job=f"job-{name[:8]}",
        replica=0,
        identity=1,
        revision=revision,
        created_at=1.7e9,
        phase=record.Phase.RUNNING,
        applied=model.Job(name=f"job-{name[:8]}", target="machines", workload=workload),
        attempts=(record.Attempt(number=1, target="machines", host="alpha", intended_at=1.7e9),),
    )


def _transition(run: record.Record, number: int) -> ledger.Change:
    """The run has finished, and is noted to have."""
    ended = observed.Exit(kind=observed.ExitKind.EXITED, code=0)
    attempt = dataclasses.replace(run.attempts[-1], ending=record.Ending.FINISHED, exit=ended, ended_at=1.7e9 + number)
    line = record.Line(
        say=f"Job {run.job} has finished.",
        what="finished",
        at=1.7e9 + number,
        instance=run.instance,
        tenant=run.tenant,
        job=run.job,
        run=run.run,
        attempt=1,
        revision=run.revision,
    )
    after = dataclasses.replace(run, attempts=(attempt,), phase=record.Phase.FINISHED, ended_at=1.7e9 + number)
    return ledger.Change(records=(after,), notes={run.revision: (line,)}, message=f"perdure: {line.say}")


def _plain(person: repositories.Person, number: int) -> float:
    """Return what git alone needs on this machine for one commit and its push, in milliseconds."""
    (person.folder / "README.md").write_text(f"jobs {number}\n")
    began = time.perf_counter()
    person.git("commit", "--quiet", "--all", "--message", "a change")
    person.push()
    return (time.perf_counter() - began) * 1e3


def _fetch(person: repositories.Person) -> None:
    ref = wire.state_ref(fleet.INSTANCE)
    person.git("fetch", "--quiet", "origin", f"+{ref}:{ref}")


def _head(person: repositories.Person) -> str:
    return person.git("rev-parse", wire.state_ref(fleet.INSTANCE))


if __name__ == "__main__":
    measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
