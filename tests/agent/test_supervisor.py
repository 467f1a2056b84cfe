"""The supervisor on real processes: every end is recorded once, and nothing of the tree is left."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import descriptors, process
from agent.supervisor import files, mask, processes, program
from reconciler.core import observed
from tests import conditions
from tests.agent.supervised import Supervised

Start = Callable[..., Supervised]
Kind = observed.ExitKind

IGNORES_TERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True: time.sleep(60)
"""

OBEYS_TERM = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready", flush=True)
time.sleep(3600)
"""

ANSWERS_USR1 = """
import os, signal, time
signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"asked\\n"))
print("ready", flush=True)
while True: time.sleep(60)
"""

WAITS_FOR_GO = """
import os, time
print("ready", flush=True)
while not os.path.exists("go"): time.sleep(0.02)
print("bye", flush=True)
"""

DOUBLE_FORK = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("grandchild", os.getpid(), flush=True)
        time.sleep(3600)
    os._exit(0)
os.wait()
time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 3600)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[Supervised] = []

    def make(argv: list[str] | str, **bounds: Any) -> Supervised:
        made.append(Supervised(tmp_path / str(len(made)), argv, **bounds))
        return made[-1]

    yield make
    for one in made:
        one.close()


def grandchild(one: Supervised) -> processes.Process:
    one.said("grandchild")
    found = processes.look(int(one.output().split()[1]))
    assert found is not None
    return found


def test_the_status_of_the_program_is_recorded(start: Start) -> None:
    one = start("print('hello', flush=True); raise SystemExit(7)")
    assert one.exit() == observed.Exit(kind=Kind.EXITED, code=7)
    assert one.output() == b"hello\n"


def test_a_program_that_cannot_be_executed_was_not_started(start: Start) -> None:
    found = start(["/no/such/program"]).exit()
    assert (found.kind, found.fatal) == (Kind.NOT_STARTED, True)
    assert "/no/such/program" in found.detail


def test_a_signal_outside_a_group_has_an_unknown_cause(start: Start) -> None:
    one = start("import time; time.sleep(3600)")
    os.kill(one.live(), signal.SIGKILL)
    assert one.exit() == observed.Exit(kind=Kind.SIGNALED, signal=9, detail="signal 9, cause unknown")


def test_what_is_killed_before_it_was_let_go_ends_like_any_other(start: Start) -> None:
    """Its end is told like that of any other program: its supervisor does not die of what nobody hears any more."""
    held = program.hold(start("pass").launch, {}, 1)
    os.kill(held.pid, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(held.pid, 0)[1]) == -signal.SIGKILL
    assert held.release() == ""


def test_stop_ends_a_program_that_ignores_sigterm(start: Start) -> None:
    one = start(IGNORES_TERM)
    one.said("ready")
    assert process.tell(one.folder, {"stop": 0.1})
    assert one.exit() == observed.Exit(kind=Kind.SIGNALED, signal=9, detail="", stopped=True)


def test_a_program_that_exits_well_on_sigterm_was_stopped_all_the_same(start: Start) -> None:
    one = start(OBEYS_TERM)
    one.said("ready")
    process.tell(one.folder, {"stop": 30})
    assert one.exit() == observed.Exit(kind=Kind.EXITED, code=0, stopped=True)


def test_a_stop_after_the_end_changes_nothing(start: Start) -> None:
    one = start("raise SystemExit(0)")
    process.tell(one.folder, {"stop": 30})
    while one.look().presence is not process.Presence.ENDED:
        process.tell(one.folder, {"stop": 30})
    found = one.exit()
    ending = files.read(str(one.folder), files.ENDING)
    assert (found.code, found.stopped) in ((0, False), (None, True))
    assert found.stopped == (ending is not None)


def test_the_timeout_needs_no_agent(start: Start) -> None:
    found = start(IGNORES_TERM, timeout=0.3, grace=0.1).exit()
    assert (found.kind, found.stopped) == (Kind.TIMEOUT, False)
    assert found.detail == "it ran longer than 0.3 s"


def test_a_timeout_can_be_given_while_it_runs(start: Start) -> None:
    one = start("import time; time.sleep(3600)")
    one.live()
    process.tell(one.folder, {"timeout": 0.1})
    assert one.exit().kind is Kind.TIMEOUT


def test_memory_is_summed_over_the_tree_without_a_group(start: Start) -> None:
    hungry = "import os,time\nos.fork()\nx = b'x' * (60 << 20)\nprint('ready', flush=True)\ntime.sleep(3600)"
    found = start(hungry, memory=100 << 20).exit()
    assert found.kind is Kind.OUT_OF_MEMORY
    assert "are allowed" in found.detail


def test_memory_that_is_shared_counts_once(start: Start) -> None:
    shared = "import os,time\nx = b'x' * (60 << 20)\nos.fork(); os.fork()\nprint('ready', flush=True)\ntime.sleep(1.5)"
    assert start(shared, memory=150 << 20).exit().kind is Kind.EXITED


def test_what_detached_itself_ends_with_a_stop(start: Start) -> None:
    one = start(DOUBLE_FORK)
    below = grandchild(one)
    process.tell(one.folder, {"stop": 0.5})
    assert one.exit().stopped
    assert not processes.alive(below.pid, below.start)


def test_what_detached_itself_ends_with_the_program(start: Start) -> None:
    one = start([sys.executable, "-c", DOUBLE_FORK, "0.2"])
    below = grandchild(one)
    assert one.exit() == observed.Exit(kind=Kind.EXITED, code=0)
    assert not processes.alive(below.pid, below.start)


def test_a_second_supervisor_does_nothing(start: Start) -> None:
    one = start("import time; time.sleep(3600)")
    pid = one.live()
    assert one.start().wait() == 3
    assert one.live() == pid


def test_an_ended_attempt_is_never_started_again(start: Start) -> None:
    one = start("import os; open('ran', 'a').write('x')")
    one.exit()
    conditions.eventually(lambda: one.start({"go": "again"}).wait() == 0, message="the first supervisor has let go")
    assert (one.work / "ran").read_text() == "x"


def test_without_all_secrets_nothing_starts(tmp_path: Path) -> None:
    one = Supervised(tmp_path, "open('ran', 'w')", secrets={"TOKEN": "x"})
    one.exit()
    one.close()
    assert (one.work / "ran").exists()
    other = tmp_path / "other"
    process.prepare(other, one.launch, None)
    child = subprocess.run([sys.executable, "-I", "-S", process.SUPERVISOR, str(other)], input=b'{"TOK', check=False)
    assert child.returncode == 4
    assert process.look(other).presence is process.Presence.ABSENT


def test_the_process_of_a_killed_supervisor_is_adopted(start: Start) -> None:
    one = start(IGNORES_TERM)
    one.said("ready")
    pid = one.live()
    one.kill_supervisor()
    assert one.look().presence is process.Presence.ORPHANED
    one.start()
    assert one.live() == pid
    process.tell(one.folder, {"stop": 0.1})
    found = one.exit()
    assert (found.kind, found.stopped) == (Kind.UNKNOWN, True)


@pytest.mark.parametrize("content", [None, b"", b'{"pid": 1', b"{}", b"[]", b"\xff\xfe"])
def test_without_a_record_of_its_start_a_program_is_found_by_its_marks_and_not_started_again(
    start: Start, content: bytes | None
) -> None:
    one = start("import os, time; print(os.getpid(), flush=True); time.sleep(3600)")
    pid = one.live()
    one.said(str(pid))
    one.kill_supervisor()
    _spoil(one.folder / files.STARTED, content)
    one.start()
    conditions.eventually(lambda: one.look().started_at)
    assert one.live() == pid
    assert one.output() == f"{pid}\n".encode(), "nothing has begun anew"
    process.tell(one.folder, {"stop": 0.1})
    assert one.exit().kind is Kind.UNKNOWN


def test_a_program_that_is_gone_without_a_record_that_can_be_read_is_unknown(start: Start) -> None:
    one = start("import time; print('once', flush=True); time.sleep(3600)")
    pid = one.live()
    one.said("once")
    one.kill_supervisor()
    os.kill(pid, signal.SIGKILL)
    _spoil(one.folder / files.STARTED, b'{"pid"')
    assert one.look().presence is process.Presence.ORPHANED
    one.start()
    assert (one.exit().kind, one.output()) == (Kind.UNKNOWN, b"once\n")


@pytest.mark.parametrize("content", [b"", b'{"kind": "exi', b"{}"])
def test_an_end_that_cannot_be_read_any_more_is_unknown(start: Start, content: bytes) -> None:
    one = start("pass")
    assert one.exit().code == 0
    conditions.eventually(lambda: one.ended)
    _spoil(one.folder / files.RESULT, content)
    assert one.look().presence is process.Presence.ORPHANED
    one.start()
    assert one.exit().kind is Kind.UNKNOWN


@pytest.mark.parametrize("content", [None, b"", b'{"argv": [', b"{}"])
def test_a_supervisor_that_cannot_read_what_to_start_says_so(start: Start, content: bytes | None) -> None:
    one = start("import time; time.sleep(3600)")
    one.live()
    one.kill_supervisor()
    _spoil(one.folder / files.LAUNCH, content)
    assert one.start().wait() == 4
    assert process.trace(one.folder) == f"{one.folder}/launch.json cannot be read"
    assert process.launched(one.folder) is None


@pytest.mark.parametrize("name", [files.LOCK, files.CONTROL, files.OUTPUT])
def test_something_else_in_the_place_of_its_files_is_named(start: Start, name: str) -> None:
    one = start("import time; time.sleep(3600)")
    one.live()
    one.kill_supervisor()
    (one.folder / name).unlink()
    (one.folder / name).mkdir()
    assert one.start().wait() == 1
    assert process.trace(one.folder) == f"{one.folder}/{name}: Is a directory"


def _spoil(path: Path, content: bytes | None) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def test_an_adopted_process_that_ends_leaves_the_outcome_unknown(start: Start) -> None:
    one = start(WAITS_FOR_GO)
    one.said("ready")
    one.kill_supervisor()
    one.start()
    one.live()
    (one.work / "go").touch()
    found = one.exit()
    assert (found.kind, found.stopped) == (Kind.UNKNOWN, False)
    assert one.output() == b"ready\nbye\n"


def test_output_goes_on_after_the_supervisor_was_killed(start: Start) -> None:
    program = "import time\nfor n in range(100000):\n  print(n, flush=True); time.sleep(0.01)"
    one = start(program)
    one.said("3\n")
    one.kill_supervisor()
    one.start()
    seen = len(one.output())
    conditions.eventually(lambda: len(one.output()) > seen + 20)
    os.kill(one.live(), signal.SIGKILL)
    assert one.exit().kind is Kind.UNKNOWN
    lines = one.output().split()
    assert lines == [str(n).encode() for n in range(len(lines))]


def test_a_dead_process_of_a_killed_supervisor_is_unknown(start: Start) -> None:
    one = start("import time; time.sleep(3600)")
    pid = one.live()
    one.kill_supervisor()
    os.kill(pid, signal.SIGKILL)
    one.start()
    assert one.exit().kind is Kind.UNKNOWN


def test_after_another_boot_nothing_is_touched(start: Start) -> None:
    one = start("import time; time.sleep(3600)")
    pid = one.live()
    one.kill_supervisor()
    started = files.read(str(one.folder), files.STARTED)
    files.write(str(one.folder), files.STARTED, {**(started or {}), "boot": "another"})
    one.start()
    found = one.exit()
    assert (found.kind, found.detail) == (Kind.UNKNOWN, "the machine was restarted while it ran")
    assert processes.look(pid) is not None
    os.kill(pid, signal.SIGKILL)


def test_when_the_agents_data_is_removed_nothing_stays_behind(start: Start) -> None:
    one = start("import time; time.sleep(3600)")
    pid = one.live()
    shutil.rmtree(one.folder)
    os.kill(one.supervisor, signal.SIGCHLD)  # any wake-up
    conditions.eventually(lambda: one.ended)
    assert processes.look(pid) is None


def test_a_result_that_cannot_be_written_is_kept_until_it_can(start: Start) -> None:
    one = start(WAITS_FOR_GO)
    one.said("ready")
    (one.folder / files.RESULT).mkdir()
    (one.work / "go").touch()
    conditions.eventually(lambda: "cannot be written" in process.trace(one.folder))
    (one.folder / files.RESULT).rmdir()
    assert one.exit().code == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_result_is_kept_also_where_nothing_can_be_said_about_it(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as full:
        full.setattr(files, "TRACE", "/dev/full")  # as its own file is on a full disk
        one = start(WAITS_FOR_GO)
    one.said("ready")
    (one.folder / files.RESULT).mkdir()
    (one.work / "go").touch()
    conditions.eventually(lambda: list(one.folder.glob(f"{files.RESULT}.partial-*")))
    (one.folder / files.RESULT).rmdir()
    assert one.exit().code == 0


def test_shutdown_of_the_machine_stops_the_program(start: Start) -> None:
    one = start("import time; time.sleep(3600)")
    one.live()
    os.kill(one.supervisor, signal.SIGTERM)
    found = one.exit()
    assert (found.stopped, found.detail) == (True, "the machine shuts down")


def test_a_signal_reaches_the_program(start: Start) -> None:
    one = start(ANSWERS_USR1)
    one.said("ready")
    process.tell(one.folder, {"signal": "SIGUSR1"})
    one.said("asked")
    process.tell(one.folder, {"stop": 0})


def test_output_is_bounded_and_binary(start: Start) -> None:
    one = start("import os\nfor n in range(64): os.write(1, bytes([n]) * 65536)", segment=1 << 18, keep=3)
    one.exit()
    data = one.output()
    assert len(data) <= 4 * (1 << 18)
    assert data.endswith(bytes([63]) * 65536)


def test_a_supervisor_is_small(start: Start) -> None:
    one = start("import time; time.sleep(3600)")
    one.live()
    assert processes.resident([one.supervisor]) < 15 << 20


def test_secrets_are_kept_out_of_the_output(start: Start) -> None:
    program = """
import os, time
os.write(1, b"one " + os.environb[b"TOKEN"] + b" two s3")
time.sleep(0.2)
os.write(1, b"cret-and-long three s3cre")
"""
    one = start(program, secrets={"TOKEN": "s3cret-and-long", "SHORT": "o", "LINES": "first-line\nsecond-line"})
    one.exit()
    assert one.output() == b"one *** two *** three s3cre"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_the_mask_hides_values_in_any_pieces(size: int) -> None:
    hidden = mask.Mask(["secret-value", "secret-value-longer", "line one\nline two"])
    text = b"a secret-value b secret-value-longer c line two d secret-val e"
    shown = b"".join(hidden.feed(text[at : at + size]) for at in range(0, len(text), size)) + hidden.rest()
    assert shown == b"a *** b *** c *** d secret-val e"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (b"secret-value-longer", b"***"),
        (b"secret-value-long", b"***-long"),
        (b"secret-value-secret-value-longer", b"***-***"),
        (b"to-secret-value-longer", b"to-***"),
        (b"into-secret-values", b"***s"),
    ],
)
def test_a_value_that_begins_a_longer_one_is_hidden_in_any_pieces(size: int, text: bytes, masked: bytes) -> None:
    hidden = mask.Mask(["secret-value", "secret-value-longer", "into-secret-value"])
    assert b"".join(hidden.feed(text[at : at + size]) for at in range(0, len(text), size)) + hidden.rest() == masked


def test_what_the_agent_has_open_does_not_live_on(start: Start, tmp_path: Path) -> None:
    left = os.open(tmp_path / "left", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(left, True)
    one = start("import time; time.sleep(3600)")
    os.close(left)
    for pid in (one.live(), one.supervisor):
        assert str(tmp_path / "left") not in _opened(pid)


def test_a_job_may_open_as_many_files_as_the_agent_was_given(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(descriptors, "_GIVEN", (256, before[1]))
    descriptors.claim()
    try:
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
        start("import resource; print('may', resource.getrlimit(resource.RLIMIT_NOFILE)[0], flush=True)").said("may 256\n")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_nothing_is_readable_by_others(start: Start) -> None:
    one = start("open('made', 'w').write('x')", secrets={"TOKEN": "s3cret"})
    one.exit()
    loose = [path for path in one.folder.parent.rglob("*") if path.stat().st_mode & 0o007 and path != one.work]
    assert loose == []
    assert not any(b"s3cret" in path.read_bytes() for path in one.folder.rglob("*") if path.is_file())


def _opened(pid: int) -> set[str]:
    """What a process has open; some of it closes while we look."""
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found
