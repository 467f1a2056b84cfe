"""Where a container's state is: for the engines that capture it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agent import journal, progress, setup
from agent.containers import body, books, counting, room, seam, view
from reconciler import errors
from reconciler.contracts import engine
from reconciler.core import model, spec

RUNC = Path("/run/docker/runtime-runc/moby")
"""Where dockerd without an `exec-root` has runc keep its state, whatever the runtime is called (daemon/runtime_unix.go)."""
BUNDLES = (
    Path("/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby"),
    Path("/run/containerd/io.containerd.runtime.v2.task/moby"),
)
"""Where containerd keeps bundles: dockerd's own, or the machine's."""


class Sites:
    """Makes `engine.Site` values."""

    def __init__(self, about: setup.Setup, docker: seam.Docker, written: books.Books, seen: view.View) -> None:
        self._setup = about
        self._docker = docker
        self._books = written
        self._view = seen

    def site(self, entry: journal.Entry, given_up: Callable[[], bool]) -> engine.Site:
        """Return where an attempt lives. Nothing is asked of the engine."""
        place = self._setup.places.attempt(entry.ref)
        inside, found = room.inside(place), self._identity(entry)
        return engine.Site(
            ref=entry.ref,
            checkpoints=inside / "checkpoint",
            restore=inside / "restore",
            request_file=inside / "request.json",
            progress_file=inside / "progress.jsonl",
            signal=entry.spec.checkpoint.signal,
            send_signal=lambda name: self._tried(lambda: self._docker.kill(found, name)),
            hold=lambda still: self._hold(found, still=still),
            aside=room.aside(place),
            owner=self._owner(found) if entry.spec.checkpoint.engine is model.EngineName.APPLICATION else None,
            alive=lambda: self._alive(entry),
            given_up=given_up,
            step=lambda: progress.newest(self.counts(entry)),
            container=self._container(entry),
            max_frozen=entry.spec.checkpoint.max_frozen,
        )

    def counts(self, entry: journal.Entry) -> progress.Source:
        """Return where its program counts its steps."""
        what = entry.spec
        if body.contract(what) and what.created_by is spec.Creator.AGENT:
            return progress.File(room.inside(self._setup.places.attempt(entry.ref)) / "progress.jsonl")
        return counting.Layer(entry.ref, self._books, lambda: self._container(entry))

    def removed(self, entry: journal.Entry) -> bool:
        """Whether its runtime has removed the container. Nothing is asked of the engine."""
        found = self._identity(entry)
        return bool(found) and not (self._root(entry) / found).exists()

    def _root(self, entry: journal.Entry) -> Path:
        return Path(self._books.get(entry.ref).root or RUNC)

    def _identity(self, entry: journal.Entry) -> str:
        return self._books.get(entry.ref).container

    def _container(self, entry: journal.Entry) -> engine.Container | None:
        found, bundle = self._identity(entry), self._books.get(entry.ref).bundle
        if not found:
            return None
        known = [Path(bundle)] if bundle else [folder / found for folder in BUNDLES]
        volumes = self._books.get(entry.ref).volumes
        return engine.Container(
            id=found,
            state_file=self._root(entry) / found / "state.json",
            bundle=next((each for each in known if each.is_dir()), known[0]),
            volumes=volumes,
        )

    def _alive(self, entry: journal.Entry) -> bool:
        """Unless it is known to have ended."""
        try:
            listed = self._view.recent().of(entry.ref, self._identity(entry))
        except errors.Unavailable:
            return True
        return listed is not None and listed.state not in seam.OVER

    def _hold(self, found: str, *, still: bool) -> None:
        self._tried(lambda: self._docker.pause(found, still=still))

    def _owner(self, found: str) -> tuple[int, int] | None:
        """Return user and group of the container's first process, as the host counts them; None where it is the agent's own."""
        listed = self._view.recent().containers.get(found)
        detail = self._view.detail(listed) if listed is not None else None
        if detail is None or not detail.pid:
            return None
        try:
            status = Path(f"/proc/{detail.pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return None
        ids = {line.partition(":")[0]: line.split() for line in status.splitlines()}
        return int(ids["Uid"][1]), int(ids["Gid"][1])

    def _tried(self, act: Callable[[], None]) -> bool:
        try:
            act()
        except errors.Refused:
            return False
        return True
