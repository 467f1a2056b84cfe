"""Which runs a person means: NAME, TENANT/NAME or NAME[replica], and which run of several counts as the job's own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reconciler import errors
from reconciler.core import identity, model, record
from reconciler.load import suggest

Key = tuple[str, str, int]
"""Tenant, job, replica."""

_NAME = re.compile(r"(?:(?P<tenant>[^/\[\]]+)/)?(?P<job>[^/\[\]]+)(?:\[(?P<replica>\d{1,9})\])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One replica of one Job: what its manifest asks for, and the runs that the ledger has under this name."""

    key: Key
    job: model.Job | None
    """The manifest; None when it is not declared."""
    run: str
    """The run that counts: what the manifest asks for, else the newest."""
    recorded: record.Record | None
    """The ledger's record of `run`; None when it is not recorded yet."""
    earlier: tuple[record.Record, ...] = ()
    """The other runs of this name, oldest first."""

    @property
    def name(self) -> str:
        """What a person calls it."""
        replicas = max(self.job.replicas if self.job else 1, self.recorded.applied.replicas if self.recorded else 1)
        return text(self.key, replicas)

    @property
    def idle(self) -> bool:
        """Whether there is nothing left to say unless asked: not declared and over."""
        return self.job is None and self.recorded is not None and self.recorded.phase in record.TERMINAL


def text(key: Key, replicas: int = 1) -> str:
    """Return "train", "team-a/train" or "train[2]"."""
    tenant, job, replica = key
    name = job if tenant == "default" else f"{tenant}/{job}"
    return f"{name}[{replica}]" if replicas > 1 or replica else name


def subjects(instance: str, desired: model.Desired | None, records: Mapping[str, record.Record]) -> tuple[Subject, ...]:
    """Return every replica of every Job that is declared or recorded, by name."""
    by_key: dict[Key, list[record.Record]] = {}
    for run in records.values():
        by_key.setdefault(run.key, []).append(run)
    declared = {
        (job.tenant, job.name, replica): job
        for job in (desired.jobs.values() if desired else ())
        for replica in range(job.replicas)
    }
    keys = sorted({*by_key, *declared})
    return tuple(_subject(instance, key, declared.get(key), by_key.get(key, [])) for key in keys)


def _subject(instance: str, key: Key, job: model.Job | None, runs: list[record.Record]) -> Subject:
    wanted = identity.run_id(instance, job, key[2]) if job is not None else ""
    runs.sort(key=lambda run: (run.run == wanted, run.phase not in record.TERMINAL, run.created_at))
    newest = runs[-1] if runs else None
    if newest is not None and newest.run != wanted and newest.phase in record.TERMINAL and job is not None:
        newest = None  # it is over, and the manifest asks for another one that has not begun
    return Subject(
        key=key,
        job=job,
        run=newest.run if newest else wanted,
        recorded=newest,
        earlier=tuple(run for run in runs if run is not newest),
    )


def pick(names: Sequence[str], every: Sequence[Subject]) -> tuple[Subject, ...]:
    """Return the subjects that `names` mean, all that are not idle for no names. Raises `errors.UsageError`."""
    if not names:
        return tuple(each for each in every if not each.idle)
    found: dict[Key, Subject] = {}
    for name in names:
        for each in _matches(name, every):
            found[each.key] = each
    return tuple(found.values())


def one(name: str, every: Sequence[Subject]) -> tuple[Subject, ...]:
    """Return the subjects (replicas) of the single Job that `name` means. Raises `errors.UsageError`."""
    found = _matches(name, every)
    if len({each.key[:2] for each in found}) > 1:
        names = ", ".join(dict.fromkeys(f"{each.key[0]}/{each.key[1]}" for each in found))
        raise errors.UsageError(f"{name!r} is a job of several tenants: {names}", remedy="Name one of them.")
    return found


def _matches(name: str, every: Sequence[Subject]) -> tuple[Subject, ...]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise errors.UsageError(f"{name!r} is not a name", remedy="Write NAME, TENANT/NAME or NAME[replica].")
    tenant, job, replica = match["tenant"], match["job"], match["replica"]
    found = tuple(
        each
        for each in every
        if each.key[1] == job and (tenant is None or each.key[0] == tenant) and (replica is None or each.key[2] == int(replica))
    )
    return found or _unknown(name, every)


def _unknown(name: str, every: Iterable[Subject]) -> tuple[Subject, ...]:
    names = list(dict.fromkeys(text((each.key[0], each.key[1], 0)) for each in every))
    near = suggest.closest(name.partition("[")[0], names)
    if near == name.partition("[")[0]:
        raise errors.UsageError(f"job {near} has no such replica as {name}", remedy=f"`perdure status {near}` lists them.")
    known = f"Did you mean {near}?" if near else "`perdure status` lists every job."
    if not names:
        known = "No job is declared or recorded here: see what `perdure status` says, or check --repo, --ref and --instance."
    raise errors.UsageError(f"there is no job {name!r}", remedy=known)
