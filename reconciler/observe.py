"""Look at everything outside, in parallel and with a deadline. A look that fails is unknown, never absent."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from reconciler import errors, registry
from reconciler.contracts import store, target
from reconciler.core import facts, hearsay, model, observed, record, silence, situation

T = TypeVar("T")


class Gather(Protocol):
    """Runs calls and returns their answers by name; a call that raises or is late is answered by its error's text."""

    def __call__(self, calls: Mapping[str, Callable[[], T]]) -> Mapping[str, T | str]:
        """Return an answer for every call."""
        ...


class Parallel:
    """`Gather` on threads. A call still running at the deadline is left behind and not repeated until it has ended."""

    def __init__(self, deadline: float, workers: int = 8) -> None:
        self._deadline = deadline
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=workers, thread_name_prefix="observe")
        self._late: dict[str, concurrent.futures.Future[object]] = {}

    def __call__(self, calls: Mapping[str, Callable[[], T]]) -> Mapping[str, T | str]:
        """Return an answer for every call, in the order of the calls."""
        self._late = {name: future for name, future in self._late.items() if not future.done()}
        futures = {name: self._pool.submit(call) for name, call in calls.items() if name not in self._late}
        concurrent.futures.wait(futures.values(), timeout=self._deadline)
        answers: dict[str, T | str] = {}
        for name in calls:
            future = futures.get(name)
            if future is None or not future.done():
                answers[name] = f"no answer within {self._deadline:g} s"
                if future is not None:
                    self._late[name] = future  # type: ignore[assignment]
            else:
                answers[name] = answer(future.result)
        return answers


def answer(call: Callable[[], T]) -> T | str:
    """Return what `call` returns, or the text of the expected error it raises."""
    try:
        return call()
    except errors.PerdureError as error:
        return error.line
    except OSError as error:
        return error.strerror or str(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a pass needs to know about."""

    desired: model.Desired
    wanted: facts.Wanted
    """The runs that `desired` asks for."""
    records: Mapping[str, record.Record]
    now: float
    """POSIX time in seconds."""
    monotonic: float
    """Seconds of a clock that never jumps."""


class Observer:
    """Builds the world of one pass. Remembers only silences."""

    def __init__(self, adapters: registry.Registry, gather: Gather) -> None:
        self._registry = adapters
        self._gather = gather
        self._silences = silence.Silences()

    def observe(self, subject: Subject) -> observed.World:
        """Return what targets and stores report now."""
        adapters = self._registry.targets(subject.desired.targets)
        views = {name: hearsay.without(view, subject.records) for name, view in self._targets(adapters, subject.now).items()}
        counted = silence.count(self._silences, views, subject.records.values(), subject.now, subject.monotonic)
        self._silences = counted.silences
        world = observed.World(at=subject.now, targets=counted.views, unheard=counted.unheard)
        return dataclasses.replace(world, stores=self._stores(subject, world))

    def _targets(self, adapters: Mapping[str, target.Target], now: float) -> dict[str, observed.TargetView]:
        answers = self._answers("target", {name: _look(adapter, now) for name, adapter in adapters.items()})
        return {
            name: observed.TargetView(name=name, known=False, error=view) if isinstance(view, str) else view
            for name, view in answers.items()
        }

    def _stores(self, subject: Subject, world: observed.World) -> Mapping[str, observed.StoreView]:
        wanted = _questions(subject, world)
        answers = self._answers("store", {spec.name: self._ask(spec, runs, named) for spec, runs, named in wanted})
        return {
            name: observed.StoreView(name=name, known=False, error=view) if isinstance(view, str) else view
            for name, view in answers.items()
        }

    def _answers(self, kind: str, calls: Mapping[str, Callable[[], T]]) -> Mapping[str, T | str]:
        """Return an answer for every call. The kind tells a target from a store of the same name, of which one may be late."""
        answers = self._gather({f"{kind} {name}": call for name, call in calls.items()})
        return {name: answers[f"{kind} {name}"] for name in calls}

    def _ask(
        self, spec: model.StoreSpec, runs: Iterable[str], named: Iterable[tuple[str, str]]
    ) -> Callable[[], observed.StoreView]:
        def look() -> observed.StoreView:
            adapter = self._registry.store(spec)
            offered: dict[str, dict[str, observed.Taken]] = {}
            for tenant, digest in named:
                if (taken := _named(adapter, digest, tenant)) is not None:
                    offered.setdefault(tenant, {})[digest] = taken
            checkpoints = {run: adapter.list(run) for run in runs}
            return observed.StoreView(name=spec.name, checkpoints=checkpoints, named=offered)

        return look


def _look(adapter: target.Target, now: float) -> Callable[[], observed.TargetView]:
    return lambda: adapter.observe(now)


Question = tuple[model.StoreSpec, tuple[str, ...], tuple[tuple[str, str], ...]]
"""A store, the runs to list, and (tenant, digest) of checkpoints of other runs: tenants may name the same one, and do not see
each other's."""


def _questions(subject: Subject, world: observed.World) -> tuple[Question, ...]:
    """Ask stores only about runs whose next attempt may begin in this pass, and about checkpoints of other runs.

    Those are the ones that manifests name, and those that a run was restored from and may have to be again.
    """
    runs: dict[model.StoreSpec, list[str]] = {}
    named: dict[model.StoreSpec, dict[tuple[str, str], None]] = {}
    for name, run in subject.records.items():
        if run.store is None or not _may_begin(run, subject, world):
            continue
        spec = subject.desired.stores.get(run.store.name, run.store)
        if run.attempts or run.applied.restore_from != "latest":
            runs.setdefault(spec, []).append(name)
            borrowed = ((run.tenant, saved.taken.digest) for saved in run.checkpoints if saved.taken.attempt == 0)
            named.setdefault(spec, {}).update(dict.fromkeys(borrowed))
    for name, (job, _) in subject.wanted.by_run.items():
        if not job.restore_from.startswith("sha256:"):
            continue
        declared, known = subject.desired.stores.get(job.checkpoint.store), subject.records.get(name)
        if declared is not None and (known is None or _may_begin(known, subject, world)):
            named.setdefault(declared, {})[job.tenant, job.restore_from] = None
    specs = dict.fromkeys((*runs, *named))
    return tuple((spec, tuple(runs.get(spec, ())), tuple(named.get(spec, {}))) for spec in specs)


def _may_begin(run: record.Record, subject: Subject, world: observed.World) -> bool:
    """Whether the plan may give the run another attempt now: none that is over, seen running, or declared to rest has one.

    Of thousands that are suspended or stopped no store is asked, however often a host says something.
    """
    if run.phase in record.TERMINAL:
        return False
    live = run.live
    if live is not None and situation.running(run.run, live, world):
        return False
    asked = subject.wanted.by_run.get(run.run)
    if asked is None and run.phase is record.Phase.STOPPED and live is None:
        return False
    successor = subject.wanted.by_key.get(run.key)
    declared = asked or (subject.wanted.by_run[successor] if successor else None)
    if declared is None:
        desired = subject.desired
        return bool(desired.frozen or desired.problems or desired.unread)  # it may still be declared
    return declared[0].state is not model.JobState.STOPPED and not situation.suspended(declared[0], subject.now)


def _named(adapter: store.Store, digest: str, tenant: str) -> observed.Taken | None:
    """Return a checkpoint that a manifest names, if this store offers it and it belongs to the tenant."""
    try:
        image = adapter.open(digest)
    except errors.PerdureError:
        return None
    image.close()
    meta = image.meta
    if meta.tenant != tenant:
        return None
    return observed.Taken(
        digest=digest,
        attempt=0,
        taken_at=meta.taken_at,
        purpose=meta.purpose,
        request=meta.request,
        step=meta.step,
        processor=meta.processor,
    )
