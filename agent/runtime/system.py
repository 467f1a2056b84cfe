"""The few calls of the C library that Python 3.8 does not have."""

from __future__ import annotations

import ctypes
import os
from typing import Any

CLONE_NEWNET, CLONE_NEWUTS = 0x40000000, 0x04000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND = 2, 4, 8, 4096
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    """Call `name` of the C library with numbers, byte strings and None. Raises OSError."""
    if getattr(_libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
