"""An engine that takes what a test puts into it, for those who use engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler import errors
from reconciler.contracts import engine, store
from reconciler.core import observed, spec


@dataclass(slots=True, kw_only=True)
class FakeEngine:
    """`contracts.engine.Engine` without a program: every attempt's state is the bytes in `state`."""

    state: dict[spec.AttemptRef, bytes] = field(default_factory=dict)
    unasked: set[spec.AttemptRef] = field(default_factory=set)
    """Attempts that saved on their own."""
    broken: str = ""
    """When set, nothing can be taken, for this reason."""
    processor: str = ""
    """What its checkpoints need of a processor."""
    restored: dict[spec.AttemptRef, str] = field(default_factory=dict)
    """Digest that each attempt was restored from."""

    def preflight(self, site: engine.Site) -> engine.Can | engine.Cannot:
        """Say whether there is a state to take."""
        if site.ref in self.state:
            return engine.Can()
        return engine.Cannot(reason=f"{site.ref} has no state", remedy="Put one into FakeEngine.state.")

    def needs(self) -> str:
        """Say what `processor` says."""
        return self.processor

    def saved(self, site: engine.Site) -> bool:
        """Whether the attempt stands in `unasked`."""
        return site.ref in self.unasked

    def take(
        self, site: engine.Site, open_sink: Callable[[int | None], store.Sink], request: spec.Request
    ) -> engine.Captured | engine.Failed:
        """Send the state as one file named "state"."""
        del request
        can = self.preflight(site)
        if isinstance(can, engine.Cannot) or self.broken or not site.alive():
            return engine.Failed(reason=self.broken or "the program has ended")
        try:
            try:
                taken, usage = self._send(site, open_sink(None))
            except engine.Unfit:
                taken, usage = self._send(site, open_sink(None))
        except errors.PerdureError as error:
            return engine.Failed(reason=str(error))
        self.unasked.discard(site.ref)
        return engine.Captured(taken=taken, usage=usage)

    def _send(self, site: engine.Site, sink: store.Sink) -> tuple[observed.Taken, store.Usage]:
        data = self.state[site.ref]
        sink.file(store.FileEntry(path="state", size=len(data)))
        sink.extent("state", 0, data)
        return sink.commit(site.step())

    def prepare_restore(self, image: store.Image, site: engine.Site) -> None:
        """Remember the digest, and write the files as a real engine does."""
        site.restore.mkdir(mode=0o700)
        image.export(str(site.restore))
        self.restored[site.ref] = image.digest
