"""The application engine: the program itself writes its state, by the contract of the `PERDURE_…` variables.

    the agent                                        the program
    writes PERDURE_REQUEST_FILE (and signals)   →    notices it between two steps
                                                     writes files into PERDURE_CHECKPOINT_DIR, then COMPLETE
    removes the request file, moves everything
    out of the folder, COMPLETE last            →    may write there again once COMPLETE has disappeared
    stores and verifies what it moved out

A program may also save without being asked: COMPLETE alone is enough.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from reconciler import errors
from reconciler.contracts import clock as clocks
from reconciler.contracts import engine, store
from reconciler.core import model, observed, spec, transition
from reconciler.engines import folder

COMPLETE = "COMPLETE"
"""The file that says: everything beside me is whole."""
CURRENT = "current"
"""Folder below `Site.aside` into which the program's files are moved."""
POLL = 0.05
"""Seconds between looks for COMPLETE."""


class ApplicationEngine:
    """`contracts.engine.Engine` for programs that save themselves. Needs no privilege."""

    def __init__(self, clock: clocks.Clock) -> None:
        """Wait by `clock`."""
        self._clock = clock

    def preflight(self, site: engine.Site) -> engine.Can | engine.Cannot:
        """Say whether the folders of the contract are there."""
        if not site.checkpoints.is_dir():
            return engine.Cannot(
                reason=f"the checkpoint folder {site.checkpoints} is missing",
                remedy="The program must empty the folder, not remove it.",
            )
        return engine.Can()

    def needs(self) -> str:
        """A program that saves and loads its state itself finds its processor out again."""
        return ""

    def saved(self, site: engine.Site) -> bool:
        """Whether COMPLETE exists, in the program's folder or aside."""
        return os.path.lexists(site.checkpoints / COMPLETE) or os.path.lexists(site.aside / CURRENT / COMPLETE)

    def take(
        self, site: engine.Site, open_sink: Callable[[int | None], store.Sink], request: spec.Request
    ) -> engine.Captured | engine.Failed:
        """Ask (unless the program saved on its own), wait for COMPLETE, move the files aside, store them.

        A program that is to end stands still from COMPLETE on, unless storing fails: what it did meanwhile would be lost.
        What was moved aside and could not be stored stays there: `saved` offers it again.
        """
        begun = self._clock.monotonic()
        can = self.preflight(site)
        if isinstance(can, engine.Cannot):
            return engine.Failed(reason=f"{can.reason}. {can.remedy}")
        try:
            if request.purpose is not spec.Purpose.SAVED:
                self._ask(site, request, begun)
                if request.then_stop:
                    site.hold(True)
            self._move_aside(site)  # before the store is asked for anything: a slow one must not keep the program waiting
            try:
                taken, usage = self._send(site, open_sink)
            except engine.Unfit:
                taken, usage = self._send(site, open_sink)
        except errors.InvalidInput as error:
            folder.discard(site.aside / CURRENT)  # it would not be accepted the next time either
            site.hold(False)
            return engine.Failed(reason=str(error))
        except (errors.PerdureError, OSError) as error:
            site.hold(False)
            return engine.Failed(reason=str(error))
        folder.discard(site.aside / CURRENT)
        return engine.Captured(taken=dataclasses.replace(taken, seconds=self._clock.monotonic() - begun), usage=usage)

    def prepare_restore(self, image: store.Image, site: engine.Site) -> None:
        """Write the image's files into `site.restore`, which must not exist."""
        if image.meta.engine != model.EngineName.APPLICATION.value:
            raise errors.Refused(
                f"checkpoint {image.digest} was taken by the engine {image.meta.engine!r}",
                remedy="Give the Job the engine that its checkpoint was taken with.",
            )
        site.restore.mkdir(mode=0o700)
        try:
            image.export(str(site.restore))
        except BaseException:
            folder.discard(site.restore)
            raise

    def _send(self, site: engine.Site, open_sink: Callable[[int | None], store.Sink]) -> tuple[observed.Taken, store.Usage]:
        """Store what was moved aside."""
        sink = open_sink(_step(site.aside / CURRENT / COMPLETE))
        try:
            folder.send(site.aside / CURRENT, sink, owner=site.owner, leave_out=COMPLETE)
            return sink.commit()
        except BaseException:
            sink.abort()
            raise

    def _ask(self, site: engine.Site, request: spec.Request, begun: float) -> None:
        """Return once COMPLETE is there. Raises `errors.Unavailable` when it does not come."""
        _write_request(site, request, self._clock.now() + request.deadline)
        try:
            if site.signal and not site.send_signal(site.signal):
                raise errors.Unavailable("the program has ended")
            while not os.path.lexists(site.checkpoints / COMPLETE):
                alive = site.alive()
                if os.path.lexists(site.checkpoints / COMPLETE):
                    return  # it came just before the program's end
                if not alive:
                    raise errors.Unavailable("the program ended without saving")
                if site.given_up():
                    raise errors.Unavailable("given up before the program had saved")
                if self._clock.monotonic() - begun >= request.deadline:
                    raise errors.Unavailable(f"the program did not save within {transition.duration(request.deadline)}")
                self._clock.wait(POLL)
        finally:
            # Before COMPLETE disappears, or the program would take the same request for a new one.
            site.request_file.unlink(missing_ok=True)

    def _move_aside(self, site: engine.Site) -> None:
        """Empty the program's folder into ours, COMPLETE last: a move that was cut short is seen and continued."""
        current = site.aside / CURRENT
        if not os.path.lexists(site.checkpoints / COMPLETE):
            return
        if os.path.lexists(current / COMPLETE):
            folder.discard(current)  # older than what is to be moved now
        current.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _opened(site.checkpoints) as source, _opened(current) as target:
            try:
                names = [name for name in folder.names(source) if name != COMPLETE]
            except errors.InvalidInput:
                folder.relocate(COMPLETE, COMPLETE, source, target)  # the program is not to wait for it
                raise
            for name in [*names, COMPLETE]:
                folder.relocate(name, name, source, target)


def _step(complete: Path) -> int | None:
    """Return the step that the program wrote into COMPLETE ({"step": 12}), None when it wrote none that can be a count."""
    try:
        value = json.loads(folder.read_small(complete))["step"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return value if observed.is_count(value) else None


def _write_request(site: engine.Site, request: spec.Request, deadline: float) -> None:
    """Make the request appear whole: written beside its place and renamed."""
    value = {"id": request.id, "reason": request.reason or request.purpose.value, "deadline": deadline}
    partial = site.request_file.with_name(f".{site.request_file.name}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        if site.owner is not None:
            os.fchown(descriptor, -1, site.owner[1])
            os.fchmod(descriptor, 0o640)
        json.dump(value, file)
    os.replace(partial, site.request_file)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
