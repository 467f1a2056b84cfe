"""What stood still in the last pass: the next one takes it over where nothing that decided it has moved.

Most runs of a large instance run or have finished. Each of their actions follows from three values: the record, the manifest,
and, for a live attempt, its item. Where record and manifest are the very same objects, and the item says the same but for its
progress, so does the action. (A host that is heard, and stays, adds nothing.)
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.core import action, facts, model, observed, record, rules_live, ruling, situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """One run that stood still, and what decided that."""

    run: record.Record
    job: model.Job
    item: observed.Item | None
    """What its host said of the live attempt; None for a run that is over."""
    act: action.Action


Resting = Mapping[str, Rest]
"""By run."""

REASONS = ("Running", "Finished", "Failed")
"""Of the actions that only those three values decide."""

ONLY_TOLD = frozenset({"progress", "first_step", "cadence"})
"""Members of an item that nothing is decided by: they move with every word of a host."""

_deciding = operator.attrgetter(*(each.name for each in dataclasses.fields(observed.Item) if each.name not in ONLY_TOLD))


def again(rest: Rest, run: record.Record, given: facts.Facts, wanted: facts.Wanted) -> Rest | None:
    """Return the run as at rest in this pass too, or None where something that decides its action has moved."""
    asked = wanted.by_run.get(run.run)
    if rest.run is not run or asked is None or asked[0] is not rest.job:
        return None
    if rest.item is None:
        return rest
    target = given.world.targets.get(rest.act.target)
    view = target.hosts.get(rest.act.host) if target is not None and target.known else None
    if target is None or view is None or view.silent_since is not None or view.state.draining or view.state.notice is not None:
        return None
    item = target.items.get(rest.item.ref)
    if item is rest.item:
        return rest
    if item is None or _deciding(item) != _deciding(rest.item):
        return None
    return Rest(run=run, job=rest.job, item=item, act=_retold(rest.act, rules_live.progress(run, item)))


def rest(case: ruling.Case, act: action.Action) -> Rest | None:
    """Return the run as one at rest, or None when something else may change its action: time, requests, other runs."""
    run, job = case.run, case.job
    if act.verb is not action.Verb.KEEP or act.reason not in REASONS or job is None or job.state is not model.JobState.RUNNING:
        return None
    if case.frozen or case.unsure or case.requests or case.followed or run.served or run.pending is not None:
        return None
    if run.live is None:
        return Rest(run=run, job=job, item=None, act=act)
    if not isinstance(case.sighting, situation.Here) or case.sighting.view is None:
        return None
    return Rest(run=run, job=job, item=case.sighting.item, act=act)


def _retold(act: action.Action, sentence: str) -> action.Action:
    """Return the action of a run that is kept, which has these members only; `replace` would take twice as long."""
    return action.Action(
        verb=act.verb,
        effect=act.effect,
        tenant=act.tenant,
        job=act.job,
        replica=act.replica,
        run=act.run,
        attempt=act.attempt,
        target=act.target,
        host=act.host,
        reason=act.reason,
        sentence=sentence,
    )


def usable(before: Resting, given: facts.Facts, frozen: Mapping[str, str]) -> Resting:
    """Return what of the pass before may be taken over at all: nothing while manifests are frozen or ask for checkpoints."""
    asked = {(manifest.tenant, manifest.job) for manifest in given.desired.checkpoints.values()}
    if frozen:
        return {}
    return {name: each for name, each in before.items() if (each.run.tenant, each.run.job) not in asked} if asked else before
