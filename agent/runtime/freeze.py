"""`checkpoint` of a container with ARCH's variables: pages and files in one pause, whole or not at all."""

from __future__ import annotations

import os
import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.runtime import archive, call, capture, create, system, tree
from agent.runtime.call import Call, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT = ("tcp-established", "tcp-skip-in-flight", "ext-unix-sk", "shell-job", "file-locks", "link-remap", "manage-cgroups-mode")
"""Flags that say how; where the image goes and what becomes of the container is ours to say."""
LAST = "inventory.img"
"""What CRIU writes last."""


def checkpoint(made: Call) -> None:
    """Take it, then end the container unless it was to go on (`--leave-running`). Raises `Refused`: it runs on as it was."""
    state = call.read_json(made.home, "state.json")
    if "archive" not in state:
        made.become_real()
    machine = call.host()
    where = archive.Archive(**state["archive"])
    if state.get("volumes"):
        raise Refused(
            f"its image declares a volume at {', '.join(state['volumes'])}, whose content such a checkpoint does not hold, and "
            "it runs on. Mount a folder there (docker run --volume)"
        )
    flags = dict(made.flags())
    if "pre-dump" in flags or "lazy-pages" in flags:
        raise Refused("a checkpoint in parts is not for a container with ARCH's variables")
    words = [
        "--leave-running",
        *(f"--{name}" if value is None else f"--{name}={value}" for name, value in flags.items() if name in KEPT),
    ]
    with _paused(made):
        with archive.aside(where) as image:
            work = os.path.join(made.home, "work")
            tree.remove(work)
            os.mkdir(work, 0o700)
            os.mkdir(os.path.join(image, "criu"), 0o700)
            places = ["--image-path", os.path.join(image, "criu"), "--work-path", work]
            if system.run(made.other("checkpoint", *words, *places, made.container), os.path.dirname(machine["criu"])):
                raise Refused(f"no checkpoint was taken, and it runs on: {create.reason(machine, made, work, 'dump.log')}")
            if not os.path.exists(os.path.join(image, "criu", LAST)):
                raise Refused("the real runtime tells of a checkpoint that is not there, and it runs on")
            capture.take(capture.upper(state["rootfs"]), image, "layer")
            shm = os.path.join(made.home, "shm")
            if os.path.isdir(shm):
                capture.take(shm, image, "shm")
            call.write_json(call.read_json(made.home, "container.json"), image, "container.json")
        if "leave-running" not in flags:
            system.run(made.other("kill", "--all", made.container, "KILL"))
    call.note(machine, made, f"wrote {where.image}")


@contextmanager
def _paused(made: Call) -> Iterator[None]:
    """Hold the container still for the length of the block, unless its engine does: containerd pauses around a checkpoint.

    A child lets it go on whatever becomes of us.
    """
    with os.popen(shlex.join(made.other("state", made.container))) as said:
        status = said.read()
    if '"paused"' in status:
        yield
        return
    ours, theirs = os.pipe()
    guard = os.fork()
    if guard == 0:
        try:
            os.setsid()  # what kills us by our group must not kill it
            os.close(theirs)
            os.read(ours, 1)  # until the other end is closed, by us or by our death
            os.execv(made.real, made.other("resume", made.container))
        finally:
            os._exit(127)
    os.close(ours)
    try:
        if system.run(made.other("pause", made.container)):
            raise Refused("it cannot be paused: no checkpoint was taken")
        yield
    finally:
        os.close(theirs)
        os.waitpid(guard, 0)
