"""What one pass knows about one live attempt: seen, not there, or unknown. Unknown is a value and never means absent."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core import model, observed, record, spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """Limits the loop's configuration sets (seconds unless said otherwise)."""

    lost_after: float = 300.0
    lost_tries: int = 5
    """Observations in a row."""
    backoff: float = 10.0
    backoff_cap: float = 900.0
    launches: int = 100
    """Attempts that may begin within `launch_window`, counted in the ledger: a restart does not begin to count anew."""
    launch_window: float = 10.0

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
    """The host is heard and does not list it. An attempt that was seen started is only absent by a newer state than that."""

    view: observed.HostView | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Nothing can be said now. `reason` is a row of `reasons.TABLE`; `silence` counts where a host is not heard."""

    reason: str
    detail: str
    silence: observed.Silence | None = None
    last: observed.Item | None = None
    """What its host said last."""
    lasting: str = "was silent"
    """What the host did for as long as `silence` counts."""


Sighting = Here | Absent | Unknown


def locate(run: str, attempt: record.Attempt, world: observed.World) -> Sighting:
    """Return what the observation says about one attempt of the ledger."""
    target = world.targets.get(attempt.target)
    if target is None:
        return Unknown(reason="TargetUndeclared", detail=f"target {attempt.target} is not declared any more")
    if not target.known:
        return Unknown(reason="TargetUnknown", detail=f"target {attempt.target} could not be listed: {target.error}")
    view = target.hosts.get(attempt.host)
    item = told(run, attempt, target)
    if item is not None and item.state is observed.ItemState.ENDED:
        return Here(item=item, view=view)
    silent = view is None or view.silent_since is not None
    if attempt.host and silent and all(each.silent_since is not None for each in target.hosts.values()):
        text = f"no host of target {attempt.target} is heard now: that may be our own fault, and proves nothing"
        return Unknown(reason="NobodyHeard", detail=text, last=item)
    if view is None and attempt.host:
        silence = world.unheard.get((attempt.target, attempt.host))
        text = f"host {attempt.host} has not been heard since this start"
        return Unknown(reason="HostSilent", detail=text, silence=silence, last=item)
    if view is not None and view.silent_since is not None:
        silence = observed.Silence(since=view.silent_since, tries=view.silent_tries)
        return Unknown(reason="HostSilent", detail=f"host {attempt.host} is not heard", silence=silence, last=item)
    if item is not None:
        return Here(item=item, view=view)
    if view is not None and other_agent(attempt, view.state):
        text = f"it may still run: host {attempt.host} has had an agent with other data than the one that it was given to"
        silence = world.unheard.get((attempt.target, attempt.host))
        return Unknown(reason="AgentReplaced", detail=text, silence=silence, lasting="has had an agent with other data")
    if attempt.started_at is not None and view is not None and (view.state.session, view.state.generation) <= attempt.seen:
        text = f"the newest state of host {attempt.host} is older than the one in which it was seen"
        return Unknown(reason="HostOutdated", detail=text)
    return Absent(view=view)


def told(run: str, attempt: record.Attempt, target: observed.TargetView) -> observed.Item | None:
    """Return what is said of an attempt by those who may: the host that it was given to, or one with the same agent's data.

    Any host can list what it likes, and say that it was made for it; one that lies is not to end the runs of the others.
    """
    ref = spec.AttemptRef(run=run, attempt=attempt.number)
    item = target.items.get(ref)
    if item is None or item.host == attempt.host or not attempt.host:
        return item
    view, speaker = target.hosts.get(attempt.host), target.hosts.get(item.host)
    own = next((each for each in view.state.items if each.ref == ref), None) if view is not None else None
    if own is not None and view is not None and view.silent_since is None:
        return own
    same = speaker is not None and speaker.state.agent == attempt.agent != ""
    return item if same else own


def running(run: str, attempt: record.Attempt, world: observed.World) -> bool:
    """Return whether `locate` finds it `Here` and not ended: the quick answer for most."""
    target = world.targets.get(attempt.target)
    item = told(run, attempt, target) if target is not None and target.known else None
    if target is None or item is None or item.state is observed.ItemState.ENDED:
        return False
    view = target.hosts.get(attempt.host)
    return view.silent_since is None if view is not None else not attempt.host


def other_agent(attempt: record.Attempt, state: observed.HostState) -> bool:
    """Whether a host's agent cannot tell what became of an attempt: another one has it, or its data was lost, in this boot."""
    told = bool(attempt.agent and state.agent)
    return told and attempt.agent != state.agent and attempt.boot == state.boot


def spent(silence: observed.Silence | None, now: float, budgets: Budgets) -> bool:
    """Return whether both budgets of a silent host are used up. A clock that jumped back spends nothing."""
    return silence is not None and now - silence.since >= budgets.lost_after and silence.tries >= budgets.lost_tries


def next_look(silence: observed.Silence, now: float, budgets: Budgets) -> float | None:
    """Return when a silent host is to be looked at again, so that its tries are spent by the time its time is; None: never."""
    if spent(silence, now, budgets):
        return None
    pace = budgets.lost_after / max(budgets.lost_tries, 1)
    left = silence.since + budgets.lost_after - now
    return now + (min(left, pace) if left > 0 else pace)


def lag_left(run: record.Record, now: float, budgets: Budgets) -> float:
    """Return for how many more seconds a store's listing may lag behind the run's newest attempt; at most 0: no more."""
    ended_at = run.newest.ended_at if run.newest else None
    left = ended_at + budgets.lost_after - now if ended_at is not None else 0.0
    return left if left <= budgets.lost_after else 0.0


def suspended(job: model.Job, now: float) -> bool:
    """Return whether the Job is to be suspended now: `suspend.until` passing needs no commit."""
    return job.state is model.JobState.SUSPENDED and (job.suspend.until is None or now < job.suspend.until)
