"""The next moment at which time alone changes the plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.core import facts, record, retention, situation

LOOK = 10.0
"""Seconds between looks at a Swarm while something is awaited of it: unlike agents it rings no bell."""


def at(
    given: facts.Facts,
    records: Iterable[record.Record],
    sightings: Iterable[situation.Sighting],
    concerned: Iterable[retention.Concerned],
) -> float | None:
    """Return the POSIX time of that moment, or None when only an event can change anything."""
    runs = tuple(records)
    moments = [*_declared(given), *_silences(given, sightings), *_engines(given, runs)]
    for run in runs:
        if run.phase is record.Phase.PENDING or run.pending is not None:
            moments += _of_run(given, run)
    for run, kept in concerned:
        moments += retention.moments(run, kept)
    return min((moment for moment in moments if moment > given.now), default=None)


def _declared(given: facts.Facts) -> Iterator[float]:
    for job in given.desired.jobs.values():
        if job.suspend.until is not None:
            yield job.suspend.until


def _silences(given: facts.Facts, sightings: Iterable[situation.Sighting]) -> Iterator[float]:
    for sighting in sightings:
        if isinstance(sighting, situation.Unknown) and sighting.silence is not None:
            moment = situation.next_look(sighting.silence, given.now, given.budgets)
            if moment is not None:
                yield moment


def _engines(given: facts.Facts, records: Iterable[record.Record]) -> Iterator[float]:
    """Yield a moment soon while anything is awaited of a Swarm: that it answers, has room, or creates a container."""
    swarms = {name for name, declared in given.desired.targets.items() if declared.kind == "swarm"}
    if not swarms:
        return
    unknown = {name for name in swarms if name not in given.world.targets or not given.world.targets[name].known}
    for run in records:
        attempt = run.live
        begins = attempt is not None and attempt.target in swarms and attempt.started_at is None
        unseen = attempt is not None and attempt.target in unknown
        if begins or unseen or (run.phase is record.Phase.PENDING and run.applied.target in swarms):
            yield given.now + LOOK
            return


def _of_run(given: facts.Facts, run: record.Record) -> Iterator[float]:
    if run.phase is record.Phase.PENDING:
        waits = run.not_before is not None and run.not_before > given.now
        yield run.not_before if waits and run.not_before else given.now + situation.lag_left(run, given.now, given.budgets)
    if run.pending is not None and run.pending.failed_at is not None:
        yield run.pending.failed_at + given.budgets.delay(run.pending.tries)
