"""Records and lines for tests."""

from __future__ import annotations

import hashlib

from reconciler.core import model, record


def run_id(number: int) -> str:
    """The id of the run with this number."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


def run(number: int, phase: record.Phase = record.Phase.PENDING, code: str = "") -> record.Record:
    """The record of a run."""
    name = f"job-{number}"
    return record.Record(
        run=run_id(number),
        instance="default",
        tenant="default",
        job=name,
        replica=0,
        identity=1,
        revision="1" * 40,
        code=code,
        created_at=1.5,
        phase=phase,
        applied=model.Job(name=name, target="here", workload=model.Workload(command=("python", "train.py"))),
        attempts=(record.Attempt(number=1, target="here", host="a", intended_at=2.5),),
    )


def line(number: int, say: str = "") -> record.Line:
    """A line about the run with this number."""
    return record.Line(
        say=say or f"Job job-{number} was planned.",
        what="planned",
        at=float(number),
        instance="default",
        tenant="default",
        job=f"job-{number}",
        run=run_id(number),
        attempt=1,
        revision="1" * 40,
        data={"steps": number},
    )
