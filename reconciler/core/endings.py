"""What the end of an attempt makes of its run: over, another attempt, or a halt that somebody asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.core import failures, lineage, model, observed, record, situation, spec, transition

Absorbed = tuple[record.Record, tuple[record.Line, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What judging an end needs besides the run."""

    job: model.Job
    """The manifest whose policies hold now: as declared, else the one the attempt was started with."""
    now: float
    budgets: situation.Budgets


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """One row: what an attempt that we ended leaves behind, by the purpose it was ended for."""

    phase: record.Phase
    reason: str
    what: transition.What
    because: str = ""
    """Completes "… because" where the run goes on by itself."""


HALTS: Mapping[spec.Purpose, Halt] = {
    spec.Purpose.SUSPEND: Halt(phase=record.Phase.SUSPENDED, reason="Suspended", what="suspended"),
    spec.Purpose.STOP: Halt(phase=record.Phase.STOPPED, reason="Stopped", what="stopped"),
    spec.Purpose.DEMAND: Halt(phase=record.Phase.STOPPED, reason="Stopped", what="stopped"),
    spec.Purpose.MOVE: Halt(phase=record.Phase.PENDING, reason="Continuing", what="stopped", because="it moves"),
    spec.Purpose.UPDATE: Halt(
        phase=record.Phase.PENDING, reason="Continuing", what="stopped", because="its declaration changed"
    ),
}
"""Ends that a request asked for. Any other stop is the host's own: it goes away, which draws on `retries.preemption`."""


def with_newest(run: record.Record, attempt: record.Attempt) -> record.Record:
    """Return the run with its newest attempt replaced."""
    return dataclasses.replace(run, attempts=(*run.attempts[:-1], attempt))


def ended(run: record.Record, item: observed.Item, look: Look) -> Absorbed:
    """Return the run after its newest attempt has ended as `item` says; one without an account is of unknown outcome."""
    exit = item.exit or observed.Exit(kind=observed.ExitKind.UNKNOWN)
    ended_at = item.ended_at if item.ended_at is not None else look.now
    if exit.stopped:
        return _halted(run, exit, ended_at, look)
    if exit.kind is observed.ExitKind.EXITED and exit.code == 0:
        return _finished(run, exit, ended_at, look.now)
    row = failures.classify(exit)
    run = _close(run, record.Ending.FAILED, exit, ended_at)
    run = with_newest(run, dataclasses.replace(run.attempts[-1], failure=row.name, detail=row.tell(exit)))
    if exit.damaged:
        saved = tuple(
            dataclasses.replace(each, damaged=True) if each.taken.digest == exit.damaged else each for each in run.checkpoints
        )
        run = dataclasses.replace(run, checkpoints=saved)
    run = _counted(run, row.fault, look)
    text = f"Attempt {run.attempts[-1].number} of {transition.name(run)} {row.tell(exit)}; {_next(run, row.fault, look)}."
    return run, (transition.line(run, "failed", text, look.now, failure=row.name, exit=exit.code),)


def lost(run: record.Record, failure: str, detail: str, look: Look) -> Absorbed:
    """Return the run after its newest attempt was given up without having been seen to end."""
    run = _close(run, record.Ending.LOST, None, look.now)
    run = with_newest(run, dataclasses.replace(run.attempts[-1], failure=failure, detail=detail))
    run = _counted(run, failures.Fault.MACHINE, look)
    attempt = run.attempts[-1]
    after = _next(run, failures.Fault.MACHINE, look)
    text = f"Attempt {attempt.number} of {transition.name(run)} was given up: {detail}; {after}."
    may_run = int(failure == failures.LOST)
    return run, (transition.line(run, "lost", text, look.now, failure=failure, host=attempt.host, mayStillRun=may_run),)


def _close(run: record.Record, ending: record.Ending, exit: observed.Exit | None, at: float) -> record.Record:
    return with_newest(run, dataclasses.replace(run.attempts[-1], ending=ending, exit=exit, ended_at=at))


def _finished(run: record.Record, exit: observed.Exit, ended_at: float, now: float) -> Absorbed:
    run = _close(run, record.Ending.FINISHED, exit, ended_at)
    run = dataclasses.replace(
        run, phase=record.Phase.FINISHED, ended_at=ended_at, reason="Finished", pending=None, condition=""
    )
    seconds = max(ended_at - run.created_at, 0.0)
    took = transition.duration(seconds)
    text = f"{transition.name(run)} finished in attempt {run.attempts[-1].number}, {took} after it was planned."
    return run, (transition.line(run, "finished", text, now, seconds=round(seconds, 3)),)


def _halted(run: record.Record, exit: observed.Exit, ended_at: float, look: Look) -> Absorbed:
    """Something ended it on purpose, so whatever its status it did not finish: the request under way says what it is now."""
    request = run.pending.request if run.pending and run.pending.request.then_stop else None
    own = lineage.head(saved.taken for saved in run.checkpoints if saved.taken.attempt == run.attempts[-1].number)
    safe = own is not None and (own.request == request.id if request else own.purpose in spec.ENDING)
    run = _close(run, record.Ending.CHECKPOINTED if safe else record.Ending.STOPPED, exit, ended_at)
    run = dataclasses.replace(run, pending=None, condition="", not_before=None)
    with_what = f"with a checkpoint{transition.at_step(own)}" if safe else "without a new checkpoint"
    called, step = transition.name(run), own.step if own else None
    halt = HALTS.get(request.purpose) if request else None
    if halt is not None:
        run = dataclasses.replace(run, phase=halt.phase, reason=halt.reason)
        text = f"{called} was {halt.what} {with_what}."
        if halt.because:
            text = f"Attempt {run.attempts[-1].number} of {called} was {halt.what} {with_what} because {halt.because}."
        return run, (transition.line(run, halt.what, text, look.now, step=step),)
    run = _counted(run, failures.Fault.MACHINE, look)
    detail = f"was stopped {with_what} because {exit.detail if exit.detail and not safe else _cause(own)}"
    run = with_newest(run, dataclasses.replace(run.attempts[-1], detail=detail))
    text = f"Attempt {run.attempts[-1].number} of {called} {detail}; {_next(run, failures.Fault.MACHINE, look)}."
    what: transition.What = "failed" if run.phase is record.Phase.FAILED else "stopped"
    return run, (transition.line(run, what, text, look.now, step=step),)


def _cause(own: observed.Taken | None) -> str:
    """Return why it was stopped, which nobody asked of us, by the checkpoint that was taken first."""
    if own is None or own.purpose is not spec.Purpose.NOTICE:
        return "its host ended it"
    return "its container engine was told to end it" if own.request.startswith(spec.BY_ITS_ENGINE) else "its host goes away"


def _counted(run: record.Record, fault: failures.Fault, look: Look) -> record.Record:
    """Draw on the budget that the fault names, and decide between another attempt and the end."""
    retries = look.job.retries
    program = run.failures + (fault is failures.Fault.PROGRAM)
    machine = run.preemptions + (fault is failures.Fault.MACHINE)
    over = (
        fault is failures.Fault.FINAL
        or (fault is failures.Fault.PROGRAM and program > retries.failure)
        or (fault is failures.Fault.MACHINE and retries.preemption is not None and machine > retries.preemption)
    )
    delay = 0.0
    if fault is failures.Fault.PROGRAM:
        delay = look.budgets.delay(program)
    elif fault is failures.Fault.MACHINE:
        delay = _machine_delay(run, look.budgets)
    return dataclasses.replace(
        run,
        failures=program,
        preemptions=machine,
        pending=None,
        condition="",
        phase=record.Phase.FAILED if over else record.Phase.PENDING,
        reason="Failed" if over else "BackingOff" if delay else "Replacing",
        ended_at=look.now if over else None,
        not_before=look.now + delay if delay and not over else None,
    )


def _machine_delay(run: record.Record, budgets: situation.Budgets) -> float:
    """A lost machine is replaced at once; attempts that keep ending soon after they began are spaced like failures."""
    streak = 0
    for attempt in reversed(run.attempts):
        short = attempt.ended_at is not None and attempt.ended_at - attempt.intended_at < budgets.backoff_cap
        if attempt.failure not in failures.MACHINE or not short:
            break
        streak += 1
    return budgets.delay(streak - 1) if streak > 1 else 0.0


def _next(run: record.Record, fault: failures.Fault, look: Look) -> str:
    """What follows, for the sentence about the end."""
    wait = transition.duration(max((run.not_before or look.now) - look.now, 0.0))
    if run.phase is record.Phase.FAILED:
        if fault is failures.Fault.FINAL:
            return "trying again cannot help, so the run failed"
        used = run.failures - 1 if fault is failures.Fault.PROGRAM else run.preemptions - 1
        return f"no retry is left after {used}, so the run failed"
    if fault is failures.Fault.PROGRAM:
        return f"retry {run.failures} of {look.job.retries.failure} follows in {wait}"
    return f"another attempt follows in {wait}" if run.not_before else "another attempt follows"
