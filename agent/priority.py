"""How the agent comes before others for the processor: while its machine is about to go away, before all that can wait.

An engine clears up behind each container that has ended, and that costs more than the checkpoint did. Only the checkpoints have
a deadline. It takes privileges; an agent without them stays where it is.

The kernel shares out among control groups with the cpu controller first, where the weight of a service counts (our unit has
one), then among sessions, then among threads (sched(7), "The autogroup feature"). Here the last two are seen to.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_GIVEN = os.getpriority(os.PRIO_PROCESS, 0)
_HURRIED = -15
"""Nice value by which a thread or session gets thirty times as much as one that has none (kernel, sched_prio_to_weight)."""
_THREADS = Path("/proc/self/task")
_SESSION = Path("/proc/self/autogroup")


def hurry(on: bool) -> None:
    """Have every thread of this process, and what they start, come first; or as it was given."""
    wanted = min(_GIVEN, _HURRIED) if on else _GIVEN
    done: set[str] = set()
    with contextlib.suppress(OSError):  # not root, or not Linux
        while new := {each.name for each in _THREADS.iterdir()} - done:
            for thread in new:  # Linux has a nice value for each thread, and a new thread has that of who made it
                with contextlib.suppress(ProcessLookupError):
                    os.setpriority(os.PRIO_PROCESS, int(thread), wanted)
            done |= new
        _SESSION.write_text(str(wanted), encoding="ascii")


def recover() -> None:
    """Undo what an agent has left that was killed while it hurried: its session stays as it was, and may be ours."""
    with contextlib.suppress(OSError):
        if _SESSION.read_text(encoding="ascii").rstrip().endswith(f" nice {_HURRIED}"):
            hurry(False)


def give_back(pid: int) -> None:
    """Let a process that we started, and all that it will start, have what we were given. It has a session of its own."""
    with contextlib.suppress(OSError):  # it has ended
        os.setpriority(os.PRIO_PROCESS, pid, _GIVEN)
