"""Which Python runs a job's entrypoint: one that the job's user can really execute."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from agent import account as accounts
from reconciler import errors

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


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
    """Run a command as the account; its output and errors are one stream. Raises OSError, `subprocess.SubprocessError`."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        umask=0o077,
        check=False,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
