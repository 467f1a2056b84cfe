"""Which Python runs a job's entrypoint: one that the job's user can really execute."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from agent import account as accounts
from reconciler import errors

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LONGEST = 64 * 1024
"""Last bytes of a command's output that are kept."""


@functools.cache
def python(account: accounts.Account | None) -> str:
    """Return the path of a Python that the account can execute: the agent's own if possible, else the system's.

    Raises `errors.Refused` when there is none.
    """
    own = [sys.executable, getattr(sys, "_base_executable", "")]
    for path in [*own, shutil.which("python3", path=PATH) or ""]:
        if path and version(path, account):
            return path
    raise errors.Refused(
        f"no Python here can be executed by {account.name if account else 'this user'}",
        where=", ".join(filter(None, own)),
        remedy="Install python3 where every user can execute it, or give the Job a command that needs none.",
    )


def version(path: str, account: accounts.Account | None) -> str:
    """Return the version and platform tag of a Python as the account sees it, "" when it cannot execute it."""
    code = "import sys, sysconfig; print(sys.implementation.cache_tag, sysconfig.get_platform())"
    try:
        done = run([path, "-I", "-c", code], account, cwd=Path("/"), env={"PATH": PATH}, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode().strip() if done.returncode == 0 else ""


def run(
    command: list[str], account: accounts.Account | None, *, cwd: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """Run a command as the account; its output and errors are one stream, of which the end is returned.

    What it leaves running in its session is ended, and not waited for: packages run what they like when they are installed.
    Raises OSError, `subprocess.SubprocessError`.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            umask=0o077,
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        try:
            process.wait(timeout)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left of it
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(max(0, said.seek(0, os.SEEK_END) - LONGEST))
        return subprocess.CompletedProcess(command, process.returncode, said.read(LONGEST))
