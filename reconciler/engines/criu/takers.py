"""The two ways that pages go: into the image while the program stands still, or into the spool so that it may go on."""

from __future__ import annotations

import socket

from reconciler.contracts import store
from reconciler.engines.criu import memory, receiver, spool
from reconciler.engines.criu.receiver import Owner, Run


class Direct:
    """Hands pages to the sink as they come; holds one window."""

    def __init__(self, sink: store.Sink) -> None:
        self.pagemaps = memory.Pagemaps()
        self._windows = memory.Windows(sink)

    def begin(self, owner: Owner) -> None:
        """Note whose pages come now."""
        self.pagemaps.begin(owner)

    def run(self, run: Run, connection: socket.socket) -> None:
        """Read a run's pages in pieces that the store takes uncopied."""
        self.pagemaps.add(run)
        if run.present:
            for part in memory.parts(run):
                self._windows.add(part, receiver.read(connection, part.length))

    def settled(self) -> None:
        """Hand over what is held."""
        self._windows.flush()


class Spooled:
    """Keeps pages in the spool until `publish`."""

    def __init__(self, into: spool.Spool) -> None:
        self.pagemaps = memory.Pagemaps()
        self._spool = into
        self._kept: list[tuple[Run, int]] = []

    def begin(self, owner: Owner) -> None:
        """Note whose pages come now."""
        self.pagemaps.begin(owner)

    def run(self, run: Run, connection: socket.socket) -> None:
        """Take a run's pages into the spool."""
        self.pagemaps.add(run)
        if run.present:
            self._kept.append((run, self._spool.receive(connection, run.length)))

    def settled(self) -> None:
        """Nothing is held."""

    def publish(self, sink: store.Sink) -> None:
        """Hand all pages to the sink."""
        windows = memory.Windows(sink)
        for run, position in self._kept:
            at = position
            for part in memory.parts(run):
                windows.add(part, self._spool.read(at, part.length))
                at += part.length
        windows.flush()
