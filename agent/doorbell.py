"""The agent's only way in: a unix socket in its data directory that nobody but root and its own user can use.

One JSON object a line, answered by one: {"do": "status"}, {"do": "notice", "seconds": 30, "reason": ""},
{"do": "drain", "on": true}. An answer has `error` when it went wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from reconciler import errors
from reconciler.core import codec, observed

LONGEST = 64 * 1024
SECONDS = 10.0
"""Longest wait for a line."""


class Household(Protocol):
    """What can be asked of the agent."""

    def status(self) -> observed.HostState:
        """Return the host as a person on it wants to see it."""
        ...

    def notice(self, seconds: float, reason: str = "") -> None:
        """This host goes away in so many seconds."""
        ...

    def drain(self, on: bool) -> None:
        """Begin or stop to empty this host."""
        ...


@contextlib.contextmanager
def answered(path: Path, agent: Household) -> Iterator[None]:
    """Answer at `path` until the block is left. The caller holds the data directory's lock."""
    path.unlink(missing_ok=True)
    with _short(path) as address:
        server = _Server(address, agent)
        path.chmod(0o600)  # until here whoever connects is turned away by who they are
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="doorbell", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            path.unlink(missing_ok=True)


def ask(path: Path, question: dict[str, Any]) -> dict[str, Any]:
    """Ask the agent of a data directory. Raises `errors.Unavailable` when none runs there, `errors.Refused` for a no."""
    try:
        with _short(path) as address, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(SECONDS)
            connection.connect(address)
            connection.sendall(json.dumps(question).encode() + b"\n")
            with connection.makefile("rb") as answer:
                value: dict[str, Any] = json.loads(answer.readline() or b"{}")
    except PermissionError as error:
        raise errors.Refused(
            "only root and the agent's own user may ask this agent",
            where=str(path),
            remedy="Ask as one of them, say with sudo.",
        ) from error
    except (OSError, ValueError) as error:
        raise errors.Unavailable(
            "no agent answers there", where=str(path), remedy="Start it with `perdure-agent run`, or name its --data directory."
        ) from error
    if "error" in value:
        raise errors.Refused(value["error"])
    return value


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, address: str, agent: Household) -> None:
        self.agent = agent
        super().__init__(address, _Visitor)


class _Visitor(socketserver.StreamRequestHandler):
    timeout = SECONDS

    def handle(self) -> None:
        if trusted(self.connection):
            with contextlib.suppress(OSError):  # a visitor that hangs up is nobody's error
                self.wfile.write(json.dumps(self._answer(self.rfile.readline(LONGEST))).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        server = self.server
        assert isinstance(server, _Server)
        try:
            return _answer(server.agent, json.loads(line))
        except errors.PerdureError as error:
            return {"error": str(error)}
        except (ValueError, KeyError, TypeError) as error:
            return {"error": f"that was not understood: {error}"}


def _answer(agent: Household, question: dict[str, Any]) -> dict[str, Any]:
    match question["do"]:
        case "status":
            state: dict[str, Any] = codec.plain(agent.status())
            return state
        case "notice":
            agent.notice(float(question["seconds"]), str(question.get("reason", "")))
        case "drain":
            agent.drain(bool(question["on"]))
        case other:
            raise ValueError(f"do what? {other!r}")
    return {}


def trusted(connection: socket.socket) -> bool:
    """Whether root or this process's own user is at the other end.

    The socket's mode already keeps others out; this holds even where a file system ignores modes (unix(7), SO_PEERCRED).
    """
    return visitor(connection) in (0, os.geteuid())


def visitor(connection: socket.socket) -> int:
    """Return the user id at the other end; outside Linux our own, for nothing tells it."""
    if not sys.platform.startswith("linux"):
        return os.geteuid()
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(uid)


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield an address for the socket that fits into its 107 bytes, however long the path is."""
    if len(os.fsencode(path)) <= 100 or not sys.platform.startswith("linux"):
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
