"""criu itself: its version, whether it works here, and one dump as a process that outlives us only to undo itself.

The dump runs outside of the agent's cgroup (who ends that ends no criu with it) and in a session of its own. It is given up
by closing its socket, never by a signal: CRIU then lets the program go on.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler import errors
from reconciler.engines.criu import hook, receiver, runtime_state

OLDEST = (4, 0)
"""Before, criu does not work on current kernels."""

REMEDY = "Install criu 4.0 or newer (Debian 13: `apt-get install criu`)."

HOOK_SOCKET = "hook.sock"
IMAGES, WORK, LOG, STATS = "images", "work", "dump.log", "stats-dump"

_SO_SNDBUFFORCE = 32
"""`asm-generic/socket.h`: Python has no name for it."""

STALL = 60.0
"""Seconds without any progress after which CRIU gives up by itself."""

_SECONDS = 30.0
_VERSION = re.compile(r"Version:\s*(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One dump."""

    pid: int
    folder: Path
    """Made for this dump alone, closed to others; holds IMAGES and WORK."""
    external: Sequence[str]
    freezer: str
    ghost_limit: int
    leave_running: bool
    last: bool = False
    """The last try: wait longer for processes to stand still, and give up connections that nobody has accepted yet."""
    patience: float
    """Seconds that CRIU waits for our word at post-dump, also where we were stopped and can say nothing."""


def version(criu: str) -> tuple[int, ...]:
    """Return criu's version. Raises `errors.Unavailable` when it is missing or too old."""
    if shutil.which(criu) is None:
        raise errors.Unavailable("criu is not on this machine", remedy=REMEDY)
    text = _ask([criu, "--version"])
    match = _VERSION.search(text)
    if match is None:
        raise errors.Unavailable(f"criu does not tell its version: {text.strip()[:200]}", remedy=REMEDY)
    found = (int(match[1]), int(match[2]))
    if found < OLDEST:
        raise errors.Unavailable(f"criu {found[0]}.{found[1]} is too old", remedy=REMEDY)
    return found


def check(criu: str) -> None:
    """Have criu look at this kernel. Raises `errors.Unavailable` with what it misses."""
    text = _ask([criu, "check"])
    if "Looks good" not in text:
        missing = "; ".join(line.strip() for line in text.splitlines() if "Error" in line or "Warn" in line)
        raise errors.Unavailable(
            f"criu does not work on this machine: {missing or text.strip()[-300:]}",
            remedy="Run `criu check` as root; the kernel's configuration or a missing privilege is the cause.",
        )


def cpuinfo(criu: str, images: Path, verb: str) -> bool:
    """Write this machine's processor features into `images` ("dump"), or compare those that lie there ("check").

    Raises `errors.Unavailable` when criu does not run: that says nothing about the processor.
    """
    command = [criu, "cpuinfo", verb, "--images-dir", str(images), "--no-default-config", "--log-file", "/dev/null"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise errors.Unavailable(f"{criu} does not run: {error}", remedy=REMEDY) from error
    return done.returncode == 0


def start(criu: str, order: Order, pages: socket.socket) -> subprocess.Popen[bytes]:
    """Start a dump that sends its pages to the other end of `pages`. Raises OSError."""
    script = order.folder / "action"
    script.write_text(
        "#!/bin/sh\n"
        '[ "$CRTOOLS_SCRIPT_ACTION" = post-dump ] || exit 0\n'
        f"cd {shlex.quote(str(order.folder))} || exit 1\n"
        f"exec {shlex.quote(sys.executable)} -IS {shlex.quote(str(Path(hook.__file__)))} {HOOK_SOCKET} {order.patience:g}\n"
    )
    script.chmod(0o700)
    pages.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, receiver.BUFFER)
    for side in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):  # an agent that is stopped, not dead, closes nothing
        pages.setsockopt(socket.SOL_SOCKET, side, struct.pack("ll", max(1, round(min(order.patience, STALL))), 0))
    command = [
        *_outside(),
        *(criu, "dump", "--no-default-config", "--tree", str(order.pid)),
        *("--images-dir", str(order.folder / IMAGES), "--work-dir", str(order.folder / WORK), "--log-file", LOG, "-v2"),
        *("--page-server", "--ps-socket", str(pages.fileno()), "--action-script", str(script)),
        *("--manage-cgroups=soft", "--freeze-cgroup", order.freezer),
        *(
            "--tcp-established",
            "--file-locks",
            "--ext-unix-sk",
            "--link-remap",
            "--ghost-limit",
            str(order.ghost_limit),
        ),
        *(["--leave-running"] if order.leave_running else []),
        *(["--timeout", "10", "--skip-in-flight"] if order.last else ["--timeout", "2"]),
        *order.external,
    ]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(pages.fileno(),),
        start_new_session=True,
        cwd="/",
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
    )


def _outside() -> list[str]:
    """Return the beginning of a command that leaves the agent's cgroups for their roots first."""
    roots = [
        f"{mount.destination}/cgroup.procs"
        for mount in runtime_state.mounts(os.getpid())
        if mount.kind in (runtime_state.CGROUP_V1, runtime_state.CGROUP_V2)
    ]
    moves = "; ".join(f"echo 0 > {shlex.quote(path)}" for path in roots)
    return ["/bin/sh", "-c", f'{{ {moves or ":"}; }} 2>/dev/null; exec "$@"', "sh"]


def _ask(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise errors.Unavailable(f"{command[0]} does not run: {error}", remedy=REMEDY) from error
    return done.stdout.decode(errors="replace")
