"""The next moment at which time alone changes the plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.core import facts, record, retention, situation


def at(given: facts.Facts, records: Iterable[record.Record], sightings: Iterable[situation.Sighting]) -> float | None:
    """Return the POSIX time of that moment, or None when only an event can change anything."""
    moments = [*_declared(given), *_silences(given, sightings)]
    for run in records:
        if _waits(run):
            moments += _of_run(given, run)
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


def _waits(run: record.Record) -> bool:
    """Return whether a run has any moment of its own: most of many have none, and are not asked for them."""
    return run.phase is record.Phase.PENDING or run.pending is not None or retention.concerns(run)


def _of_run(given: facts.Facts, run: record.Record) -> Iterator[float]:
    if run.phase is record.Phase.PENDING:
        waits = run.not_before is not None and run.not_before > given.now
        yield run.not_before if waits and run.not_before else given.now + situation.lag_left(run, given.now, given.budgets)
    if run.pending is not None and run.pending.failed_at is not None:
        yield run.pending.failed_at + given.budgets.delay(run.pending.tries)
    if retention.concerns(run):
        yield from retention.moments(run)
