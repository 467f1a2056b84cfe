"""Whether this machine can run the lab, and in plain words why not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable

TOOLS = (
    ("debootstrap", "debootstrap"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("unshare", "util-linux"),
    ("mke2fs", "e2fsprogs"),
)
"""Commands that the outer machine needs, and the Debian package of each."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LabUnable(Exception):
    """The lab cannot be built or started here; the text says why and what mends it."""


def reason() -> str:
    """Why the lab cannot run here; empty where it can."""
    if sys.platform != "linux":
        return "the lab makes its machines out of Linux namespaces: it runs on Linux only"
    if os.geteuid() != 0:
        return "the lab makes namespaces, mounts and network links: run the tests as root"
    missing = _missing()
    if missing and not shutil.which("apt-get", path=PATH):
        return f"the lab needs {' '.join(missing)}: install them"
    return ""


def install_tools(say: Callable[[str], None]) -> None:
    """Installs what is missing on the outer machine. Raises LabUnable."""
    if why := reason():
        raise LabUnable(why)
    missing = _missing()
    if not missing:
        return
    say(f"lab: installing {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", *missing]):
        result = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
        if result.returncode:
            raise LabUnable(f"`{' '.join(command)}` failed; install {' '.join(missing)} yourself:\n{result.stderr[-2000:]}")


def _missing() -> list[str]:
    return sorted({package for command, package in TOOLS if not shutil.which(command, path=PATH)})
