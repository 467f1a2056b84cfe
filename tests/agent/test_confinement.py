"""Limits, users and secrets: what a program may use, who it is, and what nobody else can read."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import account, cgroups, places, process, secretfiles, service
from agent.supervisor import files, processes, program
from reconciler import errors
from reconciler.core import model, observed, spec
from reconciler.seams import clock
from tests import conditions
from tests.agent.host import Host

Kind = observed.ExitKind
ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not ROOT, reason="needs root")
GROUPS = cgroups.detect("test-probe")
if GROUPS is not None:
    GROUPS.close()
only_grouped = pytest.mark.skipif(GROUPS is None or "memory" not in GROUPS.folders, reason="no writable control groups here")

HUNGRY = "import time\nx = b'x' * (200 << 20)\nprint('fed', flush=True)\ntime.sleep(60)"
WHO = """
import json, os
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
made = open("made", "w")
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "sid": os.getsid(0) == os.getpid(),
    "no_new_privs": status["NoNewPrivs"].strip(), "umask": status["Umask"].strip(),
    "caps": status["CapEff"].strip(), "core": status.get("x", ""),
    "cwd": os.getcwd(), "tmp": os.access(os.environ["TMPDIR"], os.W_OK),
}))
"""
SLEEPS = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(60)"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path)
    yield one
    one.close()


@only_root
def test_as_root_a_program_is_an_unprivileged_user(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(WHO))
        assert host.ended(ref).code == 0
        found = json.loads(host.log(ref))
    user = account.resolve("")
    assert user is not None
    assert (found["uid"], found["gid"], found["groups"]) == (user.uid, user.gid, [])
    assert (found["no_new_privs"], found["umask"], found["sid"], found["tmp"]) == ("1", "0077", True, True)
    assert int(found["caps"], 16) == 0


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_whatever_the_agents_umask_is_its_jobs_run_and_others_write_nothing(host: Host, mask: int) -> None:
    host.folder.chmod(0o755)
    before = os.umask(mask)
    try:
        with host.up(data=host.folder / "above" / "agent"):
            ref = host.assign(host.attempt("open('made', 'w')", store=None))
            assert host.ended(ref).code == 0
            places = [host.folder / "above", *(host.folder / "above").rglob("*"), *host.jobs.rglob("*")]
            found = {str(one): one.lstat() for one in places}
    finally:
        os.umask(before)
    assert len(found) > 5
    assert [path for path, status in found.items() if stat.S_IMODE(status.st_mode) & 0o022] == []


@pytest.mark.skipif(ROOT, reason="as root another user runs jobs")
def test_without_root_a_program_is_the_same_user(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(WHO))
        host.ended(ref)
        assert json.loads(host.log(ref))["uid"] == os.geteuid()


@only_root
@pytest.mark.parametrize("user", ["root", "no-such-user"])
def test_jobs_never_run_as_root_or_as_nobody_knows_who(host: Host, user: str) -> None:
    options = host.options(user=user)
    with pytest.raises(errors.UsageError), service.running(options, host.link, clock.System()):
        pass


@pytest.mark.parametrize(("user", "said"), [("somebody-else", True), (account.own_name(), False), ("", False)])
def test_a_user_that_only_root_could_give_jobs_to_is_not_passed_over_in_silence(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, user: str, said: bool
) -> None:
    monkeypatch.setattr(account, "resolve", lambda _: None)
    with host.up(user=user):
        pass
    assert (f"jobs do not run as {user} but as this agent's own user" in caplog.text) is said


@only_root
def test_root_keeps_what_jobs_see_where_their_user_can_reach_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.places.FALLBACK", host.jobs / "elsewhere")
    host.folder.chmod(0o700)
    with host.up(jobs=None):
        ref = host.assign(host.attempt("import os; print(os.getcwd())"))
        assert host.ended(ref).code == 0
        assert host.log(ref).startswith(os.fsencode(host.jobs / "elsewhere"))


@only_root
@pytest.mark.parametrize("owner", [b"", b"half", None])
def test_what_another_agents_jobs_see_is_not_removed_by_half_a_name(
    host: Host, monkeypatch: pytest.MonkeyPatch, owner: bytes | None
) -> None:
    elsewhere = host.jobs / "elsewhere"
    monkeypatch.setattr("agent.places.FALLBACK", elsewhere)
    host.folder.chmod(0o700)
    data = host.folder / "other"
    data.mkdir()
    living = places.lay_out(data, account.resolve("nobody"))
    mark = living.jobs / places.OWNER
    mark.write_bytes(mark.read_bytes()[:-3] if owner == b"half" else b"\xff\xfe" if owner is None else owner)
    with host.up(jobs=None):
        assert living.jobs.is_dir()
    mark.write_bytes(os.fsencode(data.resolve()))
    data.rename(host.folder / "gone")
    with host.up(jobs=None):
        assert not living.jobs.exists()


def test_nothing_of_an_attempt_is_readable_by_others(host: Host) -> None:
    with host.up():
        program = (
            "open('made', 'w').write('x')\nimport perdure_job as p\nwith p.checkpoint(1) as d: (d / 's').write_text('x')\n"
        )
        ref = host.assign(host.attempt(program + SLEEPS, workload={"env": {"A": "b"}}))
        host.until(ref, lambda item: len(item.checkpoints) == 1)
        roots = [host.data / "attempts" / str(ref), host.shared(ref)]
        paths = [path for root in roots for path in [root, *root.rglob("*")]]
        loose = [str(path) for path in paths if path.lstat().st_mode & 0o006 and not path.is_symlink()]
        assert loose == []
        assert [str(path) for path in paths if path.is_file() and path.stat().st_mode & 0o007] == []
        host.change(ref, want=spec.Want.STOP)
        host.ended(ref)
    others = [path for path in (host.data / "host.json", host.data / "lock") if path.stat().st_mode & 0o077]
    assert others == []


@only_grouped
def test_out_of_memory_is_told_by_the_control_group(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(HUNGRY, resources=model.Resources(memory=64 << 20, cpu=500)))
        found = host.ended(ref)
        item = host.item(ref)
        assert item is not None
        assert (found.kind, found.signal) == (Kind.OUT_OF_MEMORY, 9)
        assert "the kernel ended" in found.detail
        assert item.condition == ""
        host.change(ref, want=spec.Want.REMOVE)
        host.gone(ref)


@only_grouped
def test_the_control_group_holds_the_limits_and_is_removed(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(SLEEPS, resources=model.Resources(memory=64 << 20, cpu=500)))
        host.logged(ref, "ready")
        groups = service.prepare(host.options(), clock.System()).groups
        assert groups is not None
        folders = {name: folder / str(ref) for name, folder in groups.folders.items()}
        if groups.version == 1:
            assert int((folders["memory"] / "memory.limit_in_bytes").read_text()) == 64 << 20
            assert int((folders["cpu"] / "cpu.cfs_quota_us").read_text()) == 50_000
        else:
            assert int((folders["memory"] / "memory.max").read_text()) == 64 << 20
            assert (folders["cpu"] / "cpu.max").read_text() == "50000 100000\n"
        inside = {int(pid) for folder in folders.values() for pid in (folder / "cgroup.procs").read_text().split()}
        assert len(inside) == 1
        host.change(ref, want=spec.Want.STOP)
        host.ended(ref)
        host.change(ref, want=spec.Want.REMOVE)
        host.gone(ref)
    assert not any(folder.parent.exists() for folder in folders.values())


def test_without_control_groups_memory_is_summed_and_cpu_is_said_to_be_free(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "detect", lambda name: None)
    with host.up():
        ref = host.assign(host.attempt(HUNGRY, resources=model.Resources(memory=64 << 20, cpu=500)))
        assert host.ended(ref).kind is Kind.OUT_OF_MEMORY
        item = host.item(ref)
        assert item is not None
    assert "the cpu limit is not enforced" in item.condition
    assert "summing resident memory" in item.condition


def test_a_kill_from_outside_is_told_apart_from_memory(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"))
        found = host.ended(ref)
    assert (found.kind, found.signal) == (Kind.SIGNALED, 9)
    assert found.detail in ("signal 9, cause unknown", "signal 9, not for memory: someone else sent it")


def secret(host: Host, name: str, value: str, mode: int = 0o600) -> Path:
    path = host.folder / "secrets" / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(value)
    path.chmod(mode)
    return path


def test_a_secret_is_an_environment_variable_and_nowhere_else(host: Host) -> None:
    secret(host, "TOKEN", "s3cr3t-value\n")
    program = "import hashlib, os\nprint(hashlib.sha256(os.environ['TOKEN'].encode()).hexdigest(), flush=True)\n"
    with host.up():
        ref = host.assign(host.attempt(program + SLEEPS, workload={"secrets": ("TOKEN",)}))
        host.logged(ref, hashlib.sha256(b"s3cr3t-value").hexdigest())
        for pid in host.pids():
            assert b"s3cr3t" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        places = [path for root in (host.data, host.jobs, host.folder / "store") for path in root.rglob("*") if path.is_file()]
        assert [path for path in places if b"s3cr3t" in path.read_bytes()] == []
        assert "s3cr3t" not in repr(host.state)
        host.change(ref, want=spec.Want.STOP)
        host.ended(ref)


@pytest.mark.parametrize("now", ["an-0ther-value", None])
def test_what_a_program_was_given_stays_out_of_its_output_whatever_became_of_it_when_a_supervisor_takes_over(
    host: Host, now: str | None
) -> None:
    given, gate = secret(host, "TOKEN", "s3cr3t-value"), host.jobs / "go"
    program = "import os, time\nprint('begun', flush=True)\n" + (
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.02)\nprint('it is', os.environ['TOKEN'], flush=True)\n"
    )
    with host.up():
        ref = host.assign(host.attempt(program + SLEEPS, workload={"secrets": ("TOKEN",)}))
        host.logged(ref, "begun")
        given.unlink() if now is None else given.write_text(now)
        started = files.read(str(host.supervisor(ref)), files.STARTED)
        main = processes.look(started["pid"]) if started else None
        assert main is not None
        os.kill(main.parent, signal.SIGKILL)
        conditions.eventually(lambda: process.look(host.supervisor(ref)).presence is not process.Presence.LIVE)
        conditions.eventually(lambda: process.look(host.supervisor(ref)).presence is process.Presence.LIVE)
        gate.touch()
        host.logged(ref, "it is ***\n")
        host.change(ref, want=spec.Want.STOP)
        host.ended(ref)


def test_a_missing_secret_is_named_and_nothing_started(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(SLEEPS, workload={"secrets": ("TOKEN",)}))
        found = host.ended(ref)
    assert (found.kind, found.fatal) == (Kind.NOT_STARTED, True)
    assert "the secret TOKEN is missing" in found.detail


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_secret_that_others_can_read_is_refused_without_its_value(host: Host, mode: int) -> None:
    secret(host, "TOKEN", "s3cr3t", mode)
    with host.up():
        ref = host.assign(host.attempt(SLEEPS, workload={"secrets": ("TOKEN",)}))
        found = host.ended(ref)
    assert found.fatal
    assert "TOKEN" in found.detail
    assert "s3cr3t" not in found.detail


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is no plain file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"a\0b", "or has a NUL"),
        (b"x" * (secretfiles.MOST + 1), "is longer than 64 KiB"),
    ],
)
def test_a_file_that_cannot_be_a_secret_is_named_with_what_to_do(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "API_KEY"
    file.mkdir(mode=0o700) if content is None else file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(errors.Refused, match=said) as caught:
        secretfiles.read(tmp_path, "default", ["API_KEY"])
    assert (caught.value.where, bool(caught.value.remedy)) == (str(file), True)


def test_what_a_missing_secret_asks_for_can_be_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "a host's data" / "secrets"
    for loosen in (None, folder, folder / "API_KEY"):  # not there; a folder, then a file that is open to others
        if loosen is not None:
            loosen.chmod(0o777)
        with pytest.raises(errors.Refused) as caught:
            secretfiles.read(folder, "default", ["API_KEY"])
        command = caught.value.remedy.removeprefix("Put its value there: ")
        assert "chown" not in command, "it belongs to the right user already"
        subprocess.run(["sh", "-c", command], input=b"s3cr3t", check=True, timeout=10)
        assert secretfiles.read(folder, "default", ["API_KEY"]) == {"API_KEY": "s3cr3t"}


def test_a_secret_of_one_tenant_is_not_anothers(host: Host) -> None:
    secret(host, "blue/TOKEN", "x")
    with host.up():
        blue = host.assign(host.attempt("pass", tenant="blue", workload={"secrets": ("TOKEN",)}))
        assert host.ended(blue).code == 0
        red = host.assign(host.attempt("pass", run=host.another(), tenant="red", workload={"secrets": ("TOKEN",)}))
        assert "missing" in host.ended(red).detail
        for number, name in enumerate(("../blue/TOKEN", "blue/TOKEN", "PERDURE_RUN", "")):
            bad = host.assign(host.attempt("pass", number=number + 10, tenant="red", workload={"secrets": (name,)}))
            assert host.ended(bad).fatal


def test_the_door_bell_is_for_root_and_its_own_user(host: Host) -> None:
    with host.up():
        mode = (host.data / "agent.sock").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert mode & 0o777 == 0o600


@only_root
def test_another_user_cannot_ring_or_look(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(SLEEPS))
        host.logged(ref, "ready")
        script = f"import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect({str(host.data / 'agent.sock')!r})\n"
        done = subprocess.run(["/usr/bin/python3", "-c", script], user=65534, capture_output=True, check=False)
        assert done.returncode != 0
        host.change(ref, want=spec.Want.STOP)
        host.ended(ref)


WRITES = """
import os
for path in ("data/new", "data/below/new", "data/mounted/new", "data/open/new", os.environ["SOURCE"] + "/direct", "work"):
    try:
        open(path, "w").close()
        print(path, "written")
    except OSError as error:
        print(path, error.strerror)
print(open("data/file").read())
"""

only_closing = pytest.mark.skipif(not ROOT or not process.can_close(), reason="needs root that may mount")


@pytest.fixture
def source(host: Host) -> Iterator[Path]:
    """A folder of the host that everybody may write, with another file system mounted in it."""
    folder = host.jobs / "srv data"
    for each in (folder, folder / "below", folder / "open", folder / "mounted"):
        each.mkdir()
        each.chmod(0o777)
    (folder / "file").write_text("of the host")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "none", str(folder / "mounted")], check=True)
    yield folder
    subprocess.run(["umount", str(folder / "mounted")], check=True)


@only_closing
def test_a_read_only_volume_cannot_be_written(host: Host, source: Path) -> None:
    volumes = (
        model.Volume(source=str(source), target="data", read_only=True),
        model.Volume(source=str(source / "open"), target="open", shared=True),
    )
    with host.up():
        ref = host.assign(host.attempt(WRITES, workload={"volumes": volumes, "env": {"SOURCE": str(source)}}))
        assert host.ended(ref).code == 0
        item = host.item(ref)
        assert item is not None
        assert "readOnly" not in item.condition
    *told, content = host.log(ref).decode().splitlines()
    refused = "Read-only file system"
    assert [line.removeprefix(f"{source}/") for line in told] == [
        f"data/new {refused}",
        f"data/below/new {refused}",
        f"data/mounted/new {refused}",
        "data/open/new written",
        f"direct {refused}",
        "work written",
    ]
    assert content == "of the host"
    (source / "new").touch()  # to everybody else it is what it was
    assert sorted(path.name for path in source.rglob("new")) == ["new", "new"]


@only_closing
def test_without_a_read_only_volume_nothing_is_closed(host: Host, source: Path) -> None:
    volumes = (model.Volume(source=str(source), target="data", shared=True),)
    with host.up():
        ref = host.assign(host.attempt(WRITES, workload={"volumes": volumes, "env": {"SOURCE": str(source)}}))
        assert host.ended(ref).code == 0
    assert host.log(ref).count(b" written\n") == 6


def test_a_launch_of_the_release_before_closes_nothing() -> None:
    what = {name: None for name in program.Launch._fields if name not in ("closed", "open")}
    assert program.launch(what).closed == ()
    del what["argv"]
    with pytest.raises(KeyError):
        program.launch(what)
