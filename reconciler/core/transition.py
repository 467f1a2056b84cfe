"""Transitions told as sentences: the lines of the notes that people read."""

from __future__ import annotations

from typing import Literal

from reconciler.core import observed, record

What = Literal["planned", "started", "suspended", "resumed", "lost", "restored", "failed", "retried", "finished", "stopped"]
"""Every transition that is noted. Periodic checkpoints are not among them: they go to the ledger only."""


def line(run: record.Record, what: What, say: str, at: float, **data: str | int | float | None) -> record.Line:
    """Return one note line about a run; `data` holds the numbers that the sentence tells."""
    newest = run.newest
    return record.Line(
        say=say,
        what=what,
        at=at,
        tenant=run.tenant,
        job=run.job,
        replica=run.replica,
        run=run.run,
        attempt=newest.number if newest else None,
        revision=run.revision,
        data=data,
    )


def name(run: record.Record) -> str:
    """Return what a person calls the run: "train", "team-a/train", "train[2]" for a further replica."""
    text = run.job if run.tenant == "default" else f"{run.tenant}/{run.job}"
    return f"{text}[{run.replica}]" if run.applied.replicas > 1 or run.replica else text


def steps(count: int | None) -> str:
    """Return "1 step", "12 steps" or "an unknown number of steps"."""
    if count is None:
        return "an unknown number of steps"
    return "1 step" if count == 1 else f"{count} steps"


def cores(millicores: int) -> str:
    """Return thousandths of a core as people say them: "1 core", "0.5 cores"."""
    return f"{millicores / 1000:g} core{'' if millicores == 1000 else 's'}"


def duration(seconds: float | None) -> str:
    """Return seconds as people write them: "8 s", "3 min 20 s", "2 h 5 min"."""
    if seconds is None:
        return "an unknown time"
    seconds = max(seconds, 0.0)
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 and seconds != whole else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def at_step(taken: observed.Taken | None) -> str:
    """Return " at step 12" for a checkpoint that knows its step, else nothing."""
    return f" at step {taken.step}" if taken is not None and taken.step is not None else ""
