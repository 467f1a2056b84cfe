"""The lab: nodes, the network between them, and stores that they share."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, Literal

from tests.lab import ability, cache, slots, swarm
from tests.lab.node import Node, Place, Running
from tests.lab.remote import RemoteStore
from tests.lab.stores import INSIDE, Store
from tests.lab.swarm import Swarm

CHECKOUT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


class Lab:
    """Nodes on this machine, in a slot of their own, gone when it is closed or when this process ends in any way."""

    def __init__(self) -> None:
        self.cache = cache.ensure(cache.tell)
        self._slot, lock = slots.take(cache.PLACE)
        self._lock = threading.Lock()
        self.nodes: dict[str, Node] = {}
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [
                        *("unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.lab.supervisor"),
                        *(str(self._slot.number), str(self._slot.folder), self.cache.lower, str(os.getpid())),
                    ],
                    cwd=CHECKOUT,
                    env={"PATH": ability.PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
                    stdin=theirs.fileno(),
                    pass_fds=(lock,),
                    start_new_session=True,
                )
        finally:
            os.close(lock)
        self._socket = ours
        self._stream = ours.makefile("rwb")
        self.shared = self._slot.folder / "shared"
        """A folder that every node sees at /srv/lab; files that the tests lay here are there at once."""
        try:
            self._hear()
        except ability.LabUnable:
            self.close()
            raise

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def gateway(self) -> str:
        """This machine's own address in the lab's network, on which a test may listen for the nodes."""
        return self._slot.address(254)

    @property
    def number(self) -> int:
        """Its slot."""
        return self._slot.number

    @property
    def supervisor(self) -> int:
        """The process that owns its nodes."""
        return self._process.pid

    def close(self) -> None:
        """Ends every node and removes everything."""
        for node in self.nodes.values():
            if node.running:
                node.kill()
        self._stream.close()
        self._socket.close()
        self._process.wait(timeout=120)

    def node(self, name: str = "", *, binds: Sequence[Path] = ()) -> Node:
        """Boots a node. It sees this checkout and the interpreter of the tests, read-only, at the same paths, and `binds`."""
        index = next(number for number in range(1, 254) if number not in {one.index for one in self.nodes.values()})
        name = name or f"node{index}"
        if not NAME.fullmatch(name) or name in self.nodes or name == "shared":
            raise ValueError(f"{name!r} is no free name for a node: lower-case letters, digits and dashes")
        place = Place(index=index, address=self._slot.address(index), disk=self._slot.folder / name)
        node = Node(name, place, power=self, cache=self.cache, binds=[*ours(), *binds])
        node.start()
        self.nodes[name] = node
        return node

    def remove(self, node: Node) -> None:
        """Ends a node and throws its disk away."""
        node.kill()
        del self.nodes[node.name]
        self.ask("forget", name=node.name)

    def swarm(
        self, managers: int = 3, workers: int = 0, *, prefix: str = "swarm", options: Mapping[str, Any] | None = None
    ) -> Swarm:
        """Boots nodes and joins them into a Swarm."""
        nodes = [self.node(f"{prefix}{number}") for number in range(1, managers + workers + 1)]
        with futures.ThreadPoolExecutor(len(nodes)) as pool:
            engines = list(pool.map(lambda node: node.docker(options), nodes))
        return swarm.form(engines[:managers], engines[managers:])

    def partition(self, *nodes: Node) -> None:
        """Cuts nodes off from every other node and from this machine."""
        for node in nodes:
            _run("ip", "link", "set", self._slot.link(node.index), "down")

    def heal(self, *nodes: Node) -> None:
        """Ends the partition of these nodes, or of all."""
        for node in nodes or self.nodes.values():
            if node.running:
                _run("ip", "link", "set", self._slot.link(node.index), "up")

    def kill(self, node: Node) -> None:
        """The machine is gone at once; only its disk stays."""
        node.kill()

    def limit_link(self, node: Node, rate: str) -> None:
        """Limits what a node sends and receives, each to `rate` as `tc` writes it (100mbit, 100mibps); empty lifts it."""
        change = ("replace", "root", "tbf", "rate", rate, "burst", "1mb", "latency", "50ms") if rate else ("delete", "root")
        action, *rest = change
        _run("tc", "qdisc", action, "dev", self._slot.link(node.index), *rest)
        node.run(["tc", "qdisc", action, "dev", "eth0", *rest])

    def store(self, name: str, size: str = "256m", kind: Literal["tmpfs", "ext4"] = "tmpfs") -> Store:
        """A file system of its own that every node sees at /srv/lab/NAME, mounted."""
        store = Store(self, name, size, kind)
        store.mount()
        return store

    def remote_store(self, name: str, server: Node, clients: Sequence[Node]) -> RemoteStore:
        """A folder of `server` that `clients` mount at the same path, over the network that this lab can slow and cut."""
        store = RemoteStore(name, server, clients)
        store.start()
        return store

    def share_image(self, tag: str) -> str:
        """Lays an image's archive where every node can read it; answers its path in them."""
        archive = self.cache.image(tag)
        shared = self.shared / archive.name
        if not shared.exists():
            os.link(archive, shared)
        return f"{INSIDE}/{archive.name}"

    def unpack(self, tag: str, node: Node, inside: str) -> None:
        """Lays the root file system of an image at a path of a node, for runc alone."""
        script = """import json, sys, tarfile
with tarfile.open(sys.argv[1]) as archive:
    for layer in json.load(archive.extractfile("manifest.json"))[0]["Layers"]:
        with tarfile.open(fileobj=archive.extractfile(layer)) as files:
            files.extractall(sys.argv[2], filter="fully_trusted")
"""
        node.run(["python3", "-c", script, self.share_image(tag), inside])

    def on(self, node: Node) -> Running:
        """Boots a node; `Node.start` calls it."""
        answer = self.ask("start", name=node.name, index=node.index, binds=[str(path) for path in node.binds])
        return Running(init=answer["init"], procs=tuple(answer["procs"]))

    def off(self, node: Node) -> None:
        """Ends a node; `Node.kill` calls it."""
        self.ask("stop", name=node.name)

    def ask(self, verb: str, **arguments: object) -> dict[str, Any]:
        """Has the supervisor do something. Raises LabUnable with its reason."""
        with self._lock:
            self._stream.write(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            self._stream.flush()
            return self._hear()

    def _hear(self) -> dict[str, Any]:
        line = self._stream.readline()
        if not line:
            raise ability.LabUnable("the lab's supervisor has ended: may this root make namespaces and mounts (CAP_SYS_ADMIN)?")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ability.LabUnable(answer["error"])
        return answer

    def outside(self, name: str) -> Path:
        """A shared folder as the tests can open it, with what is mounted there."""
        return Path(f"/proc/{self._process.pid}/root") / str(self.shared / name).removeprefix("/")


def ours() -> list[Path]:
    """What our programs need inside a node: this checkout with its environment, and the interpreter that it points to."""
    base = Path(sys.base_prefix)
    if base not in (Path("/"), Path("/usr"), Path("/usr/local")):
        return [CHECKOUT, base]
    interpreter = Path(os.path.realpath(sys.executable))
    found = {interpreter, Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("platstdlib"))}
    return [CHECKOUT, *sorted(found)]


def _run(*command: str) -> None:
    result = subprocess.run(command, check=False, capture_output=True, text=True, env={"PATH": ability.PATH})
    if result.returncode:
        raise ability.LabUnable(f"`{' '.join(command)}` failed: {result.stderr.strip()}")
