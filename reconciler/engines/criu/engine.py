"""`contracts.engine.Engine` for containers that runc runs: transparent, by CRIU.

ahead    pre-flight · a folder and a trace of this dump · the sink · what lies still is copied
frozen   pages · small images · what changed in writable layer and volumes · /dev/shm
ends     … · `Sink.commit`: durable and verified · CRIU ends the program          (request.then_stop)
goes on  … into the spool · CRIU lets the program go on · the spool to the sink · `Sink.commit`
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from reconciler import errors
from reconciler.contracts import clock as clocks
from reconciler.contracts import engine, store
from reconciler.core import observed, spec
from reconciler.engines.criu import (
    externals,
    features,
    leftovers,
    preflight,
    program,
    restore,
    runtime_state,
    spool,
    takers,
    tree,
    volumes,
    watches,
)
from reconciler.engines.criu.freeze import Freeze, Passing
from reconciler.engines.criu.runtime_state import State

LONGEST_FREEZE = 900.0
"""Seconds that a program stands still at most where the Job says nothing."""

GHOST_LIMIT = 8 << 30
"""Bytes of the largest deleted file that is kept because it is still open (CRIU's own limit is 1 MiB)."""

PATIENT = 4
"""How often a program is let go again for what will have passed in a moment, before the last try."""

_RESERVE = 1 << 30
"""Bytes of the spool's disk that are never filled."""

_MORE = 16
"""A part of a program's memory by which it may grow until it stands still."""

_DESCRIPTORS = "descriptors.json"
_SPOOL = "spool"


class CriuEngine:
    """See `contracts.engine.Engine`. May be used by several threads at once, for different attempts."""

    def __init__(self, clock: clocks.Clock, folder: Path, *, criu: Callable[[], str] = lambda: "criu") -> None:
        """Dumps lie below `folder`, which only root may enter, on a disk with room for a program's memory.

        `criu` says where the program is: asked each time, for an upgrade puts another one in its place.
        """
        self._clock = clock
        self._folder = folder
        self._criu = criu
        self._looked_at = ""
        self._version: tuple[int, ...] = ()
        self._processor = b""
        self._needs = ""
        self._dumps: set[str] = set()
        self._over = threading.Condition()

    def preflight(self, site: engine.Site) -> engine.Can | engine.Cannot:
        """Say whether a checkpoint of this container can be taken, and if not, which of the known reasons it is."""
        try:
            self.ready()
            return preflight.decide(preflight.take(_state(site), self._version, _container(site).volumes))
        except errors.PerdureError as error:
            return engine.Cannot(reason=error.message, remedy=error.remedy)

    def needs(self) -> str:
        """Ask criu, once: all that the processor offers, for nobody knows what of it a program uses."""
        if not self._needs:
            self._needs = features.here(self.criu, self._folder)
        return self._needs

    def saved(self, site: engine.Site) -> bool:
        """Nothing is ever saved that nobody asked for."""
        return False

    def take(
        self, site: engine.Site, open_sink: Callable[[int | None], store.Sink], request: spec.Request
    ) -> engine.Captured | engine.Failed:
        """Capture the container; see this module's first lines. Failing leaves it running and unharmed."""
        begun = self._clock.monotonic()
        can = self.preflight(site)
        if isinstance(can, engine.Cannot):
            return engine.Failed(reason=f"{can.reason}. {can.remedy}".strip())
        try:
            try:
                taken, usage, frozen = self._patiently(site, open_sink, request)
            except engine.Unfit:
                taken, usage, frozen = self._patiently(site, open_sink, request)
        except (errors.PerdureError, OSError) as error:
            return engine.Failed(reason=str(error))
        taken = dataclasses.replace(taken, seconds=self._clock.monotonic() - begun, frozen=frozen)
        return engine.Captured(taken=taken, usage=usage)

    def _patiently(
        self, site: engine.Site, open_sink: Callable[[int | None], store.Sink], request: spec.Request
    ) -> tuple[observed.Taken, store.Usage, float]:
        for _ in range(PATIENT):
            with contextlib.suppress(Passing):
                return self._once(site, open_sink, request, last=False)
        return self._once(site, open_sink, request, last=True)

    def _once(
        self, site: engine.Site, open_sink: Callable[[int | None], store.Sink], request: spec.Request, *, last: bool
    ) -> tuple[observed.Taken, store.Usage, float]:
        state = _state(site)
        folder, trace = leftovers.begin(self._folder, _container(site), state)
        try:
            sink = open_sink(None)
            try:
                one = _Take(self, site, state, folder, trace)
                one.last = last
                return one.ending(sink) if request.then_stop else one.going_on(sink)
            except BaseException:
                sink.abort()
                raise
        finally:
            leftovers.discard(folder)

    def prepare_restore(self, image: store.Image, site: engine.Site) -> None:
        """Write the directory that the interposer restores from to `site.restore`, which must not exist.

        Raises `errors.Refused` for an image of another engine or of a processor with features that this one lacks.
        """
        self.ready()
        restore.prepare(image, site.restore, self.criu, self.needs())

    def sweep(self) -> tuple[str, ...]:
        """Undo what an agent that was killed left: thaw, unlock, discard. Returns the containers concerned. Before any take."""
        return leftovers.sweep(self._folder)

    @contextlib.contextmanager
    def dumping(self, container: str) -> Iterator[None]:
        """Note that a dump of a container is under way."""
        with self._over:
            self._dumps.add(container)
        try:
            yield
        finally:
            with self._over:
                self._dumps.discard(container)
                self._over.notify_all()

    def at_rest(self, container: str) -> None:
        """Return once no dump of a container is under way: what somebody else freezes meanwhile CRIU cannot move, and in the
        end it leaves frozen what it has found so."""
        with self._over:
            self._over.wait_for(lambda: container not in self._dumps)

    @property
    def criu(self) -> str:
        """The program."""
        return self._criu()

    @property
    def version(self) -> tuple[int, ...]:
        """The program's version."""
        return self._version

    def now_ns(self) -> int:
        """The time by which files are told to be at rest."""
        return int(self._clock.now() * 1e9)

    def tell_processor(self, images: Path) -> None:
        """Write what this machine's processor offers beside the images of a dump. criu is asked once: it stays the same."""
        path = images / features.IMAGE
        if self._processor:
            path.write_bytes(self._processor)
            return
        with contextlib.suppress(errors.Unavailable):
            if program.cpuinfo(self.criu, images, "dump") and path.exists():
                self._processor = path.read_bytes()

    def ready(self) -> None:
        """Look once at whether this criu can work here; a look that failed is repeated.

        Raises `errors.Unavailable` or `Refused`.
        """
        criu = self.criu
        if self._looked_at == criu:
            return
        if os.geteuid() != 0:
            raise errors.Refused("checkpoints of containers need root", remedy="Run the agent as root.")
        version = program.version(criu)
        program.check(criu)
        self._version, self._looked_at = version, criu


class _Take:
    """One capture."""

    def __init__(self, made: CriuEngine, site: engine.Site, state: State, folder: Path, trace: leftovers.Trace) -> None:
        self._made = made
        self._site = site
        self._state = state
        self._folder = folder
        self._trace = trace
        self._volumes = volumes.folders(state, _container(site).volumes)
        self._trees = [tree.Tree(name, Path(root), made.now_ns, at) for name, root, at in _roots(state, self._volumes)]
        self._config = runtime_state.config(_container(site).bundle)
        self._freeze: Freeze | None = None
        self.last = False

    def ending(self, sink: store.Sink) -> tuple[observed.Taken, store.Usage, float]:
        """Pages go to the store while the program stands; it ends once they are safe there."""
        self._ahead(sink)
        taker = takers.Direct(sink)
        with self._start(leave_running=False) as freeze:
            freeze.pages(self._made.version, taker, taker.settled)
            freeze.standstill()
            self._rest(sink, taker)
            taken, usage = sink.commit(self._site.step())
            try:
                freeze.release()
            except errors.Unavailable as error:
                if not freeze.trace.lives:
                    return taken, usage, freeze.frozen()  # it has ended all the same
                raise errors.Unavailable(f"{error.message}. The checkpoint is stored, and the program went on") from error
            frozen = freeze.frozen()
        _end(self._state)
        return taken, usage, frozen

    def going_on(self, sink: store.Sink) -> tuple[observed.Taken, store.Usage, float]:
        """Pages go to the spool; the program goes on as soon as they lie there."""
        self._ahead(sink)
        need = preflight.resident(runtime_state.processes(self._state))
        with spool.Spool(self._folder / _SPOOL, self._room(need), need + need // _MORE) as kept:
            taker = takers.Spooled(kept)
            with self._start(leave_running=True) as freeze:
                freeze.pages(self._made.version, taker, taker.settled)
                freeze.standstill()
                self._rest(kept, taker)
                step = self._site.step()
                freeze.release()
                frozen = freeze.frozen()
            taker.publish(sink)
            kept.replay(sink)
            taken, usage = sink.commit(step)
        return taken, usage, frozen

    def _ahead(self, sink: store.Sink) -> None:
        for one in self._trees:
            if one.name != tree.SHM:  # it is memory, and soon copied
                one.ahead(sink)
        self._made.tell_processor(self._folder / program.IMAGES)

    @contextlib.contextmanager
    def _start(self, *, leave_running: bool) -> Iterator[Freeze]:
        order = program.Order(
            pid=self._state.pid,
            folder=self._folder,
            external=[
                *externals.arguments(self._state),
                *watches.arguments(self._state.pid, runtime_state.processes(self._state)),
            ],
            freezer=self._state.freezer,
            ghost_limit=GHOST_LIMIT,
            leave_running=leave_running,
            last=self.last,
            patience=self._limit(),
        )
        with self._made.dumping(self._trace.container):
            trace = dataclasses.replace(self._trace, paused=leftovers.frozen(order.freezer))
            with Freeze(self._made.criu, order, trace, self._given_up) as self._freeze:
                yield self._freeze

    def _rest(self, out: tree.Out, taker: takers.Direct | takers.Spooled) -> None:
        """Send what is not pages. The program stands still."""
        images = self._folder / program.IMAGES
        for name in sorted(os.listdir(images)):
            tree.send_file(out, f"{restore.CRIU}/{name}", images / name, (images / name).stat().st_size)
        for name, content in taker.pagemaps.images():
            tree.send_bytes(out, f"{restore.CRIU}/{name}", content)
        tree.send_bytes(out, f"{restore.CRIU}/{_DESCRIPTORS}", externals.descriptors(self._state))
        tree.send_bytes(out, restore.CONTAINER, externals.record(self._state, self._config, self._volumes))
        mapped = preflight.mapped(runtime_state.processes(self._state))
        for one in self._trees:
            one.capture(out, mapped)

    def _given_up(self) -> str:
        """Return why this dump should be given up, if it should."""
        if self._site.given_up():
            return "the agent gave it up"
        limit = self._limit()
        if self._freeze is not None and self._freeze.standing() > limit:
            return f"it would have stood still for longer than {limit:g} s (checkpoint.maxFrozen)"
        return ""

    def _limit(self) -> float:
        return LONGEST_FREEZE if self._site.max_frozen is None else self._site.max_frozen

    def _room(self, need: int) -> int:
        """Return how large the spool may become. Raises `errors.Unavailable` when the program's memory will not fit."""
        free = shutil.disk_usage(self._folder).free - _RESERVE
        if need > free:
            raise errors.Unavailable(
                f"the program has {need >> 20} MiB of memory, and {max(free, 0) >> 20} MiB may be used for the spool",
                where=str(self._folder),
                remedy="Make room there, or move the agent's data directory to a larger disk.",
            )
        return free


def _container(site: engine.Site) -> engine.Container:
    if site.container is None:
        raise errors.Refused(f"attempt {site.ref} is not a container", remedy="Use `checkpoint.engine: application`.")
    return site.container


def _state(site: engine.Site) -> State:
    return runtime_state.read(_container(site).state_file)


def _roots(state: State, own: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each folder that CRIU does not keep, where it is on the host, and where in the container."""
    upper = runtime_state.upper(state.pid)
    if upper is not None:
        yield tree.LAYER, str(upper), ""
    for number, destination in enumerate(own):
        yield volumes.name(number), own[destination], state.place(destination)
    shm = state.binds.get("/dev/shm", "")
    if shm not in ("", "/dev/shm"):  # that is the host's own, which others write to
        yield tree.SHM, shm, "/dev/shm"


def _end(state: State) -> None:
    """The image is safe and CRIU has ended the program; where it could not (it was killed itself), so do we."""
    if state.alive():
        for pid in runtime_state.processes(state):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
