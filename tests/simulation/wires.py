"""The wires between a reconciler and everything outside: each request may be lost, its answer too, or its sender."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from reconciler import errors
from reconciler.contracts import ledger as ledgers
from reconciler.contracts import store as stores
from reconciler.contracts import target as targets
from reconciler.core import model, observed, settle, spec

if TYPE_CHECKING:
    from tests.simulation import reconciler


def ledger(by: reconciler.Reconciler) -> ledgers.Ledger:
    """Return the ledger as this reconciler reaches it."""
    return cast("ledgers.Ledger", Ledger(by))


def target(by: reconciler.Reconciler, real: targets.Target) -> targets.Target:
    """Return a target as this reconciler reaches it."""
    return cast("targets.Target", Target(by, real))


def store(by: reconciler.Reconciler, declared: model.StoreSpec) -> stores.Store:
    """Return a store as this reconciler reaches it."""
    return cast("stores.Store", Store(by, declared))


class Ledger:
    def __init__(self, by: reconciler.Reconciler) -> None:
        self._by = by

    def read(self) -> ledgers.Snapshot:
        self._by.travel()
        return self._by.world.ledger.read()

    def append(self, snapshot: ledgers.Snapshot, change: ledgers.Change) -> ledgers.Committed | ledgers.Conflict:
        evidence = dict(self._by.silence)
        return self._by.request(
            f"push: {change.message}",
            lambda: self._append(snapshot, change, evidence),
            lambda: ledgers.Conflict(detail="git was killed before it had answered"),
        )

    def _append(
        self, snapshot: ledgers.Snapshot, change: ledgers.Change, evidence: dict[str, reconciler.Silence]
    ) -> ledgers.Committed | ledgers.Conflict:
        answer = self._by.world.ledger.append(snapshot, change)
        if isinstance(answer, ledgers.Committed):
            self._by.world.watch.pushed(snapshot, change, evidence)
        else:
            self._by.world.note(self._by.name, f"push refused: {answer.detail}")
        return answer

    def __getattr__(self, name: str) -> object:
        return getattr(self._by.world.ledger, name)


class Target:
    def __init__(self, by: reconciler.Reconciler, real: targets.Target) -> None:
        self._by = by
        self._real = real

    def observe(self, at: float) -> observed.TargetView:
        self._by.travel()
        self._by.look()
        view = self._real.observe(at)
        if self._by.world.faults.happens("blind"):
            return observed.TargetView(name=view.name, known=False, error="the listing failed")
        return view

    def apply(self, assignment: spec.Assignment) -> settle.Outcome:
        asked = assignment.request.purpose.value if assignment.request else assignment.want.value
        what = f"ask for {self._by.world.call(assignment.spec.ref)} on {assignment.spec.host}: {asked}"
        return self._by.request(what, lambda: self._real.apply(assignment), _no_answer)

    def delete(self, ref: spec.AttemptRef, host: str) -> settle.Outcome:
        what = f"let {host} forget {self._by.world.call(ref)}"
        return self._by.request(what, lambda: self._real.delete(ref, host), _no_answer)

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


class Store:
    def __init__(self, by: reconciler.Reconciler, declared: model.StoreSpec) -> None:
        self._by = by
        self._declared = declared

    def _store(self) -> stores.Store:
        return self._by.world.depot.seated(self._by.name, self._declared)

    def list(self, run: str) -> tuple[observed.Taken, ...]:
        listed = self._store().list(run)
        self._by.world.watch.offered(run, listed)
        return listed

    def open(self, digest: str) -> stores.Image:
        return self._store().open(digest)

    def prune(self, plan: stores.Prune, now: float) -> tuple[str, ...]:
        def carry_out() -> tuple[str, ...]:
            try:
                return self._store().prune(plan, now)
            finally:  # also one that failed half-way
                truth = self._by.world.depot.truth()
                self._by.world.watch.pruned(tuple(digest for digest in plan.digests if not truth.verify(digest).ok))

        def unheard() -> tuple[str, ...]:
            raise errors.Unavailable("no answer")

        return self._by.request(f"prune {len(plan.digests)} checkpoints", carry_out, unheard)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store(), name)


def _no_answer() -> settle.Outcome:
    raise errors.Unavailable("no answer")
