"""`perdure-agent` as a process: it joins by token, dials over mutual TLS, and runs a real job for a target of hosts."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.core import model, observed, settle, spec
from reconciler.link import switchboard
from reconciler.targets import books, hosts
from tests.agent.test_dial import listening
from tests.conditions import eventually
from tests.link.site import Site, attempt

AGENT = [sys.executable, "-c", "from agent.cli import main; main()"]
COMMAND = "while [ -d FOLDER ] && ! [ -e FOLDER/go ]; do sleep 0.05; done; exit 7"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as one:
        yield one


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*AGENT, *arguments], capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts an agent on the data directory of host "a"."""
    started: list[subprocess.Popen[bytes]] = []

    def run() -> subprocess.Popen[bytes]:
        log = open(tmp_path / "agent.log", "ab")  # noqa: SIM115 - the process has it until it ends
        started.append(subprocess.Popen([*AGENT, "run", "--data", str(tmp_path / "a"), "--cpu", "1"], stderr=log))
        log.close()
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def go() -> Iterator[Path]:
    """A file for which the job waits; where any user can see it, for a root agent runs jobs as another one."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "go"


def made(here: Site) -> hosts.HostsTarget:
    return hosts.HostsTarget(model.TargetSpec(name="plain"), books.Books(here.board, here.clock))


def item(target: hosts.HostsTarget, here: Site, ref: spec.AttemptRef) -> observed.Item | None:
    return target.observe(here.clock.now()).items.get(ref)


def test_a_used_token_ends_with_the_servers_reason_and_leaves_nothing(here: Site, tmp_path: Path) -> None:
    text = here.token("a", pool="spot")
    first = command("join", text, "--name", "a", "--data", str(tmp_path / "a"))
    assert (first.returncode, first.stderr) == (0, "")
    assert "host a has joined test" in first.stdout
    again = command("join", text, "--name", "a", "--data", str(tmp_path / "b"))
    assert (again.returncode, again.stdout) == (2, "")
    assert "the token has been used" in again.stderr
    assert "perdure token create a" in again.stderr
    assert not (tmp_path / "b").exists()


def test_a_job_outlives_agent_and_reconciler_and_its_exit_is_told(
    here: Site, tmp_path: Path, start: Callable[[], subprocess.Popen[bytes]], go: Path
) -> None:
    assert command("join", here.token("a"), "--name", "a", "--data", str(tmp_path / "a")).returncode == 0
    agent = start()
    eventually(lambda: "a" in here.board.hosts())
    assert listening(agent.pid) == [], "the agent listens on no port"
    work = model.Workload(command=("sh", "-c", COMMAND.replace("FOLDER", str(go.parent))))
    policy = model.CheckpointPolicy(engine=model.EngineName.NONE)
    wanted = spec.Assignment(spec=dataclasses.replace(attempt(), workload=work, checkpoint=policy))
    ref, target = wanted.spec.ref, made(here)
    assert target.apply(wanted).result is settle.Result.CREATED
    eventually(lambda: (now := item(target, here, ref)) is not None and now.state is observed.ItemState.RUNNING)

    agent.send_signal(signal.SIGKILL)
    here.server.stop()
    here.board = switchboard.Switchboard(here.clock)
    go.touch()
    here.start()
    start()
    target = made(here)
    ended = eventually(
        lambda: (now := item(target, here, ref)) is not None and now.state is observed.ItemState.ENDED and now,
        message=(tmp_path / "agent.log").read_text,
    )
    assert isinstance(ended, observed.Item)
    assert ended.exit == observed.Exit(kind=observed.ExitKind.EXITED, code=7)
    assert target.apply(wanted).result is settle.Result.UNCHANGED, "adopted, not started again"
    assert target.delete(ref, "a").result is settle.Result.DELETED
    eventually(lambda: item(target, here, ref) is None)
    eventually(lambda: target.confirm_gone(ref, "a").value == "gone")
