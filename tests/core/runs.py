"""A run of a Job as the ledger has it."""

from __future__ import annotations

import dataclasses
from typing import Any

from reconciler.core import model, record

JOB = model.Job(name="train", target="machines", workload=model.Workload(command=("true",)))


def of(manifest: model.Job, /, *attempts: record.Attempt, **members: Any) -> record.Record:
    """The record of a Job's first replica, planned at second 0; `members` as in `record.Record`."""
    run = record.Record(
        instance="i",
        run="run",
        tenant=manifest.tenant,
        job=manifest.name,
        replica=0,
        identity=1,
        revision="r",
        created_at=0.0,
        applied=manifest,
        attempts=attempts,
    )
    return dataclasses.replace(run, **members)
