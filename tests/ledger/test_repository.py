"""The ledger in a real repository, seen with plain git: its tree, its notes, its commits, its damage."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.contracts.ledger import Change, Committed, Conflict, Snapshot
from reconciler.contracts.source import Revision
from reconciler.core import record
from reconciler.ledger import notes, repository
from reconciler.seams import clock
from reconciler.source import repository as source
from tests import conditions
from tests.ledger.values import line, run, run_id
from tests.seams import repositories
from tests.seams.repositories import Person, git

STATE, NOTES = "refs/perdure/state/default", "refs/notes/perdure/default"


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return repositories.bare(tmp_path / "remote.git")


def ledger(remote: Path, data: Path) -> repository.RepositoryLedger:
    return repository.RepositoryLedger(repositories.mirror_of(remote, data), "default", clock.System())


def append(one: repository.RepositoryLedger, change: Change, snapshot: Snapshot | None = None) -> Snapshot:
    found = one.append(one.read() if snapshot is None else snapshot, change)
    assert isinstance(found, Committed), found
    return found.snapshot


def test_the_tree_is_the_documented_one_and_commits_name_the_process(remote: Path, tmp_path: Path) -> None:
    one = ledger(remote, tmp_path / "data")
    join = record.Join(token="f" * 64, host="a", pool="p", expires_at=9.5)
    append(one, Change(records=(run(1),), joins=(join,), revoked=(), observed=b"{}", instance={"a": "b"}, message="perdure: x"))
    assert git(remote, "ls-tree", "-r", "--name-only", STATE).split() == [
        "instance.json",
        f"joins/{'f' * 64}.json",
        "observed.json",
        "revoked.json",
        f"runs/{run_id(1)[:2]}/{run_id(1)}.json",
    ]
    who = git(remote, "log", "-1", "--format=%an|%cn|%ce|%s", STATE)
    assert who == f"perdure/default|perdure/default|{os.uname().nodename}:{os.getpid()}|perdure: x"


def test_plain_git_shows_the_notes(remote: Path, tmp_path: Path) -> None:
    person = Person(remote, tmp_path / "person")
    head = person.commit({"a": b"1"}, "a commit")
    person.push()
    append(ledger(remote, tmp_path / "data"), Change(notes={head: (line(1, "Job train was planned."),)}))
    person.git("fetch", "--quiet", "origin", "+refs/notes/perdure/*:refs/notes/perdure/*")
    shown = person.git("log", "--notes=perdure/default")
    assert "Notes (perdure/default):" in shown
    assert '{"say": "Job train was planned.", "v": 1,' in shown


def test_notes_of_ten_thousand_revisions_fan_out(remote: Path, tmp_path: Path) -> None:
    one = ledger(remote, tmp_path / "data")
    revisions = [f"{number * 7919:040x}"[::-1] for number in range(1, 10_001)]
    append(one, Change(notes={revision: (line(1),) for revision in revisions}))
    assert git(remote, "notes", f"--ref={NOTES}", "list").count("\n") == 9_999
    widest = max(git(remote, "ls-tree", f"{NOTES}:{name}").count("\n") for name in ("10", "ff", "00"))
    assert widest < 1000
    append(one, Change(notes={revisions[5000]: (line(2),)}))
    assert one.notes(revisions[5000]) == (line(1), line(2))
    fresh = ledger(remote, tmp_path / "fresh")
    assert set(fresh.noted()) == set(revisions)
    assert fresh.notes(revisions[5000]) == (line(1), line(2))


def test_a_note_of_plain_git_is_found_and_kept_whatever_its_fan_out(remote: Path, tmp_path: Path) -> None:
    person = Person(remote, tmp_path / "person")
    head = person.commit({"a": b"1"})
    other = person.commit({"a": b"2"})
    person.push()
    one = ledger(remote, tmp_path / "data")
    append(one, Change(notes={other: (line(1),)}))
    person.git("fetch", "--quiet", "origin", f"+{NOTES}:{NOTES}")
    person.git("notes", f"--ref={NOTES}", "add", "-m", "Grace: looks good", head)
    person.git("notes", f"--ref={NOTES}", "append", "-m", "Grace: and here", other)
    person.push(NOTES)
    append(one, Change(notes={head: (line(2),), other: (line(2),)}))
    assert git(remote, "notes", f"--ref={NOTES}", "show", head).startswith("Grace: looks good\n{")
    shown = git(remote, "notes", f"--ref={NOTES}", "show", other)
    assert "Grace: and here" in shown
    assert one.notes(other) == (line(1), line(2))
    assert git(remote, "notes", f"--ref={NOTES}", "list").count("\n") == 1, "one note a revision, none twice"


def test_a_fresh_clone_fetches_the_notes_before_it_writes(remote: Path, tmp_path: Path) -> None:
    revision = "2" * 40
    append(ledger(remote, tmp_path / "one"), Change(notes={revision: (line(1),)}))
    fresh = ledger(remote, tmp_path / "two")
    append(fresh, Change(notes={revision: (line(2),)}))
    assert fresh.notes(revision) == (line(1), line(2))


def test_a_note_stays_under_its_limit_and_the_rest_is_in_the_state_tree(
    remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notes.compose, "__defaults__", (2048,))
    one = ledger(remote, tmp_path / "data")
    revision = "2" * 40
    for number in range(30):
        append(one, Change(notes={revision: (line(number),)}))
    shown = git(remote, "notes", f"--ref={NOTES}", "show", revision)
    assert len(shown) < 2048
    assert f"earlier lines are in notes/{revision}.jsonl of {STATE}" in shown
    assert [int(found.at) for found in one.notes(revision)] == list(range(30))
    assert git(remote, "show", f"{STATE}:notes/{revision}.jsonl").startswith('{"say"')
    fresh = ledger(remote, tmp_path / "fresh")
    assert fresh.notes(revision) == one.notes(revision)


def test_the_code_of_unfinished_runs_is_linked_and_survives_a_force_push(remote: Path, tmp_path: Path) -> None:
    person = Person(remote, tmp_path / "person")
    person.commit({"code/main.py": b"print(1)\n", "one.py": b"print(2)\n"})
    person.push()
    shared = repositories.mirror_of(remote, tmp_path / "data")
    one = repository.RepositoryLedger(shared, "default", clock.System())
    reader = source.RepositorySource(shared, "main", clock.System())
    revision = reader.fetch()
    assert isinstance(revision, Revision)
    tree = reader.tree(revision.id)
    folder, file = tree.tree_id("code") or "", tree.tree_id("one.py") or ""
    append(one, Change(records=(run(1, code=folder), run(2, code=file), run(3, record.Phase.FINISHED, code=folder))))
    links = git(remote, "ls-tree", "-r", "-d", f"{STATE}:code")
    assert git(remote, "rev-parse", f"{STATE}:code/{run_id(1)[:2]}/{run_id(1)}") == folder
    assert git(remote, "rev-parse", f"{STATE}:code/{run_id(2)[:2]}/{run_id(2)}") == file
    assert run_id(3) not in links
    person.git("checkout", "--quiet", "--orphan", "new")
    person.commit({"code/main.py": None, "one.py": None, "x": b"x"})
    person.push("+HEAD:refs/heads/main")
    git(remote, "gc", "--prune=now", "--quiet")
    fresh_mirror = repositories.mirror_of(remote, tmp_path / "fresh")
    fresh = repository.RepositoryLedger(fresh_mirror, "default", clock.System())
    fresh.read()
    for oid, text in ((folder, b"print(1)\n"), (file, b"print(2)\n")):
        archive = b"".join(source.RepositorySource(fresh_mirror, "main", clock.System()).archive(oid))
        assert text in archive
    append(fresh, Change(records=(run(1, record.Phase.FINISHED, code=folder), replace(run(2, code=file), failures=1))))
    assert git(remote, "ls-tree", "-r", "-t", "--name-only", f"{STATE}:code").split() == [
        run_id(2)[:2],
        f"{run_id(2)[:2]}/{run_id(2)}",
    ]


def test_a_run_whose_code_is_nowhere_is_not_written(remote: Path, tmp_path: Path) -> None:
    one = ledger(remote, tmp_path / "data")
    found = one.append(one.read(), Change(records=(run(1, code="1" * 40),)))
    assert isinstance(found, Conflict)
    assert "the code of a run is not here" in found.detail
    assert one.read() == Snapshot()


def test_reading_again_shares_what_has_not_changed(remote: Path, tmp_path: Path) -> None:
    writer, reader = ledger(remote, tmp_path / "a"), ledger(remote, tmp_path / "b")
    append(writer, Change(records=(run(1), run(2)), observed=b"1"))
    before = reader.read()
    assert reader.read() is before
    append(writer, Change(records=(run(2, record.Phase.FINISHED),)))
    after = reader.read()
    assert after.records[run_id(1)] is before.records[run_id(1)]
    assert after.records[run_id(2)].phase is record.Phase.FINISHED
    assert after == writer.read()


def test_the_rival_is_named(remote: Path, tmp_path: Path) -> None:
    one, other = ledger(remote, tmp_path / "a"), ledger(remote, tmp_path / "b")
    snapshot = one.read()
    person = Person(remote, tmp_path / "person")
    append(other, Change(records=(run(1),)))
    person.git("fetch", "--quiet", "origin", STATE)
    person.git("checkout", "--quiet", "FETCH_HEAD")
    variables = {"GIT_COMMITTER_NAME": "perdure/default", "GIT_COMMITTER_EMAIL": "elsewhere:77"}
    person.git("commit", "--quiet", "--allow-empty", "-m", "theirs", variables=variables)
    person.push(f"HEAD:{STATE}")
    found = one.append(snapshot, Change(records=(run(2),)))
    assert isinstance(found, Conflict)
    assert found.rival == "perdure/default elsewhere:77"
    assert "somebody else was first" in found.detail
    append(one, Change(records=(run(2),)))


def test_a_server_that_declines_is_a_conflict_with_its_text(remote: Path, tmp_path: Path) -> None:
    repositories.hook(remote, "pre-receive", "echo 'state refs are frozen' >&2; exit 1")
    one = ledger(remote, tmp_path / "data")
    found = one.append(one.read(), Change(records=(run(1),), notes={"2" * 40: (line(1),)}))
    assert isinstance(found, Conflict)
    assert "state refs are frozen" in found.detail
    assert one.read() == Snapshot()
    assert git(one._mirror.directory, "for-each-ref", "refs/perdure/state", "refs/notes") == ""


def test_state_and_notes_move_together_or_not_at_all(remote: Path, tmp_path: Path) -> None:
    one = ledger(remote, tmp_path / "data")
    before = append(one, Change(records=(run(1),), notes={"2" * 40: (line(1),)}))
    repositories.hook(remote, "update", f'[ "$1" != {NOTES} ] || exit 1')
    found = one.append(before, Change(records=(run(2),), notes={"2" * 40: (line(2),)}))
    assert isinstance(found, Conflict)
    assert one.read() == before
    assert git(remote, "rev-parse", STATE) == before.head


def moved(repository: Path, head: str) -> bool:
    return git(repository, "rev-parse", STATE) != head


def test_a_push_killed_in_the_middle_is_a_conflict_and_the_next_read_tells(remote: Path, tmp_path: Path) -> None:
    one = ledger(remote, tmp_path / "data")
    before = append(one, Change(records=(run(1),)))
    for hook, written in (("pre-receive", False), ("post-receive", True)):
        # $PPID is the receiving end; its parent's parent is the `git push` that waits for the answer.
        climb = "p=$PPID; for i in 1 2 3; do g=$(parent $p); [ $g = 1 ] && break; "
        kill = 'case "$(words $g)" in *"git "*push*) kill -9 $g; break;; esac; p=$g; done'
        repositories.hook(remote, hook, f"{repositories.PROCESSES}{climb}{kill}; sleep 0.3")
        found = one.append(before, Change(records=(run(2),), notes={"2" * 40: (line(2),)}))
        assert isinstance(found, Conflict), found
        assert "killed" in found.detail
        (remote / "hooks" / hook).unlink()
        if written:
            conditions.eventually(functools.partial(moved, remote, before.head))
        else:
            assert not moved(one._mirror.directory, before.head)
        conditions.eventually(lambda: not list(remote.rglob("*.lock")))
        after = one.read()
        if run_id(2) in after.records:
            assert one.notes("2" * 40) == (line(2),)
            append(one, Change(records=(replace(run(2), failures=1),)), after)
            return
        before = after
    raise AssertionError("the push had arrived before it was killed")


def test_a_lock_that_a_killed_server_process_left_on_our_ref_is_removed(remote: Path, tmp_path: Path) -> None:
    one = ledger(remote, tmp_path / "data")
    snapshot = append(one, Change(records=(run(1),)))
    lock = remote / f"{STATE}.lock"
    lock.touch()
    assert isinstance(one.append(snapshot, Change(records=(run(2),))), Conflict)
    assert lock.exists(), "a fresh one may belong to somebody"
    old = time.time() - 2 * repository.ABANDONED
    os.utime(lock, (old, old))
    assert isinstance(one.append(snapshot, Change(records=(run(2),))), Conflict)
    append(one, Change(records=(run(2),)))


def damage(remote: Path, tmp_path: Path, files: dict[str, bytes | None]) -> None:
    folder = tmp_path / "vandal"
    shutil.rmtree(folder, ignore_errors=True)
    person = Person(remote, folder)
    person.git("fetch", "--quiet", "origin", STATE)
    person.git("checkout", "--quiet", "FETCH_HEAD")
    person.commit(files)
    person.push(f"HEAD:{STATE}")


@pytest.mark.parametrize(
    ("path", "data", "said"),
    [
        ("RUN", b'{"run": "half', "not a valid Record"),
        ("RUN", b"", "not a valid Record"),
        ("RUN", b"{}", "not a valid Record"),
        ("joins/" + "e" * 64 + ".json", b"[]", "not a valid Join"),
        ("revoked.json", b"{}", "not a valid"),
        ("instance.json", b"1", "not a valid"),
        ("runs/ab/stray.txt", b"x", "does not belong"),
        ("runs/ab/cd1234567890.json", b"x", "does not belong"),
    ],
)
def test_damage_is_named_with_ref_path_and_remedy(path: str, data: bytes, said: str, remote: Path, tmp_path: Path) -> None:
    one = ledger(remote, tmp_path / "data")
    append(one, Change(records=(run(1),)))
    path = f"runs/{run_id(1)[:2]}/{run_id(1)}.json" if path == "RUN" else path
    damage(remote, tmp_path, {path: data})
    for reader in (one, ledger(remote, tmp_path / "cold")):
        with pytest.raises(errors.Damaged, match=said) as caught:
            reader.read()
        assert caught.value.where == f"{STATE}:{path}"
        assert "git log" in caught.value.remedy


def test_a_foreign_tree_is_damage(remote: Path, tmp_path: Path) -> None:
    person = Person(remote, tmp_path / "person")
    person.commit({"README": b"not a ledger"})
    person.push(f"HEAD:{STATE}")
    with pytest.raises(errors.Damaged, match="not a ledger"):
        ledger(remote, tmp_path / "data").read()


def test_a_link_in_the_place_of_a_record_is_damage(remote: Path, tmp_path: Path) -> None:
    person = Person(remote, tmp_path / "person")
    path = person.folder / "runs" / run_id(1)[:2] / f"{run_id(1)}.json"
    path.parent.mkdir(parents=True)
    path.symlink_to("/etc/passwd")
    person.commit({})
    person.push(f"HEAD:{STATE}")
    with pytest.raises(errors.Damaged, match="no plain file"):
        ledger(remote, tmp_path / "data").read()


def test_a_ledger_that_vanished_or_was_rewound_is_damage_and_the_remedy_works(remote: Path, tmp_path: Path) -> None:
    one = ledger(remote, tmp_path / "data")
    first = append(one, Change(records=(run(1),)))
    second = append(one, Change(records=(run(1, record.Phase.FINISHED),)))
    for break_it in (["update-ref", "-d", STATE], ["update-ref", STATE, first.head]):
        git(remote, *break_it)
        for reader in (one, ledger(remote, tmp_path / "data")):
            with pytest.raises(errors.Damaged, match="removed or rewound") as caught:
                reader.read()
        subprocess.run(caught.value.remedy.removeprefix("Put it back: ").split(), check=True, capture_output=True)
        assert one.read() == second


def test_a_damaged_ledger_is_mended_by_its_last_whole_commit(remote: Path, tmp_path: Path) -> None:
    one = ledger(remote, tmp_path / "data")
    whole = append(one, Change(records=(run(1),)))
    blob = git(remote, "hash-object", "-w", "--stdin", feed=b"{")
    tree = git(remote, "mktree", feed=f"100644 blob {blob}\tinstance.json\n".encode())
    git(remote, "update-ref", STATE, git(remote, "commit-tree", "-p", whole.head, "-m", "by hand", tree))
    for reader in (one, ledger(remote, tmp_path / "data")):
        with pytest.raises(errors.Damaged, match="push the last whole commit") as caught:
            reader.read()
        assert "instance.json" in caught.value.where
    git(remote, "update-ref", STATE, whole.head)
    for reader in (ledger(remote, tmp_path / "data"), one):
        assert reader.read() == whole


def test_no_commit_in_the_place_of_the_ledger_is_told_with_how_to_put_it_back(remote: Path, tmp_path: Path) -> None:
    one = ledger(remote, tmp_path / "data")
    whole = append(one, Change(records=(run(1),)))
    git(remote, "update-ref", STATE, git(remote, "hash-object", "-w", "--stdin", feed=b"hello"))
    with pytest.raises(errors.Damaged, match="removed or rewound") as caught:
        one.read()
    subprocess.run(caught.value.remedy.removeprefix("Put it back: ").split(), check=True, capture_output=True)
    assert one.read() == whole


def test_an_unreachable_server_is_unavailable_and_an_append_a_conflict(remote: Path, tmp_path: Path) -> None:
    one = ledger(remote, tmp_path / "data")
    snapshot = append(one, Change(records=(run(1),)))
    remote.rename(tmp_path / "away")
    with pytest.raises(errors.Unavailable):
        one.read()
    assert isinstance(one.append(snapshot, Change(records=(run(2),))), Conflict)
    (tmp_path / "away").rename(remote)
    assert one.read() == snapshot


def test_data_that_cannot_be_written_is_said(remote: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"not a folder")
    one = ledger(remote, tmp_path / "data")
    with pytest.raises(errors.Unavailable, match="cannot be read") as caught:
        one.read()
    assert caught.value.where.startswith(str(tmp_path / "data"))
    assert caught.value.remedy
    assert isinstance(one.append(Snapshot(), Change(records=(run(1),))), Conflict)


def test_a_damaged_mirror_is_made_again(remote: Path, tmp_path: Path) -> None:
    one = ledger(remote, tmp_path / "data")
    append(one, Change(records=(run(1),)))
    append(ledger(remote, tmp_path / "other"), Change(records=(run(2),)))
    for path in (one._mirror.directory / "objects").rglob("??/*"):
        path.chmod(0o600)
        path.write_bytes(b"")
    assert set(one.read().records) == {run_id(1), run_id(2)}


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "a.lock"])
def test_an_instance_name_that_cannot_be_a_ref_is_refused(name: str, remote: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError):
        repository.RepositoryLedger(repositories.mirror_of(remote, tmp_path / "data"), name, clock.System())
