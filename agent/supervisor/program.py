"""Starting the program: the narrow path between fork and exec."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from agent.supervisor import mounts

PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38


class Launch(NamedTuple):
    """What to start and within which bounds: the content of launch.json."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    account: list[int] | None
    """[uid, gid] the program runs as; None: as we do."""
    timeout: float | None
    grace: float
    memory: int | None
    """Bytes enforced by us where no control group does."""
    groups: dict[str, str]
    """Folder of the control group by controller."""
    logs: str
    segment: int
    keep: int
    closed: Sequence[str] = ()
    """Folders that the program shall not be able to write; only where it runs as another account."""
    open: Sequence[str] = ()
    """Folders within those that it may."""

    @property
    def marks(self) -> list[str]:
        """Environment entries by which any process of the tree is known, whoever its parent is now."""
        return [f"{name}={self.env[name]}" for name in ("PERDURE_RUN", "PERDURE_ATTEMPT") if name in self.env]


def launch(value: dict[str, Any]) -> Launch:
    """Return the launch that a file describes, also one of a release before. Raises KeyError when it lacks something."""
    return Launch(**{name: value[name] for name in Launch._fields if name in value or name not in Launch._field_defaults})


def prctl(option: int, value: int) -> bool:
    """Set an attribute of this process (Linux); False where that cannot be done."""
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)


class Held(NamedTuple):
    """A forked process that waits for permission to become the program."""

    pid: int
    gate: int
    report: int

    def release(self) -> str:
        """Let it go. Returns "" once the program runs, or has been killed before, else why it could not be executed."""
        with contextlib.suppress(BrokenPipeError):  # killed while it waited: how, its end says
            os.write(self.gate, b"g")
        os.close(self.gate)
        with os.fdopen(self.report, "rb") as report:
            return report.read().decode(errors="replace")


def hold(what: Launch, secrets: dict[str, str], output: int) -> Held:
    """Fork. The child leads a session of its own and waits; when we die before `release` it ends without a trace."""
    gate_in, gate_out = os.pipe()
    report_in, report_out = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(gate_out)
            os.setsid()
            if os.read(gate_in, 1) == b"g":
                _become(what, secrets, output)
        except OSError as error:
            os.write(report_out, _explain(what, error).encode())
        finally:
            os._exit(127)
    os.close(gate_in)
    os.close(report_out)
    return Held(pid, gate_out, report_in)


def _become(what: Launch, secrets: dict[str, str], output: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    if what.closed:
        mounts.protect(list(what.closed), list(what.open))
    if what.account is not None:
        uid, gid = what.account
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_DFL)
        except OSError:
            continue  # reserved by the C library
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.chdir(what.cwd)
    os.execvpe(what.argv[0], what.argv, {**what.env, **secrets})


def _explain(what: Launch, error: OSError) -> str:
    failed = f"cannot enter {what.cwd}" if error.filename == what.cwd else f"cannot execute {what.argv[0]!r}"
    if isinstance(error, mounts.NotMounted):
        failed = f"cannot make the volumes read-only ({error.filename})"
    return f"{failed}: {error.strerror or error}"
