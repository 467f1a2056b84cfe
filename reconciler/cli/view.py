"""What a looking command sees: the repository's refs, the newest observation at hand, and the plan that follows from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler import annotate, errors
from reconciler.cli import selection
from reconciler.contracts import ledger
from reconciler.core import action, facts, identity, model, observed, plan, record, situation, spec

ASIDE = frozenset({"Recorded", "Outdated", "Retention", "Unclaimed"})
"""Reasons of actions that are about what a run has left behind, not about the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything at one moment, read without any server but the repository's."""

    instance: str
    now: float
    desired: model.Desired | None
    """None: nothing can be read, and only the ledger speaks."""
    notice: str = ""
    """Why the repository could not be read again."""
    snapshot: ledger.Snapshot
    world: observed.World
    plan: action.Plan | None = None
    sayings: Mapping[str, action.Action] = field(default_factory=dict)
    """By run: the action of the plan that is about the run itself."""
    budgets: situation.Budgets = field(default_factory=situation.Budgets)

    @property
    def age(self) -> float | None:
        """Seconds since the observation; None: there never was one."""
        return max(0.0, self.now - self.world.at) if self.world.at else None

    def subjects(self) -> tuple[selection.Subject, ...]:
        """Return every replica of every Job."""
        return selection.subjects(self.instance, self.desired, self.snapshot.records)

    def said(self, run: str) -> action.Action | None:
        """Return what the plan says about a run itself."""
        return self.sayings.get(run)

    def item(self, run: record.Record) -> observed.Item | None:
        """Return what is seen of a run's newest attempt."""
        newest = run.newest
        target = self.world.targets.get(newest.target) if newest else None
        if newest is None or target is None:
            return None
        return target.items.get(spec.AttemptRef(run=run.run, attempt=newest.number))


def planned(view: View, budgets: situation.Budgets) -> View:
    """Return the view with its plan, where there is anything desired to plan for."""
    if view.desired is None:
        return view
    world = caught_up(view.world, view.snapshot.records.values())
    world = dataclasses.replace(world, stores=stores(view.snapshot.records.values(), view.world))
    given = facts.Facts(
        instance=view.instance,
        desired=view.desired,
        records=view.snapshot.records,
        world=world,
        now=view.now,
        budgets=budgets,
        ledger=identity.ledger(view.snapshot.instance.get("ledger", ""), view.snapshot.head, view.desired.revision, view.now),
    )
    computed = plan.compute(given)
    sayings = {act.run: act for act in computed.actions if act.reason not in ASIDE}
    return dataclasses.replace(view, plan=computed, sayings=sayings, budgets=budgets)


def caught_up(world: observed.World, runs: Iterable[record.Record]) -> observed.World:
    """Return the observation with the attempts that the ledger saw started after it was made.

    The loop publishes less often than it records: a plan for a reader must not call such an attempt unknown.
    """
    targets = dict(world.targets)
    for run in runs:
        attempt = run.live
        target = targets.get(attempt.target) if attempt is not None else None
        if attempt is None or attempt.started_at is None or target is None or not target.known:
            continue
        ref = spec.AttemptRef(run=run.run, attempt=attempt.number)
        known = target.hosts.get(attempt.host)
        if ref in target.items or (known is not None and _moment(known) > attempt.seen):
            continue
        session, generation = attempt.seen
        state = observed.HostState(host=attempt.host, session=session, generation=generation)
        host = known or observed.HostView(state=state, seen_at=attempt.started_at)
        item = observed.Item(ref=ref, state=observed.ItemState.RUNNING, host=attempt.host, started_at=attempt.started_at)
        hosts, items = {**target.hosts, attempt.host: host}, {**target.items, ref: item}
        targets[attempt.target] = dataclasses.replace(target, hosts=hosts, items=items)
    return dataclasses.replace(world, targets=targets)


def _moment(known: observed.HostView) -> tuple[int, int]:
    return (known.state.session, known.state.generation)


def stores(runs: Iterable[record.Record], world: observed.World) -> Mapping[str, observed.StoreView]:
    """Return the stores as the ledger knows them, corrected by what the loop saw of them: no store is asked for a plan.

    What the loop saw of a run counts while nothing newer is recorded: its view may be older than the ledger.
    """
    offered: dict[str, dict[str, tuple[observed.Taken, ...]]] = {}
    named: dict[str, dict[str, dict[str, observed.Taken]]] = {}
    views = dict(world.stores)
    for run in runs:
        if run.store is None:
            continue
        name, taken = run.store.name, tuple(saved.taken for saved in run.checkpoints)
        view = views.setdefault(name, observed.StoreView(name=name))
        if run.run not in view.checkpoints or any(each.taken_at >= world.at for each in taken):
            offered.setdefault(name, {})[run.run] = taken
            own = named.setdefault(name, {}).setdefault(run.tenant, {})
            own.update({each.digest: dataclasses.replace(each, attempt=0) for each in taken})  # the number is that run's
    return {
        name: dataclasses.replace(
            view,
            checkpoints={**view.checkpoints, **offered.get(name, {})},
            named={
                tenant: {**view.named.get(tenant, {}), **named.get(name, {}).get(tenant, {})}
                for tenant in {**view.named, **named.get(name, {})}
            },
        )
        if view.known
        else view
        for name, view in views.items()
    }


def published(snapshot: ledger.Snapshot) -> observed.World:
    """Return the observation that the ledger holds; an empty one of time 0 when there is none that can be read."""
    try:
        return annotate.read(snapshot.observed) if snapshot.observed else observed.World(at=0.0)
    except errors.Damaged:
        return observed.World(at=0.0)
