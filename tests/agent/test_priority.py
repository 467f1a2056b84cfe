"""Before whom the agent comes, told by the kernel."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import priority
from tests.agent.host import Host


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("nobody but root comes before others")
    yield
    priority.hurry(False)


def nice(pid: int = 0) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


def session() -> int:
    """That of all its session; of this process alone where there is no such thing: not in the kernel, or not for a session
    that the first process of the machine began (it has no group of its own, and the file is empty)."""
    path = Path("/proc/self/autogroup")
    said = path.read_text() if path.exists() else ""
    return int(said.rpartition(" ")[2]) if said else nice()


def test_every_thread_and_what_it_starts_comes_first_until_it_is_over() -> None:
    before, seen, turn, ready = nice(), list[int](), threading.Event(), threading.Event()

    def work() -> None:
        ready.set()
        assert turn.wait(10)
        seen.append(nice(threading.get_native_id()))
        said = subprocess.run([sys.executable, "-c", "import os; print(os.nice(0))"], capture_output=True, check=True)
        seen.append(int(said.stdout))

    worker = threading.Thread(target=work)
    worker.start()
    assert ready.wait(10)
    priority.hurry(True)
    turn.set()
    worker.join()
    assert seen == [-15, -15]
    assert nice() == -15
    assert session() == -15
    priority.hurry(False)
    assert nice() == before
    assert session() == before


def test_one_that_was_given_more_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priority, "_GIVEN", -18)
    priority.hurry(True)
    assert nice() == -18
    monkeypatch.undo()


def test_without_privileges_it_stays_where_it_is() -> None:
    text = "import os; from agent import priority; os.setuid(65534); priority.hurry(True); print(os.nice(0))"
    said = subprocess.run([sys.executable, "-c", text], capture_output=True, check=True)
    assert int(said.stdout) == nice()


def test_a_job_is_started_as_the_agent_was_given() -> None:
    before = nice()
    priority.hurry(True)
    job = subprocess.Popen(["sleep", "60"])
    try:
        assert nice(job.pid) == -15
        priority.give_back(job.pid)
        assert nice(job.pid) == before
    finally:
        job.kill()
        job.wait()
    priority.give_back(job.pid)  # it is gone: nothing is said


def test_what_an_agent_took_that_was_killed_in_a_hurry_is_given_back_by_the_next_of_its_session(tmp_path: Path) -> None:
    before = nice()
    killed = "import os; from agent import priority; priority.hurry(True); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", killed], check=False)
    assert nice() == before
    if session() != -15:
        pytest.skip("this session has no nice value of its own")
    with contextlib.closing(Host(tmp_path)) as host, host.up():
        assert session() == before
