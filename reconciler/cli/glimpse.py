"""What the loop of this machine sees, in a file of its data directory, so that commands beside it need no server.

The ledger's published observation is as old as the last write; this one is a second old. It is replaced by rename and not
flushed: a file that a power cut takes is written again by the next pass.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from pathlib import Path

from reconciler import annotate, errors
from reconciler.contracts import link
from reconciler.core import observed
from reconciler.seams import durable

NAME = "observed.json"

EVERY = 1.0
"""Least seconds between two writes."""

SHARE = 20
"""A write is followed by a pause of this many times its own duration: ten thousand jobs must not keep a core busy."""

NOT_SHOWN = frozenset({"spec"})
"""Members of items that no command shows. Checkpoints are: a host may tell of one before the ledger does."""

OF_TARGETS = ("labels", "cpu", "memory", "draining", "conditions")
"""Members of a host's state to which its target adds what it knows: a Swarm's node, a Pool."""


class Glimpse:
    """Writes the file, seldom enough."""

    def __init__(self, data: Path, hosts: link.AgentLink) -> None:
        self._path = data / NAME
        self._hosts = hosts
        self._world: observed.World | None = None
        self._due = 0.0
        self._written: object = None

    def of(self, world: observed.World | None) -> None:
        """Take the observation of a pass."""
        if world is not None:
            self._world = world
            self._written = None

    def refresh(self, now: float) -> None:
        """Write what is known now, unless it was written a moment ago or nothing has changed."""
        began = time.monotonic()
        if self._world is None or began < self._due:
            return
        heard = self._hosts.hosts()
        marks = {name: (each.state.session, each.state.generation) for name, each in heard.items()}
        if marks == self._written:
            return
        try:
            self._write(annotate.published(dataclasses.replace(newer(self._world, heard), at=now), NOT_SHOWN))
        except OSError:
            return  # a full disk: the loop has more important things to say about that
        self._written = marks
        self._due = began + max(EVERY, SHARE * (time.monotonic() - began))

    def _write(self, data: bytes) -> None:
        aside = self._path.with_name(f"{durable.PARTIAL}{NAME}")
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(data)
        os.replace(aside, self._path)


def newer(world: observed.World, heard: Mapping[str, link.Heard]) -> observed.World:
    """Return `world` with what its hosts have said otherwise since. What their targets know besides stays."""
    targets = {}
    for name, target in world.targets.items():
        items, hosts = dict(target.items), dict(target.hosts)
        for host, view in target.hosts.items():
            if host not in heard:
                continue
            before = {item.ref: item for item in view.state.items}
            now = {item.ref: item for item in heard[host].state.items}
            for ref in before.keys() & items.keys():
                if items[ref].host != host:
                    continue
                if ref in now:
                    items[ref] = _since(items[ref], before[ref], now[ref])
                else:
                    del items[ref]
            own = {member: getattr(view.state, member) for member in OF_TARGETS}
            hosts[host] = dataclasses.replace(view, state=dataclasses.replace(heard[host].state, **own))
        targets[name] = dataclasses.replace(target, hosts=hosts, items=items)
    return dataclasses.replace(world, targets=targets)


def _since(shown: observed.Item, before: observed.Item, now: observed.Item) -> observed.Item:
    """Return what is shown of an attempt with the members that its host says otherwise now."""
    members = [each.name for each in dataclasses.fields(observed.Item)]
    changed = {name: getattr(now, name) for name in members if getattr(now, name) != getattr(before, name)}
    return dataclasses.replace(shown, **changed)


def read(data: Path) -> observed.World | None:
    """Return what the loop of this data directory saw last; None when there is nothing that can be read."""
    try:
        found = durable.read(data / NAME)
        return annotate.read(found) if found else None
    except errors.PerdureError:
        return None
