"""A real agent with real programs: what is assigned is run, watched, ended and forgotten."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import process, service
from agent.supervisor import files, processes
from reconciler import errors
from reconciler.core import model, observed, spec
from reconciler.seams import clock
from tests import conditions
from tests.agent.host import Host

Kind = observed.ExitKind
ROOT = os.geteuid() == 0

SLEEPS = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(60)"
IGNORES_TERM = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEPS
WAITS = """
import os, time
print("ready", flush=True)
while not os.path.exists("go"): time.sleep(0.02)
print("bye")
raise SystemExit(7)
"""
SHOWS_ENVIRONMENT = "import os, json\nprint(json.dumps(dict(os.environ)))"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path)
    yield one
    one.close()


def test_a_program_runs_and_its_end_is_reported_and_forgotten(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt("print('hello'); raise SystemExit(3)"))
        assert host.ended(ref) == observed.Exit(kind=Kind.EXITED, code=3)
        assert host.log(ref) == b"hello\n"
        host.change(ref, want=spec.Want.REMOVE)
        host.gone(ref)
    assert not (host.data / "attempts" / str(ref)).exists()
    assert not host.shared(ref).exists()
    assert host.log(ref) == b"hello\n"


def test_a_program_that_exits_while_the_agent_is_dead_is_reported_by_the_next(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(WAITS))
        host.logged(ref, "ready")
    (host.shared(ref) / "work" / "go").touch()
    conditions.eventually(lambda: process.look(host.supervisor(ref)).presence is process.Presence.ENDED)
    with host.up():
        assert host.ended(ref) == observed.Exit(kind=Kind.EXITED, code=7)


def test_sessions_grow_and_generations_within_them(host: Host) -> None:
    for sessions in (1, 2):
        with host.up():
            ref = host.assign(host.attempt("pass"))
            host.ended(ref)
            _heard_of(host, sessions)
    order = [(state.session, state.generation) for state in host.link.said]
    assert order == sorted(set(order))
    assert len({session for session, _ in order}) == 2


def _heard_of(host: Host, sessions: int) -> None:
    conditions.eventually(lambda: len({state.session for state in host.link.said}) == sessions)


def test_a_killed_supervisor_is_replaced_and_the_process_kept(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(SLEEPS))
        host.logged(ref, "ready")
        started = files.read(str(host.supervisor(ref)), files.STARTED)
        assert started is not None
        supervisor = processes.look(started["pid"])
        assert supervisor is not None
        os.kill(supervisor.parent, signal.SIGKILL)
        conditions.eventually(lambda: not processes.alive(supervisor.parent, _start(supervisor.parent)))
        conditions.eventually(lambda: process.look(host.supervisor(ref)).presence is process.Presence.LIVE)
        assert processes.alive(started["pid"], started["start"])
        host.change(ref, want=spec.Want.STOP)
        found = host.ended(ref)
    assert (found.kind, found.stopped) == (Kind.UNKNOWN, True)


@pytest.mark.parametrize("name", [files.LAUNCH, files.STARTED, files.CONTROL, files.OUTPUT])
def test_whatever_file_of_a_killed_supervisor_is_gone_its_program_is_taken_over_once(host: Host, name: str) -> None:
    with host.up():
        ref = host.assign(host.attempt("import os, time; print(os.getpid(), flush=True); time.sleep(3600)"))
        host.until(ref, lambda item: item.started_at is not None)
        host.logged(ref, "\n")
    started = files.read(str(host.supervisor(ref)), files.STARTED)
    program = processes.look(started["pid"]) if started else None
    assert program is not None
    os.kill(program.parent, signal.SIGKILL)
    conditions.eventually(lambda: process.look(host.supervisor(ref)).presence is process.Presence.ORPHANED)
    (host.supervisor(ref) / name).unlink()
    with host.up():
        conditions.eventually(lambda: process.look(host.supervisor(ref)).presence is process.Presence.LIVE)
        assert processes.alive(program.pid, program.start)
        host.change(ref, want=spec.Want.STOP)
        found = host.ended(ref)
    assert (found.kind, found.stopped) == (Kind.UNKNOWN, True)
    assert host.log(ref) == f"{program.pid}\n".encode(), "it was not begun again"


def test_an_end_that_cannot_be_read_any_more_keeps_nothing_on_the_host(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt("pass"))
        host.ended(ref)
    (host.supervisor(ref) / files.RESULT).write_bytes(b'{"kind"')
    with host.up():
        assert host.ended(ref) == observed.Exit(kind=Kind.EXITED, code=0), "what was told stands"
        host.change(ref, want=spec.Want.REMOVE)
        host.gone(ref)


@pytest.mark.parametrize("name", [files.LOCK, files.TRACE])
def test_something_else_in_the_place_of_a_supervisors_file_is_told_with_its_path(host: Host, name: str) -> None:
    (host.supervisor(host.attempt(SLEEPS).ref) / name).mkdir(parents=True)
    with host.up():
        ref = host.assign(host.attempt(SLEEPS))
        said = host.until(ref, lambda item: "Is a directory" in item.condition).condition
    assert f"supervisor/{name}: " in said
    assert "Traceback" not in said
    assert "unforeseen" not in said


def _start(pid: int) -> int:
    found = processes.look(pid)
    return found.start if found else -1


def test_supervisor_and_program_killed_leave_the_outcome_unknown(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(SLEEPS))
        host.logged(ref, "ready")
    for pid in host.pids():
        os.kill(pid, signal.SIGKILL)
    conditions.eventually(lambda: not host.pids())
    with host.up():
        assert host.ended(ref).kind is Kind.UNKNOWN


def test_a_lower_generation_is_refused(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(SLEEPS))
        host.running(ref)
        host.change(ref, want=spec.Want.STOP)
        old = host.link.assignments
        assert old is not None
        host.link.assignments = dataclasses.replace(old, generation=0)
        conditions.eventually(lambda: any("older than" in text for text in host.state.conditions))
        host.send()
        host.ended(ref)
        assert host.state.conditions == ()


def test_assignments_of_another_host_are_refused(host: Host) -> None:
    with host.up():
        host.link.assignments = spec.Assignments(host="there", generation=1)
        conditions.eventually(lambda: any("'there'" in text for text in host.state.conditions))


def test_an_attempt_that_is_not_listed_goes_on(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(SLEEPS))
        host.logged(ref, "ready")
        host.link.assignments = spec.Assignments(host="here", generation=9)
        conditions.eventually(lambda: host.state.accepted == 9)
        host.running(ref)


def test_a_stop_ends_a_program_that_ignores_sigterm(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(IGNORES_TERM), grace=0.2)
        host.logged(ref, "ready")
        host.change(ref, want=spec.Want.STOP)
        found = host.ended(ref)
    assert (found.kind, found.signal, found.stopped) == (Kind.SIGNALED, 9, True)


def test_a_stop_before_the_start_starts_nothing(host: Host) -> None:
    ref = host.assign(host.attempt(SLEEPS), want=spec.Want.STOP)
    with host.up():
        found = host.ended(ref)
    assert (found.kind, found.stopped) == (Kind.NOT_STARTED, True)


def test_removing_what_still_runs_ends_it_first(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(SLEEPS))
        host.logged(ref, "ready")
        host.change(ref, want=spec.Want.REMOVE)
        host.gone(ref)
    assert host.pids() == set()


def test_the_timeout_can_change_in_place(host: Host) -> None:
    with host.up():
        what = host.attempt(SLEEPS)
        ref = host.assign(what)
        host.logged(ref, "ready")
        host.change(ref, spec=dataclasses.replace(what, timeout=0.1))
        assert host.ended(ref).kind is Kind.TIMEOUT


def test_the_environment_is_clean_and_ours_wins(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKED", "no")
    with host.up():
        workload = {"env": {"MODE": "fast", "PERDURE_RUN": "mine"}}
        ref = host.assign(host.attempt(SHOWS_ENVIRONMENT, workload=workload))
        host.ended(ref)
        env = json.loads(host.log(ref))
    assert env["MODE"] == "fast"
    assert env["PERDURE_RUN"] == ref.run
    assert env["PERDURE_ATTEMPT"] == "1"
    assert "LEAKED" not in env
    assert "PERDURE_RESTORE_DIR" not in env
    for name in ("PERDURE_CHECKPOINT_DIR", "PERDURE_REQUEST_FILE", "PERDURE_PROGRESS_FILE", "HOME", "TMPDIR", "PYTHONPATH"):
        assert env[name].startswith(str(host.jobs)), name


def test_progress_is_followed(host: Host) -> None:
    program = "import perdure_job as p, time\np.progress(5, 9); p.progress(6, 9)\n" + SLEEPS
    with host.up():
        ref = host.assign(host.attempt(program))
        item = host.until(ref, lambda item: item.progress is not None and item.progress.step == 6)
        assert (item.first_step, item.progress and item.progress.of) == (5, 9)
        host.change(ref, want=spec.Want.STOP)
        host.ended(ref)


def test_the_same_directory_twice_is_refused(host: Host) -> None:
    with host.up(), pytest.raises(errors.Busy), service.running(host.options(), host.link, clock.System()):
        pass


def test_an_attempt_claimed_by_another_agent_is_not_started(host: Host) -> None:
    what = host.attempt("open('ran', 'w')")
    assert host.store.claim(what.ref, "someone else")
    with host.up():
        ref = host.assign(what)
        found = host.ended(ref)
    assert found.kind is Kind.UNKNOWN
    assert "superseded" in found.detail
    assert not host.shared(ref).exists()


def test_a_store_that_is_not_there_is_waited_for(host: Host) -> None:
    with host.up():
        with host.without_store():
            ref = host.assign(host.attempt("print('ran')"))
            host.until(ref, lambda item: "prepare is tried again" in item.condition)
        assert host.ended(ref).code == 0


def test_the_last_output_waits_for_the_store(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(WAITS))
        host.logged(ref, "ready")
        with host.without_store():
            (host.shared(ref) / "work" / "go").touch()
            host.ended(ref)
            host.change(ref, want=spec.Want.REMOVE)
            host.until(ref, lambda item: "remove is tried again" in item.condition)
        host.gone(ref)
    assert host.log(ref) == b"ready\nbye\n"


def test_code_reaches_the_program_in_a_copy_of_its_own(host: Host) -> None:
    tree = "a" * 40
    program = "import helper; open('made', 'w'); print(helper.word)"
    host.add_tree(tree, {"train.py": program, "helper.py": "word = 'seen'", "sub/x": ""})
    workload = {"code": model.Code(path="job", entrypoint="train.py", tree=tree), "workdir": "sub"}
    with host.up():
        refs = []
        for number in (1, 2):
            what = host.attempt("", number=number, workload=workload)
            what = dataclasses.replace(what, workload=dataclasses.replace(what.workload, command=()))
            refs.append(host.assign(what))
            assert host.ended(refs[-1]).code == 0
    assert [host.log(ref) for ref in refs] == [b"seen\n"] * 2
    assert all((host.shared(ref) / "work/sub/made").exists() for ref in refs)
    assert not list((host.data / "code").rglob("made"))


def test_code_that_cannot_be_had_is_waited_for(host: Host) -> None:
    tree = "b" * 40
    workload = {"code": model.Code(path="job", tree=tree)}
    with host.up():
        ref = host.assign(host.attempt("print(open('data').read())", workload=workload))
        host.until(ref, lambda item: "no tree" in item.condition)
        host.add_tree(tree, {"data": "here"})
        assert host.ended(ref).code == 0
    assert host.log(ref) == b"here\n"


def test_volumes_are_links_below_the_working_directory(host: Host) -> None:
    shared = host.jobs / "shared"
    shared.mkdir()
    (shared / "data").write_text("of the host")
    shared.chmod(0o755)
    volume = model.Volume(source=str(shared), target="in/put", read_only=True, shared=True)
    with host.up():
        ref = host.assign(host.attempt("print(open('in/put/data').read())", workload={"volumes": (volume,)}))
        host.ended(ref)
        item = host.item(ref)
        assert item is not None
        assert ("readOnly" in item.condition) != (os.geteuid() == 0 and process.can_close())
        for target, reason in (("/data", "absolute"), ("../up", "leads out")):
            bad = dataclasses.replace(volume, target=target)
            number = 10 if target == "/data" else 11
            found = host.ended(host.assign(host.attempt("pass", number=number, workload={"volumes": (bad,)})))
            assert found.fatal
            assert reason in found.detail
    assert host.log(ref) == b"of the host\n"


def test_folders_that_a_program_has_closed_are_removed_all_the_same(host: Host) -> None:
    program = "import os\nos.makedirs('a/b')\nopen('a/b/c', 'w').close()\nos.chmod('a/b', 0)\nos.chmod('a', 0)"
    with host.up():
        ref = host.assign(host.attempt(program))
        assert host.ended(ref).code == 0
        host.change(ref, want=spec.Want.REMOVE)
        host.gone(ref)
    assert not host.shared(ref).exists()


def test_files_of_another_release_are_read(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(WAITS))
        host.logged(ref, "ready")
    for path in (host.data / "attempts" / str(ref) / "entry.json", host.data / "host.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "of a later release": [1]}))
    for name in (files.LAUNCH, files.STARTED):
        value = files.read(str(host.supervisor(ref)), name)
        files.write(str(host.supervisor(ref)), name, {**(value or {}), "of a later release": 1})
    with host.up():
        (host.shared(ref) / "work" / "go").touch()
        assert host.ended(ref) == observed.Exit(kind=Kind.EXITED, code=7)


def test_an_unforeseen_end_of_the_journal_is_mended_by_the_next_assignment(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(WAITS))
        host.logged(ref, "ready")
    (host.data / "attempts" / str(ref) / "entry.json").write_bytes(b'{"half')
    given, host.link.assignments = host.link.assignments, None
    host.link.said.clear()
    with host.up():
        item = host.running(ref)
        assert item.damaged
        assert "entry.json: not a valid Entry" in item.condition
        host.link.assignments = given
        host.until(ref, lambda item: item.spec is not None)
        assert not host.running(ref).damaged
        (host.shared(ref) / "work" / "go").touch()
        assert host.ended(ref) == observed.Exit(kind=Kind.EXITED, code=7)


def test_a_journal_that_cannot_be_read_keeps_no_other_from_being_served(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(WAITS))
        host.logged(ref, "ready")
    entry = host.data / "attempts" / str(ref) / "entry.json"
    entry.unlink()
    entry.mkdir()
    host.link.said.clear()
    with host.up():
        assert "entry.json: cannot be read" in host.until(ref, lambda item: item.damaged).condition
        assert host.ended(host.assign(host.attempt("pass", run=host.another()))).code == 0
        entry.rmdir()
        (host.shared(ref) / "work" / "go").touch()
        assert host.ended(ref) == observed.Exit(kind=Kind.EXITED, code=7)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"agent": 3}', b"\xff\xfe"])
def test_a_damaged_host_file_does_not_keep_the_agent_from_starting(host: Host, content: bytes) -> None:
    host.data.mkdir(parents=True)
    (host.data / "host.json").write_bytes(content)
    with host.up():
        assert host.ended(host.assign(host.attempt("pass"))).code == 0
        assert "host.json could not be read and was begun anew" in host.link.said[-1].conditions[0]
