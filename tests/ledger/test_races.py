"""Several reconcilers at once: every line of every writer arrives, and no append overwrites another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.ledger import repository
from reconciler.seams import clock
from tests import conditions
from tests.ledger.values import run_id
from tests.seams import repositories
from tests.seams.repositories import Person, git

ROOT = Path(__file__).resolve().parents[2]
REVISION = "2" * 40
EACH = 4

WRITER = """
import pathlib, random, sys
from dataclasses import replace
from reconciler.contracts.ledger import Change, Committed
from reconciler.ledger import repository
from reconciler.seams import clock
from tests.ledger import values
from tests.seams import repositories

remote, data, writer, each, revision = sys.argv[1:]
ticking = clock.System()
ledger = repository.RepositoryLedger(repositories.mirror_of(remote, pathlib.Path(data)), "default", ticking)
for number in range(int(each)):
    tries = 0
    while True:
        snapshot = ledger.read()
        shared = snapshot.records.get(values.run_id(0), values.run(0))
        own = int(writer) * 1000 + number + 1
        change = Change(
            records=(replace(shared, failures=shared.failures + 1), values.run(own)),
            notes={revision: (values.line(own),)},
        )
        answer = ledger.append(snapshot, change)
        if isinstance(answer, Committed):
            break
        tries += 1
        ticking.wait(random.uniform(0, 0.02 * 2 ** min(tries, 5)))
"""


@pytest.mark.parametrize("writers", [2, 8])
def test_no_line_and_no_count_is_lost(writers: int, tmp_path: Path) -> None:
    remote = repositories.bare(tmp_path / "remote.git")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(remote), str(tmp_path / f"data-{writer}"), str(writer), str(EACH), REVISION],
            cwd=ROOT,
        )
        for writer in range(1, writers + 1)
    ]
    assert [one.wait() for one in running] == [0] * writers
    reader = repository.RepositoryLedger(repositories.mirror_of(remote, tmp_path / "data"), "default", clock.System())
    snapshot = reader.read()
    own = [writer * 1000 + number + 1 for writer in range(1, writers + 1) for number in range(EACH)]
    assert set(snapshot.records) == {run_id(0), *map(run_id, own)}
    assert snapshot.records[run_id(0)].failures == writers * EACH
    lines = [int(line.at) for line in reader.notes(REVISION)]
    assert sorted(lines) == own
    for writer in range(1, writers + 1):
        assert [at for at in lines if at // 1000 == writer] == sorted(at for at in lines if at // 1000 == writer)


def test_a_reconciler_killed_anywhere_begins_again_at_once(tmp_path: Path) -> None:
    remote = repositories.bare(tmp_path / "remote.git")
    ref = "refs/perdure/state/default"
    for number in range(1, 8):
        head = git(remote, "rev-parse", "--verify", "--quiet", ref, check=False)
        arguments = [sys.executable, "-c", WRITER, str(remote), str(tmp_path / "data"), str(number), "1000", REVISION]
        with subprocess.Popen(arguments, cwd=ROOT) as writer:
            conditions.eventually(lambda: git(remote, "rev-parse", "--verify", "--quiet", ref, check=False) != head)  # noqa: B023
            writer.kill()
    reader = repository.RepositoryLedger(repositories.mirror_of(remote, tmp_path / "data"), "default", clock.System())
    snapshot = reader.read()
    own = [run for run in snapshot.records if run != run_id(0)]
    assert snapshot.records[run_id(0)].failures == len(own) == len(reader.notes(REVISION)) >= 7
    for place in (remote, tmp_path / "data" / "repo.git"):
        git(place, "fsck", "--connectivity-only", "--no-dangling")
        conditions.eventually(lambda: not list(place.rglob("refs/**/*.lock")))  # noqa: B023


def test_a_person_who_notes_meanwhile_loses_nothing(tmp_path: Path) -> None:
    remote = repositories.bare(tmp_path / "remote.git")
    person = Person(remote, tmp_path / "person")
    head = person.commit({"a": b"1"})
    person.push()
    arguments = [sys.executable, "-c", WRITER, str(remote), str(tmp_path / "data"), "1", "20", head]
    ref = "refs/notes/perdure/default"
    with subprocess.Popen(arguments, cwd=ROOT) as writer:
        for number in range(5):
            while True:
                git(person.folder, "fetch", "--quiet", "origin", f"+{ref}:{ref}", check=False)
                person.git("notes", f"--ref={ref}", "append", "-m", f"person {number}", head)
                try:
                    person.push(ref)
                    break
                except AssertionError:
                    continue
        assert writer.wait() == 0
    shown = git(remote, "notes", f"--ref={ref}", "show", head)
    assert [f"person {number}" in shown for number in range(5)] == [True] * 5
    reader = repository.RepositoryLedger(repositories.mirror_of(remote, tmp_path / "reader"), "default", clock.System())
    assert [int(line.at) for line in reader.notes(head)] == list(range(1001, 1021))
