"""The process that owns a lab: it starts and ends nodes, mounts stores, and removes everything when its parent is gone.

It lives in a mount namespace of its own, so its mounts end with it. It serves one lab over a socket, a line of JSON each
way, and ends when that socket closes or its parent dies, whatever the parent's other children hold open. Should it be
killed itself, its nodes die with it, and the rest is swept by whoever takes the slot next.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests import conditions
from tests.lab import ability, cgroups, slots
from tests.lab.slots import Slot

BOOT = Path(__file__).with_name("boot.sh")
DATA = ("/var/lib/docker", "/var/lib/containerd", "/var/lib/containers", "/var/lib/kubelet")
"""Engines' data directories: plain folders of the outer machine, for an overlay cannot lie on an overlay."""

PR_SET_PDEATHSIG = 1
PATIENCE = 60.0
"""Seconds for what should take moments, on a machine that does other things too."""

Answer = dict[str, object]


class Supervisor:
    """The nodes and mounts of one lab."""

    def __init__(self, slot: Slot, lower: str) -> None:
        self._slot = slot
        self._lower = lower
        self._boots: dict[str, subprocess.Popen[bytes]] = {}
        self._links: dict[str, str] = {}
        self._removals: list[subprocess.Popen[bytes]] = []
        self._shared = slot.folder / "shared"

    def begin(self) -> Answer:
        """Makes the network that joins the nodes, and the folder through which mounts reach them."""
        bridge, address = self._slot.bridge, self._slot.address(254)
        _run("ip", "link", "add", bridge, "type", "bridge")
        _run("ip", "address", "add", f"{address}/24", "dev", bridge)
        _run("ip", "link", "set", bridge, "up")
        self._shared.mkdir()
        _run("mount", "--bind", str(self._shared), str(self._shared))
        _run("mount", "--make-shared", str(self._shared))
        return {}

    def start(self, name: str, index: int, binds: list[str]) -> Answer:
        """Boots a node; answers its init's process id on the outer machine."""
        folder = self._slot.folder / name
        for below in ("upper", "work", "root", "data"):
            (folder / below).mkdir(parents=True, exist_ok=True)
        group = self._group(name)
        cgroups.make(group)
        boot = self._boots[name] = subprocess.Popen(
            [
                *("unshare", "--mount", "--propagation", "unchanged", "--uts", "--ipc", "--net", "--pid", "--cgroup"),
                *("--fork", "--kill-child=SIGKILL", "/bin/sh", str(BOOT)),
            ],
            env=self._environment(name, index, binds),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "boot.log").open("wb"),
            start_new_session=True,
            preexec_fn=lambda: _become_part_of(group),  # noqa: PLW1509 - this process has no threads
        )
        assert boot.stdin is not None
        assert boot.stdout is not None
        try:
            self._expect(boot, b"here\n", folder)
            cgroups.settle(group, boot.pid)
            link = self._links[name] = self._slot.link(index)
            own = self._slot.hardware(index)
            _run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "address", own, "netns", str(boot.pid))
            _run("ip", "link", "set", link, "master", self._slot.bridge, "up")
            boot.stdin.write(b"go\n")
            boot.stdin.close()
            self._expect(boot, b"ready\n", folder)
        except BaseException:
            self.stop(name)
            raise
        boot.stdout.close()
        init = int(Path(f"/proc/{boot.pid}/task/{boot.pid}/children").read_text().split()[0])
        return {"init": init, "procs": cgroups.procs_files(group)}

    def stop(self, name: str) -> Answer:
        """Ends a node with all its processes at once; its disk stays."""
        group = self._group(name)
        if boot := self._boots.pop(name, None):
            # `unshare` itself is spared: it reaps the node's init, then ends.
            gone = f"processes of node {name} do not die"
            conditions.eventually(
                lambda: cgroups.kill(group, spared=boot.pid) and boot.poll() is not None, PATIENCE, message=gone
            )
            for stream in (boot.stdin, boot.stdout):
                if stream:
                    stream.close()
        if link := self._links.pop(name, None):  # the kernel would remove it some time after the namespace
            subprocess.run(["ip", "link", "delete", link], check=False, capture_output=True)
        cgroups.remove(group)
        return {}

    def forget(self, name: str) -> Answer:
        """Throws the disk of a node that is off away."""
        gone = self._slot.folder / f".gone-{len(self._removals)}"
        (self._slot.folder / name).rename(gone)
        self._removals.append(subprocess.Popen(["rm", "-rf", str(gone)]))  # thousands of files: nobody waits for them
        return {}

    def mount(self, name: str, arguments: list[str]) -> Answer:
        """Mounts something at the shared folder `name`, in every node."""
        place = self._shared / name
        place.mkdir(exist_ok=True)
        _run("mount", *arguments, str(place))
        return {}

    def unmount(self, name: str) -> Answer:
        """Takes a mount of the shared folder away, in every node, in use or not."""
        _run("umount", "--lazy", str(self._shared / name))
        return {}

    def end(self) -> None:
        """Removes everything."""
        for name in list(self._boots):
            self.stop(name)
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if (place := line.split()[1]).startswith(str(self._slot.folder)):
                subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)
        for removal in self._removals:
            removal.wait()
        slots.sweep(self._slot)

    def _group(self, name: str) -> str:
        return f"{self._slot.group}/{name}"

    def _environment(self, name: str, index: int, binds: list[str]) -> dict[str, str]:
        hierarchies = cgroups.hierarchies()
        return {
            "LAB_NAME": name,
            "LAB_ADDRESS": self._slot.address(index),
            "LAB_FOLDER": str(self._slot.folder / name),
            "LAB_LOWER": self._lower,
            "LAB_SHARED": str(self._shared),
            "LAB_CGROUPS": "\n".join(f"{one.place} {one.kind} {one.options}" for one in hierarchies),
            "LAB_DATA": "\n".join(DATA),
            "LAB_BINDS": "\n".join(binds),
        }

    def _expect(self, boot: subprocess.Popen[bytes], line: bytes, folder: Path) -> None:
        assert boot.stdout is not None
        waits = select.poll()
        waits.register(boot.stdout, select.POLLIN)
        if not waits.poll(PATIENCE * 1000) or boot.stdout.readline() != line:
            log = (folder / "boot.log").read_text(errors="replace")
            raise ability.LabUnable(f"the node in {folder} does not boot:\n{log[-2000:]}")


def _become_part_of(group: str) -> None:
    """Runs in the child before it executes: no node without its group, none that outlives the supervisor."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    cgroups.join(group)


def _run(*command: str) -> None:
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        raise ability.LabUnable(f"`{' '.join(command)}` failed: {result.stderr.strip()}")


def serve(supervisor: Supervisor, connection: socket.socket, parent: int) -> None:
    """Makes the lab, then answers requests until the connection closes or the parent has ended."""
    verbs: dict[str, Callable[..., Answer]] = {
        "start": supervisor.start,
        "stop": supervisor.stop,
        "forget": supervisor.forget,
        "mount": supervisor.mount,
        "unmount": supervisor.unmount,
    }
    with connection.makefile("rb") as stream:
        _answer(connection, supervisor.begin, {})
        waits = select.poll()
        for one in (connection.fileno(), parent):
            waits.register(one, select.POLLIN)
        while True:
            line = b"" if parent in dict(waits.poll()) else stream.readline()
            if not line:
                return
            request: dict[str, Any] = json.loads(line)
            _answer(connection, verbs[request.pop("verb")], request)


def _answer(connection: socket.socket, verb: Callable[..., Answer], request: dict[str, Any]) -> None:
    try:
        answer = verb(**request)
    except (ability.LabUnable, AssertionError, OSError) as error:
        answer = {"error": str(error)}
    connection.sendall(json.dumps(answer).encode() + b"\n")


def main() -> None:
    """usage: supervisor NUMBER FOLDER LOWER PARENT, with the socket as standard input and the slot's lock inherited."""
    number, folder, lower, parent = sys.argv[1:]
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    try:
        watch = os.pidfd_open(int(parent))
    except ProcessLookupError:
        watch = -1
    supervisor = Supervisor(Slot(number=int(number), folder=Path(folder)), lower)
    try:
        if watch >= 0:
            with suppress(OSError), socket.socket(fileno=os.dup(0)) as connection:
                serve(supervisor, connection, watch)
    finally:
        supervisor.end()


if __name__ == "__main__":
    main()
