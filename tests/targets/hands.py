"""A clock that a test moves, and hosts of a `FakeLink` that do what decent agents do."""

from __future__ import annotations

import dataclasses

from reconciler.core import observed, spec
from reconciler.link import fake


class Clock:
    """Two clocks, moved by hand and apart."""

    def __init__(self) -> None:
        self.wall = 1_000_000.0
        self.ticks = 50.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks

    def wait(self, seconds: float, until: object = None) -> bool:
        del until
        self.pass_(seconds)
        return False

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.ticks += seconds


class Host:
    """The agent's side of one host: journals the newest set, keeps attempts, reports."""

    def __init__(self, link: fake.FakeLink, name: str, **fields: object) -> None:
        self.link = link
        self.state = observed.HostState(host=name, session=1, boot="boot-1", **fields)  # type: ignore[arg-type]

    def report(self, *items: observed.Item, **fields: object) -> None:
        """Say what stands; `items`, if any, replace those it has."""
        changes = {**({"items": items} if items else {}), **fields}
        self.state = dataclasses.replace(self.state, generation=self.state.generation + 1, **changes)  # type: ignore[arg-type]
        self.link.hear(self.state)

    def obey(self) -> None:
        """Journal the newest set, act on it at once, and report."""
        given = self.link.newest(self.state.host)
        if given is None or given.generation <= self.state.accepted:
            self.report()
            return
        items = {item.ref: item for item in self.state.items}
        for assignment in given.items:
            ref = assignment.spec.ref
            if assignment.want is spec.Want.REMOVE:
                items.pop(ref, None)
                continue
            before = items.get(ref) or observed.Item(ref=ref, state=observed.ItemState.RUNNING, host=self.state.host)
            stopped = assignment.want is spec.Want.STOP
            state = observed.ItemState.ENDED if stopped else before.state
            items[ref] = dataclasses.replace(before, spec=assignment.spec, want=assignment.want, state=state)
        self.state = dataclasses.replace(self.state, items=tuple(items.values()), accepted=given.generation)
        self.report()

    def leave(self) -> None:
        self.link.disconnect(self.state.host)

    def forget(self) -> None:
        """Lose journal and attempts, and start again."""
        self.state = dataclasses.replace(self.state, session=self.state.session + 1, generation=0, accepted=0, items=())
