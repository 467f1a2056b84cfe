"""Which of the runs that may begin an attempt do so in this pass, and where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reconciler.core import facts, hazard, intend, model, place, record, ruling, spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How many attempts may still begin, and when that number may grow."""

    left: int
    opens_at: float | None


def window(given: facts.Facts, records: Iterable[record.Record]) -> Window:
    """Return what the ledger leaves of the cap on launches. Attempts dated after now, by another clock, do not count."""
    since = given.now - given.budgets.launch_window
    recent = [attempt.intended_at for run in records if (attempt := run.newest) and since < attempt.intended_at <= given.now]
    opens_at = min(recent) + given.budgets.launch_window if recent else None
    return Window(left=max(given.budgets.launches - len(recent), 0), opens_at=opens_at)


def place_all(
    given: facts.Facts,
    records: Iterable[record.Record],
    waiting: list[tuple[ruling.Case, ruling.Decision]],
    left: int,
) -> Iterator[intend.Intended]:
    """Place the runs that may begin an attempt: higher priority first, then the one planned first."""
    if not waiting:
        return
    records = tuple(records)
    rooms = place.rooms(given.world, records)
    known = hazard.measure(records, given.now)
    waiting.sort(key=lambda pair: (-pair[0].manifest.priority, pair[0].run.created_at, pair[0].run.key))
    for case, decision in waiting:
        job = case.manifest
        target = given.world.targets.get(job.target)
        if target is None or not target.known:
            why = target.error if target else "it is not declared or has not been observed"
            yield intend.plain(case, ruling.wait("TargetUnknown", f"target {job.target} cannot be listed now: {why}"))
            continue
        if left <= 0:
            within = f"{given.budgets.launches} attempts may begin within {given.budgets.launch_window:g} s"
            yield intend.plain(case, ruling.wait("LaunchLimit", f"{within}, and have begun"))
            continue
        host = rooms.choose(job, decision.restore.processor if decision.restore else "")
        if isinstance(host, place.Refusal):
            yield intend.plain(case, _wait(host))
            continue
        left -= 1
        state = target.hosts[host].state
        market = hazard.market(state)
        yield intend.launch(
            case,
            decision,
            intend.Place(
                host=host,
                agent=state.agent,
                boot=state.boot if state.agent else "",
                creator=_creator(given.desired, job),
                hazard=known.get(market) or hazard.estimate(market, losses=0, seconds=0.0),
            ),
        )


def _wait(refused: place.Refusal) -> ruling.Decision:
    if refused.processor:
        return ruling.wait("WaitingForProcessor", refused.text)
    return ruling.wait("WaitingForCapacity", refused.text)


def _creator(desired: model.Desired, job: model.Job) -> spec.Creator:
    """Return who creates the containers of a Job: what its target is."""
    declared = desired.targets.get(job.target)
    return spec.Creator.ENGINE if declared is not None and declared.kind == "swarm" else spec.Creator.AGENT
