"""The steps of a container that is saved from outside: counted in its writable layer, and read there.

A file of the host that its program holds open would be missing where it is restored; one in its own layer goes with it, under
the same path. The interposer makes it before the program begins (`agent.runtime.shape`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from agent import progress
from agent.containers import books
from agent.runtime import shape
from reconciler import errors
from reconciler.contracts import engine
from reconciler.core import spec
from reconciler.engines.criu import runtime_state


class Layer:
    """`progress.Source` in the writable layer of an attempt's container, for as long as that lies on this host."""

    def __init__(self, ref: spec.AttemptRef, written: books.Books, container: Callable[[], engine.Container | None]) -> None:
        """`container` returns where its runtime keeps what it knows, once there is one."""
        self._ref = ref
        self._books = written
        self._container = container

    def open(self) -> int:
        """Open the file, whatever its program has made of it: it is a plain one of that layer, or none."""
        try:
            return progress.beneath(self._books.get(self._ref).layer or self._found(), shape.PROGRESS)
        except errors.PerdureError as error:
            raise FileNotFoundError(str(error)) from error

    def begin(self) -> int:
        """Return what was laid out with its checkpoint."""
        return self._books.get(self._ref).counted

    def _found(self) -> str:
        """Ask the kernel while it lives, and remember: its last steps are read after its end. Raises `errors.Unavailable`."""
        container = self._container()
        if container is None:
            raise errors.Unavailable("it has no container yet")
        state = runtime_state.read(container.state_file)
        layer = runtime_state.upper(state.pid)
        if layer is None or not state.alive():
            raise errors.Unavailable("its container has ended, or no layer of its own")
        return self._books.set(self._ref, layer=str(layer)).layer


def laid_out(directory: Path) -> int:
    """Return how many bytes of steps came with a checkpoint that was laid out in a folder: written by attempts before."""
    try:
        entries = json.loads((directory / "layer.json").read_bytes())["entries"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return next((int(each.get("size", 0)) for each in entries if each["path"] == shape.PROGRESS), 0)
