"""Which releases work together, and that the generated code is what the .proto says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.wire import protocol, rpc

ROOT = Path(__file__).resolve().parents[2]
WIRE = ROOT / "reconciler" / "wire"


@pytest.mark.parametrize(
    ("version", "oldest", "fits"),
    [(1, 1, True), (2, 1, True), (2, 2, False), (5, 4, False), (0, 0, False), (1, 0, True)],
)
def test_overlapping_ranges_work_together(version: int, oldest: int, fits: bool) -> None:
    reason = protocol.mismatch(version, oldest, "the reconciler", "this agent")
    assert (reason == "") is fits


def test_a_mismatch_says_who_is_to_be_updated() -> None:
    assert "update the reconciler" in protocol.mismatch(3, 2, "the reconciler", "this agent")
    assert "update this agent" in protocol.mismatch(0, 0, "the reconciler", "this agent")


@pytest.mark.parametrize(
    ("listen", "joining"), [("127.0.0.1:7443", "127.0.0.1:7444"), ("[::]:0", "[::]:0"), ("host:65534", "host:65535")]
)
def test_joining_takes_the_next_port(listen: str, joining: str) -> None:
    assert protocol.join_address(listen) == joining


def test_there_is_no_port_after_the_last() -> None:
    with pytest.raises(errors.UsageError):
        protocol.join_address("host:65535")


def test_the_generated_code_is_what_the_proto_makes(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    (tmp_path / "reconciler" / "wire").mkdir(parents=True)
    source = "reconciler/wire/agent.proto"
    (tmp_path / source).write_bytes((ROOT / source).read_bytes())
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        "-I",
        ".",
        "--python_out=.",
        "--pyi_out=.",
        "--grpc_python_out=.",
        source,
    ]
    subprocess.run(command, cwd=tmp_path, check=True)
    for name in ("agent_pb2.py", "agent_pb2.pyi", "agent_pb2_grpc.py"):
        made = (tmp_path / "reconciler" / "wire" / name).read_text()
        expected = f"# mypy: ignore-errors\n{made}" if name.endswith("_grpc.py") else made
        assert (WIRE / name).read_text() == expected, f"{name} is out of date: run `make proto`"


@pytest.mark.parametrize("name", ["GRPC_VERBOSITY", "GRPC_ENABLE_FORK_SUPPORT"])
def test_loading_grpc_leaves_no_trace_in_the_environment(name: str) -> None:
    assert name not in os.environ
    assert rpc.grpc.__name__ == "grpc"
    code = f"import os; from reconciler.wire import rpc; print(os.environ.get({name!r}))"
    for asked, expected in ((None, "None"), ("1", "1")):
        environment = {**os.environ, **({name: asked} if asked else {})}
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert run.stdout.strip() == expected


FORKS = """
import os
from concurrent import futures
from reconciler.wire import rpc
server = rpc.grpc.server(futures.ThreadPoolExecutor(1))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
rpc.grpc.channel_ready_future(rpc.grpc.insecure_channel(f"127.0.0.1:{port}")).result(60)
child = os.fork()
if child == 0:
    os._exit(len(os.listdir("/proc/self/task")))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
os._exit(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_fork_while_grpc_works_has_no_thread_of_grpc() -> None:
    """Those threads crash in the child: a job's Python was then taken for one that its user cannot execute."""
    environment = {**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "1"}
    run = subprocess.run([sys.executable, "-c", FORKS], env=environment, capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "1"


def test_tokens_and_versions_need_no_grpc() -> None:
    """The command line shows tokens and must start quickly."""
    code = "import sys; from reconciler.wire import protocol, token; print('grpc' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "False"
