"""The real loop in a process of its own, with a fault on every wire."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from reconciler import apply, errors, loop, observe, registry
from reconciler.contracts import ledger, source, store, target
from reconciler.core import model, observed, settle, spec
from reconciler.link import switchboard
from reconciler.targets import books, hosts
from tests.simulation import clocks, fate, person, process

if TYPE_CHECKING:
    from tests.simulation import world

T = TypeVar("T")

Silence = tuple[float, int]
"""Seconds and looks."""


class Reconciler:
    """One reconciler, restarted whenever it was killed. What its process knows is lost with it."""

    def __init__(self, within: world.World, name: str) -> None:
        self.world = within
        self.name = name
        self.clock = clocks.Clock(within.events, self._wait)
        self.board = switchboard.Switchboard(self.clock)
        self.process: process.Process | None = None
        self.frozen_for = 0.0
        """Seconds for which it stands still at its next effect."""
        self.last: loop.Pass | None = None
        self.acted = 0
        """Passes that did something."""
        self.passes = 0
        self.silence: dict[str, Silence] = {}
        """By host: for how many seconds by its own count, and for how many looks, it had not heard it when it looked last."""
        self._heard: dict[str, float] = {}
        self._looks: dict[str, int] = {}
        self._born = 0.0
        self._poked = False

    @property
    def up(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.alive

    def start(self) -> None:
        """Start a process that knows nothing."""
        if self.up or self.world.over:
            return
        self.world.note(self.name, "started")
        self.board = switchboard.Switchboard(self.clock)
        self._born = self.clock.monotonic()
        self._heard, self._looks = {}, {}
        self.process = process.Process(self.world.events, self.name, self._body)
        self.board.listen(self.poke)
        self.process.start()

    def kill(self) -> None:
        """SIGKILL from outside."""
        if self.process is not None and self.up:
            self.world.note(self.name, "killed")
            self.process.kill()

    def poke(self) -> None:
        """There may be something to do. In the middle of a pass that is remembered."""
        self._poked = True
        if self.process is not None:
            self.process.poke()

    def hear(self, host: str) -> None:
        """A host has spoken to it."""
        self._heard[host] = self.clock.monotonic()
        self._looks[host] = 0

    def look(self) -> None:
        """It looks at the hosts: what it can know of their silence is what it knows now."""
        now = self.clock.monotonic()
        for host in self.world.machines:
            self._looks[host] = self._looks.get(host, 0) + 1
            self.silence[host] = (now - self._heard.get(host, self._born), self._looks[host])

    def _body(self) -> None:
        try:
            loop.Loop(self._parts()).run(_Never(), self._pause)
        except process.Killed:
            self.world.depot.leave(self.name)
            self.world.restart(self)
            raise

    def _parts(self) -> loop.Parts:
        shared = books.Books(self.board, self.clock)
        adapters = registry.Registry(
            lambda declared: _Target(self, hosts.HostsTarget(declared, shared)),
            lambda declared: _Store(self, declared),
        )
        return loop.Parts(
            instance="sim",
            clock=self.clock,
            source=_Source(self),
            load=person.load,
            ledger=_Ledger(self),
            observer=observe.Observer(adapters, observe.sequential),
            applier=apply.Applier(adapters, self.world.budgets),
            budgets=self.world.budgets,
            jitter=self.world.chance.random,
        )

    def _wait(self, seconds: float) -> None:
        assert self.process is not None
        self.process.wait(seconds)

    def _pause(self, done: loop.Pass) -> None:
        assert self.process is not None
        self.last = done
        self.passes += 1
        self.world.watch.passed(done)
        acting = [act for act, outcome in done.outcomes if outcome.result is not settle.Result.SKIPPED]
        self.acted += bool(acting)
        if acting or done.standing is not loop.Standing.DONE:
            self.world.note(self.name, f"pass {done.standing.value} {done.notice}".rstrip())
        seconds = self.world.interval
        if done.wake_at is not None:
            seconds = min(seconds, max(done.wake_at - self.clock.now(), 0.1))
        if not self._poked:
            self.process.sleep(seconds)
        self._poked = False

    # every effect goes through here

    def request(self, what: str, call: Callable[[], T], unheard: Callable[[], T]) -> T:
        """Make one request to something outside; `unheard` is what its caller gets when no answer comes."""
        found = self.world.fates.of(self.name, what, fate.REMOTE)
        self.world.note(self.name, what if found is fate.Fate.WELL else f"{what} [{found.value}]")
        if found is fate.Fate.KILLED_BEFORE:
            raise process.Killed
        self.travel()
        if found is fate.Fate.KILLED_FLYING:
            self.world.events.after(self.world.chance.uniform(0.0, 20.0), lambda: _land(call))
            raise process.Killed
        if found is fate.Fate.REQUEST_LOST:
            return unheard()
        answer = call()
        self.travel()
        if found is fate.Fate.KILLED_AFTER:
            raise process.Killed
        return unheard() if found is fate.Fate.ANSWER_LOST else answer

    def travel(self) -> None:
        """Let a request, or an answer, take its time; others act meanwhile."""
        seconds, self.frozen_for = self.world.faults.delay() + self.frozen_for, 0.0
        self._wait(seconds)


def _land(call: Callable[[], object]) -> None:
    with suppress(errors.PerdureError):
        call()


class _Never:
    """`contracts.clock.Event` that is never set: only a kill ends the loop."""

    def wait(self, timeout: float | None = None) -> bool:
        return False

    def is_set(self) -> bool:
        return False


def _no_answer() -> settle.Outcome:
    raise errors.Unavailable("no answer")


class _Source:
    def __init__(self, by: Reconciler) -> None:
        self._by = by

    def fetch(self) -> source.Revision | source.Stale:
        return self._by.world.source.fetch()

    def tree(self, revision: str) -> source.Tree:
        return self._by.world.source.tree(revision)

    def __getattr__(self, name: str) -> object:
        return getattr(self._by.world.source, name)


class _Ledger:
    def __init__(self, by: Reconciler) -> None:
        self._by = by

    def read(self) -> ledger.Snapshot:
        self._by.travel()
        return self._by.world.ledger.read()

    def append(self, snapshot: ledger.Snapshot, change: ledger.Change) -> ledger.Committed | ledger.Conflict:
        evidence = dict(self._by.silence)
        return self._by.request(
            f"push: {change.message}",
            lambda: self._append(snapshot, change, evidence),
            lambda: ledger.Conflict(detail="git was killed before it had answered"),
        )

    def _append(
        self, snapshot: ledger.Snapshot, change: ledger.Change, evidence: dict[str, Silence]
    ) -> ledger.Committed | ledger.Conflict:
        answer = self._by.world.ledger.append(snapshot, change)
        if isinstance(answer, ledger.Committed):
            self._by.world.watch.pushed(snapshot, change, evidence)
        else:
            self._by.world.note(self._by.name, f"push refused: {answer.detail}")
        return answer

    def __getattr__(self, name: str) -> object:
        return getattr(self._by.world.ledger, name)


class _Target:
    def __init__(self, by: Reconciler, real: target.Target) -> None:
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


class _Store:
    def __init__(self, by: Reconciler, declared: model.StoreSpec) -> None:
        self._by = by
        self._declared = declared

    def _store(self) -> store.Store:
        return self._by.world.depot.store(self._by.name, self._declared)

    def list(self, run: str) -> tuple[observed.Taken, ...]:
        listed = self._store().list(run)
        self._by.world.watch.offered(run, listed)
        return listed

    def open(self, digest: str) -> store.Image:
        return self._store().open(digest)

    def prune(self, plan: store.Prune, now: float) -> tuple[str, ...]:
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
