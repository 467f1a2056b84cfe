"""Our own repository: writing, publishing, locks, damage, deadlines."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent import futures
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler import config, errors
from reconciler.seams.git import address, faults, mirror, process, stream
from tests import conditions
from tests.seams import repositories
from tests.seams.repositories import git


def commit(parent: str = "", at: int = 1, **files: str) -> stream.Commit:
    return stream.Commit(
        scratch="test",
        parent=parent,
        name="A <b> C",
        mail="m@n\n",
        at=at,
        message="a message\n\nwith a body",
        files={name: stream.Blob(data=text.encode()) for name, text in files.items()},
    )


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return repositories.bare(tmp_path / "remote.git")


@pytest.fixture
def ours(remote: Path, tmp_path: Path) -> mirror.Mirror:
    return repositories.mirror_of(remote, tmp_path / "data")


@pytest.fixture
def private(tmp_path: Path) -> mirror.Mirror:
    return mirror.Mirror(tmp_path / "data" / "folder.git")


def test_refs_move_on_the_server_all_or_none_and_here_afterwards(ours: mirror.Mirror, remote: Path) -> None:
    [first] = ours.build([commit(a="1")])
    [other] = ours.build([commit(a="2", at=2)])
    state, notes = "refs/perdure/state/x", "refs/notes/perdure/x"
    ours.publish([mirror.Update(ref=state, old="", new=first), mirror.Update(ref=notes, old="", new=first)])
    assert ours.refs("refs/perdure/state", "refs/notes") == {state: first, notes: first}
    [second] = ours.build([commit(first, a="3")])
    with pytest.raises(faults.Failed) as caught:
        ours.publish([mirror.Update(ref=state, old=first, new=second), mirror.Update(ref=notes, old="", new=other)])
    assert caught.value.kind is faults.Kind.REJECTED
    assert ours.refs("refs/perdure/state", "refs/notes") == {state: first, notes: first}
    assert git(remote, "rev-parse", state, notes).split() == [first, first]


def test_a_private_repository_moves_refs_by_compare_and_swap(private: mirror.Mirror) -> None:
    [first] = private.build([commit(a="1")])
    [second] = private.build([commit(first, a="2")])
    ref = "refs/perdure/state/x"
    private.publish([mirror.Update(ref=ref, old="", new=first)])
    for old in ("", second):
        with pytest.raises(faults.Failed) as caught:
            private.publish([mirror.Update(ref=ref, old=old, new=second)])
        assert caught.value.kind is faults.Kind.REJECTED
    private.publish([mirror.Update(ref=ref, old=first, new=second)])
    assert private.refs(ref) == {ref: second}


def test_any_content_and_any_path_survive(private: mirror.Mirror) -> None:
    files = {
        'a "quoted"\\ path': stream.Blob(data=b"\0\r\n"),
        "x\udcff/ü": stream.Blob(data=b"", mode="100755"),
        "link": stream.Blob(data=b"elsewhere", mode="120000"),
    }
    [made] = private.build([commit()])
    [made] = private.build([stream.Commit(scratch="t", parent=made, name="", mail="", at=1, message="", files=files)])
    raw = subprocess.run(["git", "ls-tree", "-r", "-z", made], cwd=private.directory, capture_output=True, check=True).stdout
    assert {line.partition(b"\t")[2] for line in raw.split(b"\0")} == {b"", b'a "quoted"\\ path', b"x\xff/\xc3\xbc", b"link"}
    assert b"\0\r\n" in private.read([f'{made}:a "quoted"\\ path']).values()


def test_a_path_that_cannot_be_is_refused(private: mirror.Mirror) -> None:
    with pytest.raises(errors.InvalidInput, match=r"\.git"):
        private.build([replace(commit(), files={".git/hooks/post-checkout": stream.Blob(data=b"x")})])
    assert private.build([commit(a="1")])


def test_a_failed_import_leaves_no_report_behind(private: mirror.Mirror) -> None:
    with pytest.raises(faults.Failed):
        private.build([commit("1" * 40, a="1")])
    assert not list(private.directory.glob("fast_import_crash*"))


def test_lock_files_of_a_killed_process_are_removed(ours: mirror.Mirror) -> None:
    ours.prepare()
    for name in ("shallow.lock", "config.lock", "packed-refs.lock"):
        (ours.directory / name).touch()
    folder = ours.directory / "refs" / "perdure" / "state"
    folder.mkdir(parents=True)
    (folder / "x.lock").touch()
    [made] = ours.build([commit(a="1")])
    ours.publish([mirror.Update(ref="refs/perdure/state/x", old="", new=made)])
    assert not list(ours.directory.rglob("*.lock"))


def test_a_half_made_repository_is_made_again(private: mirror.Mirror) -> None:
    (private.directory / "objects").mkdir(parents=True)
    (private.directory.parent / "folder.git.abcd.partial").mkdir()
    assert private.build([commit(a="1")])
    assert sorted(path.name for path in private.directory.parent.iterdir()) == ["folder.git", "folder.git.lock"]


def test_a_private_repository_without_its_head_keeps_what_it_holds(private: mirror.Mirror) -> None:
    [made] = private.build([commit(a="1")])
    private.publish([mirror.Update(ref="refs/perdure/state/x", old="", new=made)])
    (private.directory / "HEAD").unlink()
    assert mirror.Mirror(private.directory).refs("refs/perdure/state") == {"refs/perdure/state/x": made}
    assert private.git("cat-file", "-p", f"{made}:a") == b"1"


@pytest.mark.parametrize("content", [b"", b"15a7a67e96", b"\xff\xfe"])
def test_a_ref_that_cannot_be_read_is_not_one_that_is_missing(private: mirror.Mirror, content: bytes) -> None:
    [made] = private.build([commit(a="1")])
    private.publish([mirror.Update(ref="refs/perdure/state/x", old="", new=made)])
    (private.directory / "refs" / "perdure" / "state" / "x").write_bytes(content)
    with pytest.raises(faults.Failed) as caught:
        private.refs("refs/perdure/state")
    assert isinstance(caught.value.error(), errors.Damaged)


def test_many_who_come_at_once_make_one_repository(tmp_path: Path) -> None:
    all_here = threading.Barrier(8)

    def identity(_: int) -> int:
        mine = mirror.Mirror(tmp_path / "data" / "folder.git")
        all_here.wait()
        mine.prepare()
        return mine.directory.stat().st_ino

    with futures.ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(identity, range(8)))) == 1
    assert sorted(each.name for each in (tmp_path / "data").iterdir()) == ["folder.git", "folder.git.lock"]


def test_a_damaged_mirror_that_another_process_has_replaced_is_not_replaced_again(ours: mirror.Mirror) -> None:
    other = mirror.Mirror(ours.directory, ours.access, timeout=60.0)
    ours.prepare()

    def identity() -> int:
        ours.git("rev-parse", "--git-dir")
        return other.directory.stat().st_ino

    replaced: list[int] = []

    def after_them() -> int:
        if not replaced:
            (ours.directory / "HEAD").unlink()
            replaced.append(other.healed(identity))
            raise faults.Failed(_damage(ours), "not a git repository", str(ours.directory))
        return identity()

    assert ours.healed(after_them) == replaced[0]


def _damage(ours: mirror.Mirror) -> faults.Fault:
    with pytest.raises(faults.Failed) as caught:
        ours.git("cat-file", "-p", "1" * 40)
    assert caught.value.kind is faults.Kind.DAMAGED
    return caught.value.fault


def test_a_damaged_mirror_is_replaced_and_a_damaged_private_repository_is_not(
    ours: mirror.Mirror, private: mirror.Mirror, remote: Path, tmp_path: Path
) -> None:
    person = repositories.Person(remote, tmp_path / "person")
    person.commit({"a": b"1"})
    person.push()
    refspec = "+refs/heads/main:refs/perdure/source/heads/main"
    ours.fetch([refspec], shallow=False, partial=False)
    for path in (ours.directory / "objects").rglob("??/*"):
        path.chmod(0o600)
        path.write_bytes(b"")

    def work() -> bytes:
        ours.fetch([refspec], shallow=False, partial=False)
        return ours.git("cat-file", "-p", "refs/perdure/source/heads/main:a")

    assert ours.healed(work) == b"1"
    assert (ours.directory.parent / "repo.git.damaged").is_dir()
    [made] = private.build([commit(a="1")])
    for path in (private.directory / "objects").rglob("??/*"):
        path.chmod(0o600)
        path.write_bytes(b"")
    with pytest.raises(faults.Failed) as caught:
        private.healed(lambda: private.git("cat-file", "-p", made))
    assert isinstance(caught.value.error(), errors.Damaged)


HOLDER = """
import pathlib, sys
from reconciler.seams.git import mirror
with mirror.Mirror(pathlib.Path(sys.argv[1])).exclusively():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_writers_of_two_processes_wait_for_each_other(private: mirror.Mirror) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(private.directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        hasty = mirror.Mirror(private.directory, timeout=0.0)
        with pytest.raises(errors.Busy), hasty.exclusively():
            pass
        entered = threading.Event()

        def enter() -> None:
            with private.exclusively():
                entered.set()

        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.is_set()
        holder.kill()
        thread.join()
        assert entered.is_set()


def test_a_server_that_hangs_ends_with_its_whole_group(remote: Path, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    repositories.hook(remote, "pre-receive", f"echo $$ > {pid}; sleep 3600")
    slow = mirror.Mirror(tmp_path / "data" / "repo.git", repositories.mirror_of(remote, tmp_path).access, timeout=3.0)
    [made] = slow.build([commit(a="1")])
    with pytest.raises(faults.Failed) as caught:
        slow.publish([mirror.Update(ref="refs/perdure/state/x", old="", new=made)])
    assert caught.value.kind is faults.Kind.TIMEOUT
    conditions.eventually(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists())
    assert slow.refs("refs/perdure/state") == {}


def test_an_old_or_missing_git_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process.require.cache_clear()
    try:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(errors.UsageError, match="git cannot be run"):
            process.require()
        (tmp_path / "git").write_text("#!/bin/sh\necho git version 2.25.1\n")
        (tmp_path / "git").chmod(0o755)
        with pytest.raises(errors.UsageError, match="too old"):
            process.require()
    finally:
        process.require.cache_clear()


def test_the_settings_choose_between_mirror_and_private_repository(remote: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    settings = config.SourceSettings(repository="folder")
    assert mirror.of(settings, tmp_path / "data", tmp_path).access is None
    assert mirror.of(config.SourceSettings(repository=str(remote)), tmp_path / "data", tmp_path).access is not None
    gone = mirror.of(config.SourceSettings(repository="gone"), tmp_path / "data", tmp_path)
    with pytest.raises(faults.Failed) as caught:
        gone.listing()
    assert caught.value.kind is faults.Kind.UNREACHABLE
    with pytest.raises(errors.UsageError):
        mirror.of(config.SourceSettings(repository="https://h/x", token_file="/gone"), tmp_path / "data", tmp_path)


def test_many_writes_are_packed(private: mirror.Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "TIDY_EVERY", 2)
    calls: list[int] = []
    monkeypatch.setattr(mirror.Mirror, "tidy", lambda _: calls.append(1))
    head = ""
    for number in range(4):
        [made] = private.build([commit(head, a=str(number))])
        private.publish([mirror.Update(ref="refs/perdure/state/x", old=head, new=made)])
        head = made
    assert len(calls) == 2


def test_tidying_keeps_everything_that_is_referred_to(private: mirror.Mirror) -> None:
    [made] = private.build([commit(a="1")])
    private.remember("refs/perdure/seen/x", made)
    private.tidy()
    assert private.kinds([made]) == {made: "commit"}
    assert os.listdir(private.directory)


def test_whether_something_is_an_ancestor(private: mirror.Mirror) -> None:
    [first] = private.build([commit(a="1")])
    [second] = private.build([commit(first, a="2")])
    assert private.is_ancestor(first, second)
    assert not private.is_ancestor(second, first)
    with pytest.raises(faults.Failed):
        private.is_ancestor("1" * 40, second)


def test_a_loopback_address_and_nothing_else_may_be_http() -> None:
    assert address.parse_address("http://localhost/x", Path("/")).protocol == "http"
