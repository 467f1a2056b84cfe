"""What every ledger promises, the shipped fake included."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.contracts.ledger import Change, Committed, Conflict, Ledger, Snapshot
from reconciler.core import record
from reconciler.ledger import fake, repository
from reconciler.seams import clock
from reconciler.seams.git import mirror
from tests.ledger.values import line, run, run_id
from tests.seams import repositories

REVISION = "2" * 40


@pytest.fixture(params=["fake", "repository", "private"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    if request.param == "fake":
        return fake.FakeLedger()
    if request.param == "private":
        return repository.RepositoryLedger(mirror.Mirror(tmp_path / "data" / "folder.git"), "default", clock.System())
    remote = repositories.bare(tmp_path / "remote.git")
    return repository.RepositoryLedger(repositories.mirror_of(remote, tmp_path / "data"), "default", clock.System())


def append(ledger: Ledger, snapshot: Snapshot, change: Change) -> Snapshot:
    found = ledger.append(snapshot, change)
    assert isinstance(found, Committed), found
    return found.snapshot


def test_before_the_first_append_it_is_empty(ledger: Ledger) -> None:
    assert ledger.read() == Snapshot()
    assert ledger.notes(REVISION) == ()


def test_everything_that_is_written_is_read(ledger: Ledger) -> None:
    join = record.Join(token="f" * 64, host="a", pool="p", expires_at=9.5)
    change = Change(
        records=(run(1), run(2, record.Phase.FINISHED)),
        joins=(join,),
        revoked=("bad",),
        observed=b'{"at":1}',
        instance={"revision": REVISION},
        notes={REVISION: (line(1), line(2))},
        message="perdure: the first",
    )
    written = append(ledger, ledger.read(), change)
    for snapshot in (written, ledger.read()):
        assert snapshot.head
        assert snapshot.records == {run_id(1): run(1), run_id(2): run(2, record.Phase.FINISHED)}
        assert snapshot.joins == {"f" * 64: join}
        assert (snapshot.revoked, snapshot.observed, snapshot.instance) == (("bad",), b'{"at":1}', {"revision": REVISION})
    assert ledger.notes(REVISION) == (line(1), line(2))


def test_an_append_changes_only_what_it_names(ledger: Ledger) -> None:
    first = append(ledger, ledger.read(), Change(records=(run(1), run(2)), revoked=("bad",), notes={REVISION: (line(1),)}))
    second = append(ledger, first, Change(records=(run(2, record.Phase.FINISHED),), notes={REVISION: (line(2),)}))
    assert second.records[run_id(1)] == run(1)
    assert second.records[run_id(2)].phase is record.Phase.FINISHED
    assert second.revoked == ("bad",)
    assert ledger.read() == second
    assert ledger.notes(REVISION) == (line(1), line(2))


def test_an_append_to_an_old_snapshot_is_a_conflict_and_writes_nothing(ledger: Ledger) -> None:
    old = ledger.read()
    new = append(ledger, old, Change(records=(run(1),)))
    found = ledger.append(old, Change(records=(run(2),), notes={REVISION: (line(2),)}))
    assert isinstance(found, Conflict)
    assert found.detail
    assert ledger.read() == new
    assert ledger.notes(REVISION) == ()
    assert append(ledger, new, Change(records=(run(2),))).records.keys() == {run_id(1), run_id(2)}


def test_an_empty_change_writes_nothing(ledger: Ledger) -> None:
    snapshot = append(ledger, ledger.read(), Change(records=(run(1),)))
    assert append(ledger, snapshot, Change()) == snapshot


def test_only_a_note_can_be_written(ledger: Ledger) -> None:
    append(ledger, ledger.read(), Change(notes={REVISION: (line(1),)}))
    append(ledger, ledger.read(), Change(notes={REVISION: (line(1), line(2))}))
    assert ledger.notes(REVISION) == (line(1), line(2))


def test_what_was_revoked_can_be_emptied(ledger: Ledger) -> None:
    snapshot = append(ledger, ledger.read(), Change(revoked=("bad",), observed=b"x", instance={"a": "b"}))
    snapshot = append(ledger, snapshot, Change(revoked=(), observed=b"", instance={}))
    assert (snapshot.revoked, snapshot.observed, dict(snapshot.instance)) == ((), b"", {})
    assert ledger.read() == snapshot
