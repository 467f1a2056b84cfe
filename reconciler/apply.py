"""Carry out a plan whose intents are in the ledger: idempotent calls, bounded per target, each object with its own back-off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from reconciler import errors, registry
from reconciler.contracts import store, target
from reconciler.core import action, model, record, retention, settle, situation, spec


@dataclass(frozen=True, slots=True, kw_only=True)
class _Delay:
    times: int
    until: float


class Applier:
    """Applies actions one after the other. Remembers only which objects failed lately."""

    def __init__(self, adapters: registry.Registry, budgets: situation.Budgets) -> None:
        self._registry = adapters
        self._budgets = budgets
        self._delays: dict[tuple[str, int | None, action.Verb], _Delay] = {}

    def carry_out(
        self, plan: action.Plan, records: Mapping[str, record.Record], desired: model.Desired, now: float
    ) -> Iterator[tuple[action.Action, settle.Outcome]]:
        """Yield each acting action with its outcome. Exceptions of the outside become UNKNOWN here, and only here.

        `records` is the ledger as it stands on the server, with the plan's intents.
        """
        targets = self._registry.targets(desired.targets)
        self._delays = {key: each for key, each in self._delays.items() if now < each.until + self._budgets.backoff_cap}
        for act in plan.actions:
            if not act.acts:
                continue
            key = (act.run, act.attempt, act.verb)
            delay = self._delays.get(key)
            if delay is not None and now < delay.until <= now + self._budgets.backoff_cap:
                yield act, settle.Outcome(result=settle.Result.SKIPPED, detail="it failed lately and is tried again later")
                continue
            outcome = self._objection(act, records.get(act.run), targets) or self._one(act, targets, desired, now)
            if outcome.result in (settle.Result.UNKNOWN, settle.Result.REFUSED):
                times = delay.times + 1 if delay else 1
                self._delays[key] = _Delay(times=times, until=now + self._budgets.delay(times))
            else:
                self._delays.pop(key, None)
            yield act, outcome

    def _objection(
        self, act: action.Action, run: record.Record | None, targets: Mapping[str, target.Target]
    ) -> settle.Outcome | None:
        """Return why an attempt cannot begin now: its target lacks the engine, or the attempt before is still seen running."""
        adapter = targets.get(act.target)
        if act.verb not in (action.Verb.START, action.Verb.RESTORE) or adapter is None or run is None:
            return None
        engine = run.applied.checkpoint.engine
        if engine not in adapter.capabilities().engines:
            detail = f"target {act.target} has no checkpoint engine {engine.value!r}"
            return settle.Outcome(result=settle.Result.REFUSED, detail=detail)
        before = run.attempts[-2] if len(run.attempts) > 1 else None
        place = targets.get(before.target) if before is not None else None
        if before is None or place is None:
            return None
        ref = spec.AttemptRef(run=run.run, attempt=before.number)
        if place.confirm_gone(ref, before.host) is target.Presence.PRESENT:
            detail = f"attempt {before.number} still runs on {before.host}"
            return settle.Outcome(result=settle.Result.UNKNOWN, detail=detail)
        return None

    def _one(
        self, act: action.Action, targets: Mapping[str, target.Target], desired: model.Desired, now: float
    ) -> settle.Outcome:
        try:
            if act.verb is action.Verb.PRUNE:
                return self._prune(act, desired, now)
            adapter = targets.get(act.target)
            if adapter is None:
                return settle.Outcome(result=settle.Result.SKIPPED, detail=f"target {act.target} is not declared")
            if act.verb is action.Verb.REMOVE and act.attempt is not None:
                return adapter.delete(spec.AttemptRef(run=act.run, attempt=act.attempt), act.host)
            if act.assignment is not None:
                return adapter.apply(act.assignment)
        except (errors.PerdureError, OSError) as error:
            return settle.Outcome(result=settle.Result.UNKNOWN, detail=str(error))
        return settle.Outcome(result=settle.Result.SKIPPED, detail="nothing to do")

    def _prune(self, act: action.Action, desired: model.Desired, now: float) -> settle.Outcome:
        declared = desired.stores.get(act.store)
        if declared is None:
            return settle.Outcome(result=settle.Result.SKIPPED, detail=f"store {act.store} is not declared")
        order = store.Prune(run=act.run, digests=act.digests, keep=act.keep, reason=act.sentence, grace=retention.GRACE)
        adapter = self._registry.store(declared)
        deleted = adapter.prune(order, now)
        if deleted:
            adapter.sweep(now, (act.run,))  # also what a deletion left that was killed after the last manifest was gone
        result = settle.Result.DELETED if deleted else settle.Result.CHANGED
        return settle.Outcome(result=result, digests=tuple(deleted))
