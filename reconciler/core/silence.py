"""For how long, and how often in a row, hosts were not heard: as far as that was their own doing.

A fold over the observations of one process. Times are seconds of a clock that never jumps: else an hour set forward would spend
the time budget of every host at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.core import observed, record, situation, spec

Host = tuple[str, str]
"""Target and host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """A moment, and how many observations there were since then."""

    at: float
    tries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """For how long, and in how many observations, nobody of a target was heard: no evidence against any of its hosts."""

    seconds: float = 0.0
    tries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Silences:
    """What is remembered from one observation to the next."""

    awaited: Mapping[Host, Since] = field(default_factory=dict)
    """Hosts of live attempts that have not spoken yet, or whose agent cannot tell about these attempts."""
    deaf: Mapping[str, Since] = field(default_factory=dict)
    """Targets of which nobody is heard."""
    excuses: Mapping[Host, Span] = field(default_factory=dict)
    """What is not counted against hosts that are silent still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """One observation, counted."""

    silences: Silences
    views: Mapping[str, observed.TargetView]
    """Targets by name, with the silence of each host less what was not its own."""
    unheard: Mapping[Host, observed.Silence]


def count(
    before: Silences, views: Mapping[str, observed.TargetView], runs: Iterable[record.Record], now: float, monotonic: float
) -> Counted:
    """Return an observation of targets with its silences, at POSIX time `now` and `monotonic` seconds."""
    deaf, over = _listened(before.deaf, views, monotonic)
    excuses = dict(before.excuses)
    heard = {name for name, view in views.items() if view.known and name not in deaf}
    recounted = {
        name: _recounted(view, over.get(name, Span()), excuses, now) if name in heard else view for name, view in views.items()
    }
    kept = {host: _excused(each, over.get(host[0], Span())) for host, each in before.awaited.items()}
    awaited = _awaited(runs, recounted, kept, monotonic)
    return Counted(
        silences=Silences(awaited=awaited, deaf=deaf, excuses=excuses),
        views=recounted,
        unheard={host: observed.Silence(since=now - (monotonic - each.at), tries=each.tries) for host, each in awaited.items()},
    )


def _listened(
    before: Mapping[str, Since], views: Mapping[str, observed.TargetView], monotonic: float
) -> tuple[Mapping[str, Since], Mapping[str, Span]]:
    """Return of which targets nobody is heard, and of which that has been so until now, and for how long."""
    deaf, over = dict(before), dict[str, Span]()
    for name, view in views.items():
        if not view.known:
            continue
        if all(each.silent_since is not None for each in view.hosts.values()):
            since = deaf.get(name, Since(at=monotonic))
            deaf[name] = Since(at=since.at, tries=since.tries + 1)
        elif name in deaf:
            since = deaf.pop(name)
            over[name] = Span(seconds=monotonic - since.at, tries=since.tries)
    return deaf, over


def _recounted(view: observed.TargetView, over: Span, excuses: dict[Host, Span], now: float) -> observed.TargetView:
    """Leave out of each host's silence what was not its own, and keep that in `excuses` for as long as it is silent.

    What kept us from hearing anybody proves nothing against those who dial in a little later than the first.
    """
    hosts = dict(view.hosts)
    for host, each in view.hosts.items():
        before = excuses.pop((view.name, host), Span())
        if each.silent_since is None:
            continue
        excuse = Span(seconds=before.seconds + over.seconds, tries=before.tries + over.tries)
        if excuse.tries:
            excuses[view.name, host] = excuse
            since = min(each.silent_since + excuse.seconds, now)
            hosts[host] = dataclasses.replace(each, silent_since=since, silent_tries=max(each.silent_tries - excuse.tries, 1))
    return dataclasses.replace(view, hosts=hosts)


def _excused(awaited: Since, over: Span) -> Since:
    return Since(at=awaited.at + over.seconds, tries=max(awaited.tries - over.tries, 0))


def _awaited(
    runs: Iterable[record.Record], views: Mapping[str, observed.TargetView], before: Mapping[Host, Since], monotonic: float
) -> Mapping[Host, Since]:
    """Count how long and how often hosts of live attempts were awaited that have not spoken since this process began, or whose
    agent cannot tell about these attempts."""
    counted: dict[Host, Since] = {}
    for run in runs:
        attempt = run.live
        if attempt is None or not attempt.host or (attempt.target, attempt.host) in counted:
            continue
        view = views.get(attempt.target)
        if view is None or not view.known:
            continue
        host = view.hosts.get(attempt.host)
        if host is not None and (not situation.other_agent(attempt, host.state) or _listed(run.run, attempt, view)):
            continue
        since = before.get((attempt.target, attempt.host), Since(at=monotonic))
        counted[attempt.target, attempt.host] = Since(at=since.at, tries=since.tries + 1)
    return counted


def _listed(run: str, attempt: record.Attempt, view: observed.TargetView) -> bool:
    return spec.AttemptRef(run=run, attempt=attempt.number) in view.items
