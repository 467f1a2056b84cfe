"""What one pass knows about one run, gathered so that each rule reads like a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core import model, observed, record, spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """Limits the loop's configuration sets (seconds unless said otherwise)."""

    lost_after: float = 300.0
    lost_tries: int = 5
    backoff: float = 10.0
    backoff_cap: float = 900.0
    launches: int = 100

    def delay(self, times: int) -> float:
        """Return the seconds to wait after the `times`-th failure in a row: doubling, capped."""
        return float(min(self.backoff_cap, self.backoff * 2 ** min(max(times - 1, 0), 32)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """The host lists the attempt."""

    item: observed.Item
    view: observed.HostView | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """The host is heard and does not list it. `proven`: the state is newer than one in which it was listed."""

    proven: bool
    view: observed.HostView | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Nothing can be said now. `reason` is a row of `reasons.TABLE`; `silence` counts where a host is not heard."""

    reason: str
    detail: str
    silence: observed.Silence | None = None


Sighting = Here | Absent | Unknown


def locate(run: str, attempt: record.Attempt, world: observed.World) -> Sighting:
    """Return what the observation says about one attempt of the ledger."""
    target = world.targets.get(attempt.target)
    if target is None:
        return Unknown(reason="TargetUndeclared", detail=f"target {attempt.target} is not declared any more")
    if not target.known:
        return Unknown(reason="TargetUnknown", detail=f"target {attempt.target} could not be listed: {target.error}")
    view = target.hosts.get(attempt.host)
    item = target.items.get(spec.AttemptRef(run=run, attempt=attempt.number))
    if item is not None and item.state is observed.ItemState.ENDED:
        return Here(item=item, view=view)
    if view is None and attempt.host:
        silence = world.unheard.get((attempt.target, attempt.host))
        return Unknown(reason="HostSilent", detail=f"host {attempt.host} has not been heard since this start", silence=silence)
    if view is not None and view.silent_since is not None:
        return Unknown(
            reason="HostSilent",
            detail=f"host {attempt.host} is not heard",
            silence=observed.Silence(since=view.silent_since, tries=view.silent_tries),
        )
    if item is not None:
        return Here(item=item, view=view)
    newer = view is None or (view.state.session, view.state.generation) > attempt.seen
    return Absent(proven=newer, view=view)


def spent(silence: observed.Silence | None, now: float, budgets: Budgets) -> bool:
    """Return whether both budgets of a silent host are used up. A clock that jumped back spends nothing."""
    return silence is not None and now - silence.since >= budgets.lost_after and silence.tries >= budgets.lost_tries


def suspended(job: model.Job, now: float) -> bool:
    """Return whether the Job is to be suspended now: `suspend.until` passing needs no commit."""
    return job.state is model.JobState.SUSPENDED and (job.suspend.until is None or now < job.suspend.until)
