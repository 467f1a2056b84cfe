"""Run identity: which execution a manifest asks for, and in whose ledger.

SHA-256 over a fixed list of fields *as written, before defaulting*, so that a release with another default never runs a fleet
again. Changing the list needs a new `VERSION`, but for a field that no manifest could have before; runs of older versions keep
their names in the ledger.
"""

from __future__ import annotations

import hashlib

from reconciler.core import codec, model

VERSION = 1

WORKLOAD_FIELDS = ("image", "command", "args", "env", "secrets", "configs", "workdir", "volumes")
"""Members of `spec.workload` that make a run what it is; `workload.code` enters by its Git tree and entrypoint."""

SPEC_FIELDS = ("rerun",)
"""Members of `spec` besides the workload that make a run what it is."""


def run_id(instance: str, job: model.Job, replica: int) -> str:
    """Return the run's id: 32 hex digits, equal exactly when the same execution is meant."""
    code = job.workload.code
    text = codec.encode(
        [
            VERSION,
            instance,
            job.tenant,
            job.name,
            replica,
            [code.tree, code.entrypoint, code.requirements] if code else None,
            job.written,
        ]
    )
    return hashlib.sha256(text).hexdigest()[:32]


def ledger(written: str, head: str, revision: str, now: float) -> str:
    """Return the name of a ledger, `written` in it with its first change and never changed.

    Two repositories whose loops have one instance name give equal jobs equal runs; their ledgers have different names. Of a
    ledger that was begun without a name the commit at its `head` serves, of a new one the moment and the revision.
    """
    return written or head[:16] or hashlib.sha256(codec.encode([revision, now])).hexdigest()[:16]
