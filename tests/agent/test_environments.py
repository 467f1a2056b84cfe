"""Python environments by requirements: built once, told when they cannot be, never half."""

from __future__ import annotations

import os
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import account, environments, interpreter, refusal
from agent.supervisor import processes
from reconciler import errors
from reconciler.core import model
from tests import conditions
from tests.agent.host import Host

WHEEL = "tiny_thing-1.0-py3-none-any.whl"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path)
    yield one
    one.close()


def wheel(folder: Path) -> Path:
    """A package that says its word, without any index."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    meta = "tiny_thing-1.0.dist-info"
    with zipfile.ZipFile(folder / WHEEL, "w") as made:
        made.writestr("tiny_thing.py", "word = 'installed'\n")
        made.writestr(f"{meta}/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        made.writestr(f"{meta}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{meta}/RECORD", f"tiny_thing.py,,\n{meta}/METADATA,,\n{meta}/WHEEL,,\n{meta}/RECORD,,\n")
    (folder / WHEEL).chmod(0o644)
    return folder / WHEEL


def test_a_program_finds_its_requirements_and_the_second_one_finds_them_ready(host: Host) -> None:
    tree = "e" * 40
    files = {"main.py": "import tiny_thing; print(tiny_thing.word)", "requirements.txt": f"{wheel(host.jobs / 'wheels')}\n"}
    host.add_tree(tree, files)
    code = model.Code(path="job", entrypoint="main.py", requirements="requirements.txt", tree=tree)
    with host.up():
        for number in (1, 2):
            what = host.attempt([], number=number, workload={"code": code})
            ref = host.assign(what)
            assert host.ended(ref).code == 0
            assert host.log(ref) == b"installed\n"
    built = [path for path in (host.jobs / "environments").iterdir() if path.is_dir()]
    assert len(built) == 1
    user = account.resolve("")
    assert built[0].stat().st_mode & 0o007 == 0
    if user is not None:
        mine = [path for path in built[0].rglob("*") if path.lstat().st_uid == user.uid]
        assert mine == [], "a job could change what another one runs"


def test_requirements_that_cannot_be_installed_are_told_with_pips_words(host: Host) -> None:
    tree = "f" * 40
    host.add_tree(tree, {"main.py": "pass", "requirements.txt": "--no-index\nno-such-package-anywhere==1.0\n"})
    code = model.Code(path="job", entrypoint="main.py", requirements="requirements.txt", tree=tree)
    with host.up():
        found = host.ended(host.assign(host.attempt([], workload={"code": code})))
    assert not found.fatal
    assert "no-such-package-anywhere" in found.detail
    assert list((host.jobs / "environments").iterdir()) == []


class Counted(environments.Environments):
    """Counts what is built, and builds nothing."""

    built = 0

    def _build(self, place: Path, requirements: Path, work: Path, base: str) -> None:
        assert (requirements.exists(), work.is_dir(), bool(base)) == (True, True, True)
        self.built += 1
        place.mkdir()


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    (tmp_path / "work").mkdir()
    (tmp_path / "made").mkdir()
    (tmp_path / "work/requirements.txt").write_text("-r base.txt\n")
    (tmp_path / "work/base.txt").write_text("a==1\n")
    return Counted(tmp_path / "made", None)


def test_what_is_included_counts_too(counted: Counted, tmp_path: Path) -> None:
    work, file = tmp_path / "work", tmp_path / "work/requirements.txt"
    first = counted.get(file, work)
    assert counted.get(file, work) == first
    assert len(counted._locks) == 0, "nobody holds one any more"
    (work / "base.txt").write_text("a==2\n")
    assert counted.get(file, work) != first
    assert counted.built == 2


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("-rbase.txt", "base.txt"),
        ("--constraint=base.txt", "base.txt"),
        ("./lib", "lib/setup.py"),
        ("lib/tiny-1.0.whl", "lib/tiny-1.0.whl"),
        ("tiny[fast] @ file:lib/tiny-1.0.whl", "lib/tiny-1.0.whl"),
        ("--find-links lib", "lib/tiny-1.0.whl"),
        (".", "lib/setup.py"),
    ],
)
def test_what_is_installed_from_the_code_itself_counts_too(counted: Counted, tmp_path: Path, line: str, file: str) -> None:
    work, requirements = tmp_path / "work", tmp_path / "work/requirements.txt"
    requirements.write_text(f"# ours\n{line}\nother==1.0  # not ours\n")
    (work / "lib").mkdir()
    for name in ("lib/setup.py", "lib/tiny-1.0.whl"):
        (work / name).write_text("old")
    first = counted.get(requirements, work)
    assert counted.get(requirements, work) == first
    (work / file).write_text("new")
    assert counted.get(requirements, work) != first


@pytest.mark.parametrize("line", ["-e .", "-e./lib", "--editable=lib"])
def test_what_is_installed_in_place_is_for_that_working_copy_alone(counted: Counted, tmp_path: Path, line: str) -> None:
    """It goes with the attempt: another one would find nothing where its environment points."""
    places = []
    for name in ("first", "second"):
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / "requirements.txt").write_text(f"{line}\n")
        places.append(counted.get(tmp_path / name / "requirements.txt", tmp_path / name))
    assert places[0] != places[1]


def test_a_build_that_was_cut_short_is_done_again(counted: Counted, tmp_path: Path) -> None:
    work, file = tmp_path / "work", tmp_path / "work/requirements.txt"
    place = counted.get(file, work)
    place.with_name(f"{place.name}.ready").unlink()
    assert counted.get(file, work) == place
    assert counted.built == 2
    place.with_name(f"{place.name}.ready").unlink()
    counted.sweep(older=0.0)
    assert list((tmp_path / "made").iterdir()) == []


def test_an_environment_that_somebody_has_removed_is_built_again(counted: Counted, tmp_path: Path) -> None:
    work, file = tmp_path / "work", tmp_path / "work/requirements.txt"
    place = counted.get(file, work)
    place.rmdir()
    assert counted.get(file, work) == place
    assert (counted.built, place.is_dir()) == (2, True)
    place.rmdir()
    counted.sweep(older=0.0)
    assert list((tmp_path / "made").iterdir()) == []


def test_two_at_once_build_once(counted: Counted, tmp_path: Path) -> None:
    work, file = tmp_path / "work", tmp_path / "work/requirements.txt"
    threads = [threading.Thread(target=counted.get, args=(file, work)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted.built == 1


def test_a_python_that_the_user_can_execute_is_found() -> None:
    user = account.resolve("")
    path = interpreter.python(user)
    assert interpreter.version(path, user).startswith("cpython-")
    assert interpreter.version("/no/such/python", user) == ""
    assert os.access(path, os.X_OK)


def test_missing_requirements_are_refused(counted: Counted, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="cannot be read") as caught:
        counted.get(tmp_path / "work/none.txt", tmp_path / "work")
    assert refusal.exit_of(caught.value) is not None  # type: ignore[arg-type]


@pytest.mark.parametrize("place", ["requirements.txt", "base.txt"])
def test_a_pipe_in_the_place_of_requirements_is_not_waited_for(counted: Counted, tmp_path: Path, place: str) -> None:
    (tmp_path / "work" / place).unlink()
    os.mkfifo(tmp_path / "work" / place)
    with pytest.raises(errors.Refused, match="no plain file"):
        counted.get(tmp_path / "work/requirements.txt", tmp_path / "work")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_another_user_who_runs_jobs_from_now_on_can_use_them_too(host: Host) -> None:
    tree = "e" * 40
    files = {"main.py": "import tiny_thing; print(tiny_thing.word)", "requirements.txt": f"{wheel(host.jobs / 'wheels')}\n"}
    host.add_tree(tree, files)
    code = model.Code(path="job", entrypoint="main.py", requirements="requirements.txt", tree=tree)
    for number, user in ((1, "nobody"), (2, "daemon")):
        with host.up(user=user):
            found = host.ended(host.assign(host.attempt([], number=number, workload={"code": code})))
        assert (found.code, found.detail) == (0, "")


def test_what_an_installation_leaves_running_is_ended_and_not_waited_for(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/left; echo installed"
    done = interpreter.run(["/bin/sh", "-c", script], None, cwd=tmp_path, env={"PATH": interpreter.PATH}, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"installed\n")
    left = int((tmp_path / "left").read_text())
    conditions.eventually(lambda: (found := processes.look(left)) is None or found.dead)


def test_of_what_an_installation_prints_the_end_is_kept(tmp_path: Path) -> None:
    script = "head -c 5000000 /dev/zero; echo; echo the reason; exit 3"
    done = interpreter.run(["/bin/sh", "-c", script], None, cwd=tmp_path, env={"PATH": interpreter.PATH}, timeout=60)
    assert (done.returncode, len(done.stdout)) == (3, interpreter.LONGEST)
    assert done.stdout.endswith(b"\nthe reason\n")


def test_an_installation_that_takes_too_long_is_ended_with_all_it_began(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/left; wait"
    with pytest.raises(subprocess.TimeoutExpired):
        interpreter.run(["/bin/sh", "-c", script], None, cwd=tmp_path, env={"PATH": interpreter.PATH}, timeout=1)
    left = int((tmp_path / "left").read_text())
    conditions.eventually(lambda: (found := processes.look(left)) is None or found.dead)
