"""What the interposer asks the agent about a container of ours, and the agent's end of the socket.

One connection, one question, one answer, each a line of JSON. `agent/runtime/perdure_runc.py` is the other end; it
stands alone, so the words are written down here and tested against it.

    question  {"v": 1, "verb": "create", "container": ID, "namespace": NS, "attempt": "<run>-<n>", "bundle": PATH,
               "root": PATH, "annotations": {…}}
              {"v": 1, "verb": "kill", …, "signal": 15}
              {"v": 1, "verb": "pause" | "resume", …}
              {"v": 1, "verb": "started" | "deleted" | "failed", …, "reason": TEXT}
    answer    {"verdict": "create"} | {"verdict": "refuse", "reason": TEXT}
              {"verdict": "restore", "directory": PATH, "volumes": [NAME…]}
              {"verdict": "deliver"} to kill, pause and resume, {} to the rest, {"error": TEXT} to what was not understood

While an answer takes its time (a checkpoint before a stop signal) an empty line goes out every second: who hears nothing
for its deadline knows that this agent is stopped, not busy.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from agent import doorbell
from reconciler import errors

SOCKET = Path("/run/perdure/runtime.sock")
VERSION = 1
LONGEST = 64 * 1024
"""Bytes of a question."""
SECONDS = 5.0
"""Longest wait for a question's line, and for an answer to be taken."""
BEAT = 1.0
"""Seconds between two signs of life."""
VISITORS = 512
"""Most questions at once: a host that goes down asks about all its containers together."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question. Everything in it was said by an engine on this host; `attempt` was said by the container's environment."""

    container: str
    namespace: str
    attempt: str
    """As in the container's PERDURE_ATTEMPT: a claim to check, never a proof."""
    bundle: str = ""
    root: str = ""
    """Where its engine has the real runtime keep what it knows of containers."""
    signal: int = 0
    reason: str = ""
    """Why a container that was granted did not come to be (verb `failed`)."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """What a Kubernetes runtime says of the container (`io.kubernetes.…`); empty elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Start it from its beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """Restore it from a directory that only root can enter (what it holds: `agent/runtime/perdure_runc.py`)."""

    directory: Path
    volumes: tuple[str, ...] = ()
    """Names of the volumes that the engine says it has made for this container alone: what is in them is replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Do not start it."""

    reason: str
    """One line; the engine shows it to whoever started the container."""


class Judge(Protocol):
    """Answers. Called from many threads at once, one a question; never asks an engine to `inspect` what is being created.

    Raises `errors.PerdureError`: `create` is then refused with its text, and every other call is as if answered.
    """

    def create(self, asked: Asked) -> Create | Restore | Refuse:
        """Say what becomes of a container that an engine creates. At once: the engine waits and holds locks."""
        ...

    def kill(self, asked: Asked) -> None:
        """Return when the signal may be delivered. May take as long as a checkpoint."""
        ...

    def hold(self, asked: Asked) -> None:
        """Return when it may be paused, or let go on. May take as long as a checkpoint holds it still."""
        ...

    def started(self, asked: Asked) -> None:
        """Note that an engine starts it."""
        ...

    def deleted(self, asked: Asked) -> None:
        """Note that its engine has removed it."""
        ...

    def failed(self, asked: Asked) -> None:
        """Note that a granted `create` has led to no container."""
        ...


@contextlib.contextmanager
def serve(path: Path, judge: Judge, *, visitors: int = VISITORS) -> Iterator[None]:
    """Answer at `path` until the block is left. Raises `errors.Busy` while another agent answers there.

    Whoever is not root (or this process's own user) is turned away, whatever the modes of the file system say.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(visitors)
        desk = _Desk(listener, judge, visitors)
        desk.open()
        try:
            yield
        finally:
            desk.close()
            path.unlink(missing_ok=True)


def _clear(path: Path) -> None:
    """Remove the socket of an agent that is gone; one that answers is in the way."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(SECONDS)
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise errors.Busy(
        "another agent answers there", where=str(path), remedy="A host has one agent with containers: stop the other."
    )


class _Desk:
    """Accepts, and gives each visitor a thread while there are fewer than the bound; the rest wait in the socket's queue."""

    def __init__(self, listener: socket.socket, judge: Judge, visitors: int) -> None:
        self._listener = listener
        self._judge = judge
        self._free = threading.Semaphore(visitors)
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._waiting: set[socket.socket] = set()
        """Connections whose answer takes its time."""
        self._threads = [threading.Thread(target=what, name="verdicts", daemon=True) for what in (self._attend, self._beat)]

    def open(self) -> None:
        """Begin to accept."""
        for thread in self._threads:
            thread.start()

    def _attend(self) -> None:
        while not self._closed.is_set():
            self._free.acquire()
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed, or out of descriptors: the next turn tells
                self._free.release()
                self._closed.wait(0.05)
                continue
            threading.Thread(target=self._visit, args=(connection,), name="verdict", daemon=True).start()

    def close(self) -> None:
        """Accept nobody else. Answers under way end with their connections."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._free.release()  # wakes `_attend` where every place was taken
        for thread in self._threads:
            thread.join()

    def _beat(self) -> None:
        while not self._closed.wait(BEAT):
            with self._lock:
                for connection in self._waiting:
                    with contextlib.suppress(OSError):  # gone, or not reading: not this thread's to wait for
                        connection.send(b"\n", socket.MSG_DONTWAIT)

    def _visit(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):  # a visitor that hangs up is nobody's error
                connection.settimeout(SECONDS)
                if not doorbell.trusted(connection):
                    where = str(connection.getsockname())
                    log.warning(
                        "user %d was turned away at %s, which is for root only. chmod 700 %s keeps others out",
                        *(doorbell.visitor(connection), where, os.path.dirname(where)),
                    )
                    return
                with connection.makefile("rb") as lines:
                    line = lines.readline(LONGEST + 1)
                with self._lock:
                    self._waiting.add(connection)
                try:
                    answer = _answer(self._judge, line)
                finally:
                    with self._lock:
                        self._waiting.discard(connection)
                connection.sendall(json.dumps(answer).encode() + b"\n")
        finally:
            self._free.release()


def _answer(judge: Judge, line: bytes) -> dict[str, Any]:
    try:
        verb, asked = read(line)
    except errors.InvalidInput as error:
        return {"verdict": "refuse", "reason": str(error), "error": str(error)}
    try:
        match verb:
            case "create":
                return _worded(judge.create(asked))
            case "kill":
                judge.kill(asked)
                return {"verdict": "deliver"}
            case "pause" | "resume":
                judge.hold(asked)
                return {"verdict": "deliver"}
            case "started":
                judge.started(asked)
            case "deleted":
                judge.deleted(asked)
            case _:
                judge.failed(asked)
    except errors.PerdureError as error:
        return {"verdict": "refuse", "reason": error.line, "error": str(error)}
    return {}


def _worded(verdict: Create | Restore | Refuse) -> dict[str, Any]:
    match verdict:
        case Create():
            return {"verdict": "create"}
        case Restore():
            return {"verdict": "restore", "directory": str(verdict.directory), "volumes": list(verdict.volumes)}
        case Refuse():
            return {"verdict": "refuse", "reason": verdict.reason}


VERBS = ("create", "kill", "pause", "resume", "started", "deleted", "failed")
_TEXTS = ("container", "namespace", "attempt", "bundle", "root", "reason")
_NEEDED = ("container", "namespace", "attempt")


def read(line: bytes) -> tuple[str, Asked]:
    """Return the verb and the question of a line. Raises `errors.InvalidInput`; unknown members are not looked at."""
    if len(line) > LONGEST or not line.endswith(b"\n"):
        raise errors.InvalidInput("a question is one line, and not longer than 64 KiB")
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise errors.InvalidInput(f"a question is JSON: {error}") from error
    if not isinstance(said, dict) or said.get("v") != VERSION:
        raise errors.InvalidInput(
            "the interposer and this agent speak different versions",
            remedy="Install both from one release: `perdure-agent install`.",
        )
    if said.get("verb") not in VERBS:
        raise errors.InvalidInput(f"do what? One of {', '.join(VERBS)}")
    texts = {name: said.get(name, "") for name in _TEXTS}
    signal, annotations = said.get("signal", 0), said.get("annotations", {})
    if not all(isinstance(text, str) for text in texts.values()) or not all(texts[name] for name in _NEEDED):
        raise errors.InvalidInput(f"{', '.join(_NEEDED)} are texts, and not empty")
    if type(signal) is not int or not 0 <= signal <= 64:
        raise errors.InvalidInput("a signal is a number from 1 to 64")
    if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
        raise errors.InvalidInput("annotations are texts")
    return said["verb"], Asked(**texts, signal=signal, annotations=annotations)
