"""How many files may be open: the agent takes all that it is allowed to, its jobs have what it was given itself.

A host with hundreds of containers has several open for each, and service managers begin at 1024. A job must not find more than
that unasked: programs that wait with select(2) break beyond it, which is why the allowance is in two parts at all.
"""

from __future__ import annotations

import contextlib
import resource

_GIVEN = resource.getrlimit(resource.RLIMIT_NOFILE)


def claim() -> None:
    """Let this process open as many files as it is allowed to; where jobs could not be told apart (not Linux) do nothing."""
    if hasattr(resource, "prlimit"):
        most = _GIVEN[1]
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def give_back(pid: int) -> None:
    """Let a process that we started, and all that it will start, have what we were given."""
    if hasattr(resource, "prlimit"):
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, _GIVEN)
