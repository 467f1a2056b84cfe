"""The filter of a restored program is what the real runtime makes of the manifest's profile, whatever its image has."""

from __future__ import annotations

import base64
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.runtime import call, seccomp, system
from agent.runtime.call import Refused
from tests.engines.criu import stream

pytestmark = pytest.mark.usefixtures("root")

ALLOW = (0x7FFF0000).to_bytes(4, "little")
FILTER = b"\x00\x00\x00\x00\x2a\x00\x00\x00" + b"\x06\x00\x00\x00" + ALLOW
"""Load a number (and let it be), return ALLOW: two instructions of linux/filter.h."""
WAITS = f"""
import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
code = ctypes.create_string_buffer({FILTER!r}, {len(FILTER)})
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program({len(FILTER) // 8}, ctypes.addressof(code)))) == 0, ctypes.get_errno()
print("filtered", flush=True)
sys.stdin.read()
"""
"""A program that gives itself a filter (prctl(2)) and waits."""
OTHER = b"\x06\0\0\0\0\0\xff\x7f"
PROFILE = {"defaultAction": "SCMP_ACT_ERRNO", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}


@dataclass
class Runtime:
    """A real runtime of which every container waits with a filter."""

    called: list[tuple[str, ...]] = field(default_factory=list)
    waiting: list[subprocess.Popen[bytes]] = field(default_factory=list)
    says: str = ""
    """What it complains of."""

    def run(self, argv: Sequence[str], first_in_path: str = "", output: int | None = None) -> int:
        del first_in_path
        os.write(1 if output is None else output, b"Failed to remove cgroup (will retry)\n")
        self.called.append(tuple(argv))
        values = dict(itertools.pairwise(argv))
        if "create" not in argv:
            return 0
        if self.says:
            Path(values["--log"]).write_text(self.says)
            return 1
        process = subprocess.Popen([sys.executable, "-c", WAITS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.waiting.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"filtered\n"
        Path(values["--pid-file"]).write_text(str(process.pid))
        return 0

    @property
    def commands(self) -> list[str]:
        return [next(word for word in argv if word in ("create", "delete")) for argv in self.called]


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    made = Runtime()
    monkeypatch.setattr(system, "run", made.run)
    yield made
    for process in made.waiting:
        process.communicate()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A restore directory of two threads, one of which has a filter of its own."""
    monkeypatch.setattr(call, "RUN", str(tmp_path / "run"))
    made = tmp_path / "image"
    (made / "criu").mkdir(parents=True)
    told = [(OTHER, None, 0), (OTHER, 0, 6), (OTHER, None, 0)]
    filters = [{"filter": base64.b64encode(code).decode(), "prev": prev, "flags": flags} for code, prev, flags in told]
    (made / "filters.json").write_text(json.dumps({"v": 1, "filters": filters}))
    (made / "criu" / "seccomp.img").write_bytes(b"as the image has it")
    return made


CALL = call.Call("create", sys.executable, "/nowhere", "c0ffee", "/nowhere", "", 1, ("create",))


def lay(folder: Path, profile: object = PROFILE) -> bytes:
    seccomp.lay(CALL, {"linux": {"seccomp": profile}}, str(folder))
    return (folder / "criu" / "seccomp.img").read_bytes()


def test_the_kernel_tells_a_filter_and_lets_the_program_go_on(runtime: Runtime, tmp_path: Path) -> None:
    runtime.run(["create", "--pid-file", str(tmp_path / "pid")])
    (process,) = runtime.waiting
    assert system.seccomp_filter(process.pid) == FILTER
    process.communicate()
    assert process.returncode == 0


def test_every_first_filter_is_the_manifests_and_later_ones_are_the_programs(folder: Path, runtime: Runtime) -> None:
    assert lay(folder) == stream.seccomp((FILTER, None, 2), (OTHER, 0, 2), (FILTER, None, 2))
    assert runtime.commands == ["create", "delete"]
    assert lay(folder, {**PROFILE, "flags": []}) == stream.seccomp((FILTER, None, 0), (OTHER, 0, 2), (FILTER, None, 0))


def test_what_all_threads_of_a_process_are_given_they_are_given_again(folder: Path, runtime: Runtime) -> None:
    told = [(OTHER, None, 1), (OTHER, 0, 3)]
    filters = [{"filter": base64.b64encode(code).decode(), "prev": prev, "flags": flags} for code, prev, flags in told]
    (folder / "filters.json").write_text(json.dumps({"v": 1, "filters": filters}))
    assert lay(folder) == stream.seccomp((FILTER, None, 3), (OTHER, 0, 3))
    assert lay(folder, {**PROFILE, "flags": []}) == stream.seccomp((FILTER, None, 1), (OTHER, 0, 3))
    assert runtime.commands


def test_a_runtime_is_asked_once_for_a_profile(folder: Path, runtime: Runtime, tmp_path: Path) -> None:
    assert lay(folder) == lay(folder)
    assert runtime.commands == ["create", "delete"]
    lay(folder, {"defaultAction": "SCMP_ACT_LOG"})
    assert runtime.commands == ["create", "delete"] * 2
    assert all(path.is_file() for path in (tmp_path / "run" / "filters").iterdir()), "nothing of the containers is left"
    assert (tmp_path / "run" / "filters").stat().st_mode & 0o777 == 0o700


def test_what_the_runtime_prints_is_no_output_of_the_program(
    folder: Path, runtime: Runtime, capfd: pytest.CaptureFixture[str]
) -> None:
    lay(folder)
    assert runtime.commands == ["create", "delete"]
    assert capfd.readouterr() == ("", "")


def test_without_a_profile_the_image_stays_as_it_is(folder: Path, runtime: Runtime) -> None:
    assert lay(folder, None) == b"as the image has it"
    assert runtime.called == []


def test_what_the_runtime_cannot_say_is_refused(folder: Path, runtime: Runtime) -> None:
    runtime.says = '{"msg":"unknown action SCMP_ACT_SING"}\n'
    with pytest.raises(Refused, match=r"cannot say what the seccomp profile means: .*SCMP_ACT_SING"):
        lay(folder)
    assert (folder / "criu" / "seccomp.img").read_bytes() == b"as the image has it"


@pytest.mark.usefixtures("runtime")
def test_an_agent_that_tells_nothing_is_an_older_one(folder: Path) -> None:
    (folder / "filters.json").unlink()
    with pytest.raises(Refused, match=r"the agent is older .* Run: systemctl restart perdure-agent"):
        lay(folder)


@pytest.mark.usefixtures("runtime")
def test_a_container_without_a_filter_is_no_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.agent.runtime.test_seccomp.WAITS", "print('filtered', flush=True); input()")
    with pytest.raises(Refused, match="the kernel does not say what the seccomp profile means"):
        lay(folder)


def test_what_a_killed_call_has_left_is_removed(folder: Path, runtime: Runtime, tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left, busy = (tmp_path / "run" / "filters" / f"{'a' * 16}.{pid}" for pid in (dead.pid, os.getppid()))
    for each in (left, busy):
        each.mkdir(parents=True)
    lay(folder)
    assert not left.exists()
    assert busy.exists()
    assert any(left.name in argv and "delete" in argv for argv in runtime.called)
