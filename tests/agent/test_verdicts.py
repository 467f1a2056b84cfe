"""The agent's end of the interposer's socket."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent import verdicts
from reconciler import errors
from tests import conditions
from tests.agent.runtime.place import Answers

QUESTION = {"v": 1, "verb": "create", "container": "c0ffee", "namespace": "moby", "attempt": "abc-3", "bundle": "/b"}


@pytest.fixture
def address(tmp_path: Path) -> Path:
    return tmp_path / "run" / "runtime.sock"


@pytest.mark.parametrize(
    ("verdict", "answer"),
    [
        (verdicts.Create(), {"verdict": "create"}),
        (verdicts.Restore(directory=Path("/run/x")), {"verdict": "restore", "directory": "/run/x", "volumes": []}),
        (
            verdicts.Restore(directory=Path("/run/x"), volumes=("a", "b")),
            {"verdict": "restore", "directory": "/run/x", "volumes": ["a", "b"]},
        ),
        (verdicts.Refuse(reason="no"), {"verdict": "refuse", "reason": "no"}),
    ],
)
def test_what_the_judge_says_is_the_answer(
    address: Path, verdict: verdicts.Create | verdicts.Restore | verdicts.Refuse, answer: dict[str, Any]
) -> None:
    judge = Answers(verdict=verdict)
    with verdicts.serve(address, judge):
        assert _ask(address, QUESTION) == answer
    ((verb, asked),) = judge.asked
    assert (verb, asked.container, asked.namespace, asked.attempt, asked.bundle) == ("create", "c0ffee", "moby", "abc-3", "/b")


@pytest.mark.parametrize(
    ("verb", "asks", "answer"),
    [
        ("kill", "kill", {"verdict": "deliver"}),
        ("pause", "hold", {"verdict": "deliver"}),
        ("resume", "hold", {"verdict": "deliver"}),
        ("started", "started", {}),
        ("deleted", "deleted", {}),
        ("failed", "failed", {}),
    ],
)
def test_the_other_verbs(address: Path, verb: str, asks: str, answer: dict[str, Any]) -> None:
    judge = Answers()
    with verdicts.serve(address, judge):
        assert _ask(address, {**QUESTION, "verb": verb, "signal": 15, "reason": "why"}) == answer
    ((said, asked),) = judge.asked
    assert (said, asked.signal, asked.reason) == (asks, 15, "why")


def test_only_root_may_open_it(address: Path) -> None:
    with verdicts.serve(address, Answers()):
        assert stat.S_IMODE(address.stat().st_mode) == 0o600
        assert stat.S_IMODE(address.parent.stat().st_mode) == 0o700
    assert not address.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_is_turned_away_whatever_the_modes_say(address: Path, caplog: pytest.LogCaptureFixture) -> None:
    judge = Answers()
    with verdicts.serve(address, judge):
        for path in (address, *address.parents):
            if path.is_relative_to(tempfile.gettempdir()) and path != Path(tempfile.gettempdir()):
                path.chmod(path.stat().st_mode | 0o777)
        child = os.fork()
        if child == 0:
            try:
                os.setuid(65534)
                os._exit(0 if _ask(address, QUESTION) == {} else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert judge.asked == []
    said = f"user 65534 was turned away at {address}, which is for root only. chmod 700 {address.parent} keeps others out"
    assert caplog.messages == [said]


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        b"[1]\n",
        b"\xff\xfe\n",
        b"{" * 5000 + b"\n",
        b"x" * 70000 + b"\n",
        json.dumps({**QUESTION, "v": 2}).encode() + b"\n",
        json.dumps({**QUESTION, "verb": "inspect"}).encode() + b"\n",
        json.dumps({**QUESTION, "attempt": ""}).encode() + b"\n",
        json.dumps({**QUESTION, "container": 7}).encode() + b"\n",
        json.dumps({**QUESTION, "signal": True}).encode() + b"\n",
        json.dumps({**QUESTION, "signal": 1e9}).encode() + b"\n",
        json.dumps({**QUESTION, "annotations": {"a": 1}}).encode() + b"\n",
        json.dumps({**QUESTION, "annotations": []}).encode() + b"\n",
    ],
    ids=lambda line: line[:30],
)
def test_what_is_not_understood_is_refused(address: Path, line: bytes) -> None:
    judge = Answers()
    with verdicts.serve(address, judge):
        answer = _say(address, line)
        assert answer["verdict"] == "refuse"
        assert answer["error"]
    assert judge.asked == []


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_no_line_does_more_than_be_refused(line: bytes) -> None:
    with contextlib.suppress(errors.InvalidInput):
        verdicts.read(line)


def test_an_error_of_the_judge_is_a_refusal_in_one_line(address: Path) -> None:
    class Failing(Answers):
        def create(self, asked: verdicts.Asked) -> verdicts.Create:
            raise errors.Unavailable("the store is full", where="depot", remedy="Make room.")

    with verdicts.serve(address, Failing()):
        answer = _ask(address, QUESTION)
    assert answer["verdict"] == "refuse"
    assert answer["reason"] == "depot: the store is full. Make room."


def test_while_the_judge_takes_its_time_there_are_signs_of_life(address: Path) -> None:
    allowed = threading.Event()

    class Busy(Answers):
        def kill(self, asked: verdicts.Asked) -> None:
            allowed.wait(30)

    with verdicts.serve(address, Busy()), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(address))
        connection.sendall(json.dumps({**QUESTION, "verb": "kill"}).encode() + b"\n")
        assert connection.recv(1) == b"\n"
        allowed.set()
        with connection.makefile("rb") as answer:
            lines = answer.read().split(b"\n")
    assert json.loads(lines[-2]) == {"verdict": "deliver"}


def test_more_visitors_than_the_bound_wait_and_are_all_answered(address: Path) -> None:
    gate, inside, most = threading.Event(), [0], [0]
    lock = threading.Lock()

    class Counting(Answers):
        def create(self, asked: verdicts.Asked) -> verdicts.Create:
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            gate.wait(30)
            with lock:
                inside[0] -= 1
            return verdicts.Create()

    heard: list[dict[str, Any]] = []
    with verdicts.serve(address, Counting(), visitors=3):
        visitors = [threading.Thread(target=lambda: heard.append(_ask(address, QUESTION))) for _ in range(9)]
        for one in visitors:
            one.start()
        conditions.eventually(lambda: inside[0] == 3)
        gate.set()
        for one in visitors:
            one.join()
    assert heard == [{"verdict": "create"}] * 9
    assert most[0] == 3


def test_a_visitor_that_says_nothing_is_left(address: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "SECONDS", 0.05)
    with verdicts.serve(address, Answers(), visitors=1), socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(address))
        assert _ask(address, QUESTION) == {"verdict": "create"}


def test_the_socket_of_an_agent_that_is_gone_is_taken_over_and_a_living_ones_is_not(address: Path) -> None:
    address.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(address))
    with verdicts.serve(address, Answers()):
        with pytest.raises(errors.Busy), verdicts.serve(address, Answers()):
            pass
        assert _ask(address, QUESTION) == {"verdict": "create"}


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    yield
    conditions.eventually(lambda: not [one for one in threading.enumerate() if one.name.startswith("verdict")])


def _ask(address: Path, question: dict[str, Any]) -> dict[str, Any]:
    return _say(address, json.dumps(question).encode() + b"\n")


def _say(address: Path, line: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(address))
        with contextlib.suppress(OSError):  # refused before all of it was read
            connection.sendall(line)
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                heard += piece
    answer: dict[str, Any] = json.loads(heard.lstrip(b"\n") or b"{}")
    return answer
