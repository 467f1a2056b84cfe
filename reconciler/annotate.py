"""What one pass writes to the ledger: records, notes on the applied revision, the published observation."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping

from reconciler import errors
from reconciler.contracts import ledger
from reconciler.core import codec, observed, plan, record, spec

PUBLISH_EVERY = 3600.0
"""Seconds after which the observation is published although nothing else is written."""

PUBLISH_AFTER = 10.0
"""Least seconds between two publications when something else is written anyway."""

PUBLISH_RATE = 32 << 10
"""Most bytes a second, on average, that publications add to the repository: ten thousand jobs publish once a minute."""


class Recorder:
    """Pushes what a pass has to record. What is not on the server has not happened."""

    def __init__(self, book: ledger.Ledger) -> None:
        self._ledger = book
        self._published_at: float | None = None
        self._unlisted: frozenset[str] = frozenset()
        """Stores that were published as not to be listed."""

    def record(
        self,
        snapshot: ledger.Snapshot,
        facts: plan.Facts,
        records: Mapping[str, record.Record],
        lines: tuple[record.Line, ...],
        notice: str,
    ) -> ledger.Snapshot | ledger.Conflict:
        """Append records and notes to `snapshot` and return the ledger after it; nothing to write is no append."""
        state = {"revision": facts.desired.revision, "notice": notice, "ledger": facts.ledger}
        wanted = change(facts.desired.revision, records, lines, state if state != snapshot.instance else None)
        if self._published_at is None:
            before = _before(snapshot.observed)
            self._published_at, self._unlisted = before.at, frozenset(before.stores)
        since = facts.now - self._published_at
        pause = max(PUBLISH_AFTER, len(snapshot.observed) / PUBLISH_RATE)
        news = not wanted.empty() or frozenset(unlisted(facts.world)) != self._unlisted
        if since >= PUBLISH_EVERY or since < 0 or (news and since >= pause):
            wanted = dataclasses.replace(wanted, observed=published(facts.world))
        if wanted.empty():
            return snapshot
        answer = self._ledger.append(snapshot, wanted)
        if isinstance(answer, ledger.Conflict):
            return answer
        if wanted.observed is not None:
            self._published_at = facts.now
            self._unlisted = frozenset(unlisted(facts.world))
        return answer.snapshot


def change(
    revision: str,
    records: Mapping[str, record.Record],
    lines: tuple[record.Line, ...],
    instance: Mapping[str, str] | None = None,
) -> ledger.Change:
    """Return the append for some records and transitions; a revision that is not known yet takes no note."""
    notes = {revision: lines} if lines and revision else {}
    first = lines[0].say if lines else "records"
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return ledger.Change(
        records=tuple(records[run] for run in sorted(records)),
        notes=notes,
        instance=instance,
        message=f"perdure: {first}{more}",
    )


IN_RECORDS = frozenset({"spec", "checkpoints"})
"""Members of an item that the ledger's records hold anyway."""


def published(world: observed.World, without: frozenset[str] = IN_RECORDS) -> bytes:
    """Return `observed.json`: the world, less these members of its items and stores, and those that say nothing."""
    targets = {
        name: dataclasses.replace(
            target, items={}, objects={}, hosts={host: _slim(view) for host, view in target.hosts.items()}
        )
        for name, target in world.targets.items()
    }
    shown = [each for each in dataclasses.fields(observed.Item) if each.name not in without]
    names, defaults = [each.name for each in shown], [each.default for each in shown]
    values = operator.attrgetter(*names)

    def told(item: observed.Item) -> dict[str, object]:
        """Return the members that differ from their default: of ten thousand attempts most members are empty."""
        every = zip(names, values(item), defaults, strict=True)
        return {name: value for name, value, default in every if value is not default and value != default}

    return codec.encode(
        {
            "v": 1,
            "at": world.at,
            "targets": targets,
            "items": {name: [told(item) for item in target.items.values()] for name, target in world.targets.items()},
            "objects": {name: list(target.objects.items()) for name, target in world.targets.items() if target.objects},
            "unheard": [[target, host, silence] for (target, host), silence in world.unheard.items()],
            "stores": unlisted(world) if "checkpoints" in without else world.stores,
        }
    )


def unlisted(world: observed.World) -> dict[str, observed.StoreView]:
    """Return the stores that cannot be listed, and why: all that a reader of the records does not know of stores."""
    return {name: view for name, view in world.stores.items() if not view.known}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    at: float = 0.0
    stores: Mapping[str, observed.StoreView] = dataclasses.field(default_factory=dict)


def _before(data: bytes) -> _Before:
    """Return what decides when to publish next; of time 0 where nothing that can be read is published."""
    try:
        return codec.decode(data, _Before) if data else _Before()
    except errors.Damaged:
        return _Before()


def _slim(view: observed.HostView) -> observed.HostView:
    return dataclasses.replace(view, state=dataclasses.replace(view.state, items=()))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What `published` writes. People see the name when a file is none."""

    at: float
    targets: Mapping[str, observed.TargetView]
    items: Mapping[str, tuple[observed.Item, ...]]
    objects: Mapping[str, tuple[tuple[spec.AttemptRef, str], ...]] = dataclasses.field(default_factory=dict)
    unheard: tuple[tuple[str, str, observed.Silence], ...] = ()
    stores: Mapping[str, observed.StoreView] = dataclasses.field(default_factory=dict)


def read(data: bytes) -> observed.World:
    """Return the world that `published` wrote. Raises `errors.Damaged`."""
    found = codec.decode(data, Observation)
    targets = {
        name: dataclasses.replace(
            target, items={item.ref: item for item in found.items.get(name, ())}, objects=dict(found.objects.get(name, ()))
        )
        for name, target in found.targets.items()
    }
    unheard = {(target, host): silence for target, host, silence in found.unheard}
    return observed.World(at=found.at, targets=targets, stores=found.stores, unheard=unheard)
