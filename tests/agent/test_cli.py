"""`perdure-agent` as people use it: messages, exit codes, and the door bell behind them."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import doorbell
from reconciler import errors
from reconciler.core import observed, spec
from tests import conditions
from tests.agent.host import Host
from tests.cli.outputs import conforms

AGENT = [sys.executable, "-c", "from agent import cli; cli.main()"]
SLEEPS = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(60)"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path)
    yield one
    one.close()


def agent(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*AGENT, *words], capture_output=True, text=True, check=False)


def test_help_names_every_command() -> None:
    done = agent("--help")
    assert done.returncode == 0
    for command in ("run", "join", "status", "notice", "drain", "install", "upgrade", "uninstall"):
        assert f"  {command} " in done.stdout
    assert agent("notice", "--help").returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "perdure-agent join TOKEN"),
        (["status"], "no agent answers there"),
        (["notice", "--in", "30s"], "no agent answers there"),
        (["drain"], "no agent answers there"),
    ],
)
def test_without_an_agent_or_an_identity_the_remedy_is_named(tmp_path: Path, words: list[str], said: str) -> None:
    done = agent(*words, "--data", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runn"], "no such command 'runn'. Did you mean 'run'?\n  `perdure-agent --help` shows how it is used.\n"),
        (["join"], "missing argument 'TOKEN'\n  `perdure-agent join --help` shows how it is used.\n"),
        (["notice"], "missing option '--in'\n  `perdure-agent notice --help` shows how it is used.\n"),
        (
            ["drain", "--on"],
            "no such option '--on'. Did you mean '--off'?\n  `perdure-agent drain --help` shows how it is used.\n",
        ),
        (["status", "-o", "xml"], "\n  `perdure-agent status --help` shows how it is used.\n"),
        (["install", "now"], "got unexpected extra argument (now)\n  `perdure-agent install --help` shows how it is used.\n"),
    ],
)
def test_a_wrong_command_line_is_told_as_perdure_does(words: list[str], said: str) -> None:
    done = agent(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("perdure-agent: ")
    assert done.stderr.endswith(said)


def test_a_reader_that_has_gone_is_told_nothing() -> None:
    with subprocess.Popen([*AGENT, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        started.stdout.close()
        assert started.stderr.read() == b""
    assert started.returncode == 141


def test_the_completion_of_a_shell_is_click_s_own() -> None:
    asked = {**os.environ, "_PERDURE_AGENT_COMPLETE": "bash_complete", "COMP_WORDS": "perdure-agent dr", "COMP_CWORD": "1"}
    done = subprocess.run(AGENT, capture_output=True, text=True, check=False, env=asked)
    assert (done.returncode, done.stdout, done.stderr) == (0, "plain,drain\n", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become somebody else")
def test_who_may_not_ask_is_told_who_may(tmp_path: Path) -> None:
    with doorbell.answered(tmp_path / "agent.sock", Quiet()):
        told = pwd.getpwnam("nobody")
        child = os.fork()
        if child == 0:
            os.setegid(told.pw_gid)
            os.seteuid(told.pw_uid)
            try:
                doorbell.ask(tmp_path / "agent.sock", {"do": "status"})
            except errors.Refused as error:
                os._exit(7 if "only root and the agent's own user" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.parametrize("text", ["soon", "5x", "", "s", "45", "1m1h"])
def test_a_duration_that_is_none_is_a_usage_error(text: str) -> None:
    done = agent("notice", "--in", text)
    assert done.returncode == 2
    assert "is not a duration" in done.stderr


@pytest.mark.parametrize(
    ("flag", "text", "said"),
    [
        ("--cpu", "many", "write 2, 0.5 or 500m"),
        ("--memory", "2GB", "write 512Mi, 2Gi or 1000000"),
        ("--memory", "-1", "512Mi"),
    ],
)
def test_an_offer_is_written_as_in_manifests(tmp_path: Path, flag: str, text: str, said: str) -> None:
    refused = agent("run", "--data", str(tmp_path), f"{flag}={text}")
    assert refused.returncode == 2
    assert said in refused.stderr
    accepted = agent("run", "--data", str(tmp_path), "--cpu", "500m", "--memory", "2Gi")
    assert "perdure-agent join TOKEN" in accepted.stderr


def test_a_token_that_is_none_is_a_usage_error(tmp_path: Path) -> None:
    done = agent("join", "not-a-token", "--data", str(tmp_path))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_status_notice_and_drain_reach_the_agent(host: Host) -> None:
    data = ["--data", str(host.data)]
    with host.up():
        ref = host.assign(host.attempt(SLEEPS))
        host.logged(ref, "ready")
        text = agent("status", *data)
        assert text.returncode == 0
        assert "default/job" in text.stdout
        assert "running" in text.stdout
        state = conforms("agent-status", json.loads(agent("status", "-o", "json", *data).stdout))
        assert state["items"][0]["spec"]["job"] == "job"
        assert "host: here" in agent("status", "-o", "yaml", *data).stdout
        assert "1 s" not in agent("drain", *data).stdout
        conditions.eventually(lambda: host.state.draining)
        assert "(draining)" in agent("status", *data).stdout
        assert "again" in agent("drain", "--off", *data).stdout
        conditions.eventually(lambda: not host.state.draining)
        assert agent("notice", "--in", "1m", "--reason", "spot", *data).returncode == 0
        conditions.eventually(lambda: host.state.notice is not None and host.state.notice.reason == "spot")
        assert "(going away)" in agent("status", *data).stdout
        host.change(ref, want=spec.Want.STOP)
        host.ended(ref)
        conforms("agent-status", json.loads(agent("status", "-o", "json", *data).stdout))


class Quiet:
    """An agent that has nothing to do."""

    def status(self) -> observed.HostState:
        return observed.HostState(host="h")

    def notice(self, seconds: float, reason: str = "") -> None:
        raise errors.Unavailable(f"no room to note {seconds} {reason}")

    def drain(self, on: bool) -> None:
        del on


def test_the_door_bell_understands_or_says_why_not(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    bell = deep / "agent.sock"
    with doorbell.answered(bell, Quiet()):
        assert doorbell.ask(bell, {"do": "status"})["host"] == "h"
        assert doorbell.ask(bell, {"do": "drain", "on": True}) == {}
        for question in ({"do": "dance"}, {"say": "x"}, {"do": "notice"}, {"do": "notice", "seconds": "soon"}):
            with pytest.raises(errors.Refused):
                doorbell.ask(bell, question)
        with pytest.raises(errors.Refused, match="no room"):
            doorbell.ask(bell, {"do": "notice", "seconds": 3})
        for noise in (b"", b"\n", b"\xff\xfe\n", b"[1]\n", b"x" * 100_000):
            with doorbell._short(bell) as address, socket.socket(socket.AF_UNIX) as one:
                one.connect(address)
                one.sendall(noise)
        assert doorbell.ask(bell, {"do": "status"})["host"] == "h"
    with pytest.raises(errors.Unavailable):
        doorbell.ask(bell, {"do": "status"})


def test_a_socket_that_a_killed_agent_left_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind("agent.sock")
    with doorbell.answered(tmp_path / "agent.sock", Quiet()):
        assert doorbell.ask(tmp_path / "agent.sock", {"do": "status"})["host"] == "h"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_signals_end_the_wait_with_their_code(number: signal.Signals, code: int) -> None:
    script = (
        "import sys\nfrom agent import cli\nwoken = cli._signals()\nprint('ready', flush=True)\n"
        "sys.exit(cli._wait(woken, lambda: False))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    assert process.wait() == code
    process.stdout.close()
