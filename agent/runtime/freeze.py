"""`checkpoint` of a container with ARCH's variables: pages and files in one pause, whole or not at all."""

from __future__ import annotations

import json
import os
import shlex
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from agent.runtime import archive, call, capture, cgroup, create, system, tree
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
    _must_not_be_stopped(made)
    with _paused(made):
        with archive.aside(where) as image:
            work = os.path.join(made.home, "work")
            tree.remove(work)
            os.mkdir(work, 0o700)
            os.mkdir(os.path.join(image, "criu"), 0o700)
            places = ["--image-path", os.path.join(image, "criu"), "--work-path", work]
            argv = made.other("checkpoint", *words, *places, made.container)
            # An engine shows the first line that it hears, which is to be ours.
            with open(os.path.join(work, create.OUTPUT), "w") as out:
                failed = system.run(argv, os.path.dirname(machine["criu"]), out.fileno())
            if failed:
                raise Refused(f"no checkpoint was taken, and it runs on: {create.reason(machine, made, work, 'dump.log')}")
            if not os.path.exists(os.path.join(image, "criu", LAST)):
                raise Refused("the real runtime tells of a checkpoint that is not there, and it runs on")
            capture.take(capture.upper(state["rootfs"]), image, "layer")
            if shm := state.get("shm", os.path.join(made.home, "shm")):  # none in what an earlier version has made
                capture.take(shm, image, "shm")
            call.write_json(call.read_json(made.home, "container.json"), image, "container.json")
            call.write_json(archive.sizes(image), image, "sizes.json")
        if "leave-running" not in flags:
            system.run(made.other("kill", "--all", made.container, "KILL"))
    call.note(machine, made, f"wrote {where.image}")


def _must_not_be_stopped(made: Call) -> None:
    """With control groups of version 1 CRIU waits for a stopped process in a frozen group, and nothing wakes it but SIGKILL.

    The state of one that its engine holds still says that only; what it waits in says more.
    """
    if cgroup.is_unified():
        return
    with os.popen(shlex.join(made.other("ps", "--format", "json", made.container)) + " 2>/dev/null") as said:
        found = said.read()
    for pid in json.loads(found or "[]") or ():
        with suppress(OSError):
            with open(f"/proc/{pid}/stat", errors="replace") as file:
                status = file.read().rpartition(")")[2].split()[0]
            with open(f"/proc/{pid}/wchan") as file:
                waits_in = file.read()
            if status == "T" or (status == "D" and waits_in == "do_signal_stop"):
                raise Refused(
                    f"process {pid} of the container was stopped by a signal (SIGSTOP), and CRIU would wait for it. Let it go "
                    f"on (kill -CONT {pid}), or end it: no checkpoint was taken"
                )


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
