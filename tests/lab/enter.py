"""Runs a command inside a node: joins its control groups and namespaces, and passes signals and the exit status on.

usage: python -IS enter.py {"init": PID, "procs": [FILE, …], "folder": DIR, "environment": {…}} COMMAND...
A script of its own, not a preexec_fn: a process with threads must not run Python between fork and exec.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from contextlib import suppress

NAMESPACES = ("cgroup", "ipc", "uts", "net", "pid", "mnt")
"""The mount namespace last: it takes the outer /proc away."""

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
PR_SET_PDEATHSIG = 1


def main(options: str, command: list[str]) -> int:
    wanted = json.loads(options)
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        join(libc, wanted)
    except OSError as error:
        print(f"the node cannot be entered: {error}", file=sys.stderr)
        return 125
    ended: list[int] = []
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        become(wanted, command)

    def pass_on(number: int, _: object) -> None:
        if not ended:
            with suppress(ProcessLookupError):
                os.kill(child, number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    _, status = os.waitpid(child, 0)
    ended.append(status)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        with suppress(OSError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def join(libc: ctypes.CDLL, wanted: dict[str, object]) -> None:
    """Enters the node's control groups, so that nothing outlives it, and its namespaces."""
    procs = wanted["procs"]
    assert isinstance(procs, list)
    descriptors = [os.open(f"/proc/{wanted['init']}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in NAMESPACES]
    for path in procs:
        with open(path, "w") as file:
            file.write("0")
    for descriptor in descriptors:
        if libc.setns(descriptor, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        os.close(descriptor)


def become(wanted: dict[str, object], command: list[str]) -> None:
    """Executes the command; never returns."""
    environment = wanted["environment"]
    assert isinstance(environment, dict)
    try:
        os.chdir(str(wanted["folder"]))
        os.environ["PATH"] = environment["PATH"]
        os.execvpe(command[0], command, environment)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(127)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
