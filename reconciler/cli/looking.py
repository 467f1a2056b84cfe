"""Looking: the repository's refs, the ledger's observation and the loop's own. No server but the repository's is asked."""

from __future__ import annotations

from reconciler import config, desire
from reconciler.cli import complete, compose, glimpse, selection, view
from reconciler.contracts.source import Source
from reconciler.core import record
from reconciler.load import cache
from reconciler.seams import clock
from reconciler.seams.git.mirror import Mirror


class Looker:
    """Looks as often as it is asked, each time at the cost of what has changed.

    In a clone it looks at what the clone comes from; with `review` it plans for the clone's own commits against that ledger.
    """

    def __init__(self, given: config.Settings, *, review: bool = False) -> None:
        self._settings = given
        self._clock = clock.System()
        self._data = compose.data(given)
        self._repository = compose.repository(compose.upstream(given), self._clock)
        self._source = compose.repository(given, self._clock).source if review else self._repository.source
        self.parsed = cache.Cache()
        """Manifests as they were parsed last, for whoever reads another revision."""
        self._desires = desire.Desires(self._source, compose.loader(self.parsed))

    @property
    def local(self) -> bool:
        """Whether a look asks nobody but this machine."""
        return self._repository.local

    @property
    def mirror(self) -> Mirror:
        """Our copy of the repository."""
        return self._repository.mirror

    @property
    def source(self) -> Source:
        """The repository as a source."""
        return self._source

    def look(self) -> view.View:
        """Return what is seen now, planned. Raises `errors.PerdureError` when the ledger cannot be read."""
        snapshot = self._repository.ledger.read()
        wish = self._desires.wish(snapshot.instance.get("revision", ""))
        world = view.published(snapshot)
        nearer = glimpse.read(self._data)
        seen = view.View(
            instance=self._settings.instance,
            now=self._clock.now(),
            desired=wish.desired,
            notice=wish.notice,
            snapshot=snapshot,
            world=nearer if nearer is not None and nearer.at > world.at else world,
        )
        complete.remember(self._data, (selection.text(each.key) for each in seen.subjects()))
        return view.planned(seen, compose.budgets(self._settings.loop))

    def lines(self) -> tuple[record.Line, ...]:
        """Return every line of every note."""
        ledger = self._repository.ledger
        return tuple(line for noted in ledger.noted() for line in ledger.notes(noted))


def look(given: config.Settings, *, review: bool = False) -> view.View:
    """Look once."""
    return Looker(given, review=review).look()
