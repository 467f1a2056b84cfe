"""A target in memory: hosts that run pretended attempts step by step, under a test's clock, and fail on request."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler.contracts import clock, target
from reconciler.core import model, observed, settle, spec

Result = settle.Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a pretended attempt does: so many steps, then this exit."""

    steps: int = 10
    exit: observed.Exit = field(default_factory=lambda: observed.Exit(kind=observed.ExitKind.EXITED, code=0))


@dataclass(slots=True)
class FakeHost:
    """One machine: what it offers, and the attempts it has."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    pool: str = ""
    cpu: int = 4000
    memory: int = 2**33
    boot: str = "1"
    silent: bool = False
    """It goes on, but is not heard: its last state is shown."""
    generation: int = 0
    attempts: dict[spec.AttemptRef, observed.Item] = field(default_factory=dict)
    shown: observed.HostState | None = None
    heard_at: float = 0.0
    tries: int = 0


class FakeTarget:
    """`contracts.target.Target` over `FakeHost`s. Nothing moves but by `step`, nothing fails but by the flags."""

    def __init__(
        self, name: str, time: clock.Clock, program: Callable[[spec.AttemptSpec], Program] = lambda _: Program()
    ) -> None:
        self.name = name
        self.hosts: dict[str, FakeHost] = {}
        self.unlisted = ""
        """Error with which listing fails, while it is not empty."""
        self.lost_requests = 0
        """So many of the next calls have no effect and no answer."""
        self.lost_answers = 0
        """So many of the next calls have their effect and no answer."""
        self.stale = 0
        """So many of the next observations show what the one before them showed."""
        self._clock = time
        self._program = program
        self._last: observed.TargetView | None = None

    def capabilities(self) -> target.Capabilities:
        """Return those of plain hosts."""
        return target.Capabilities(engines=frozenset({model.EngineName.APPLICATION, model.EngineName.NONE}))

    def observe(self, at: float) -> observed.TargetView:
        """Return what the hosts report."""
        if self.unlisted:
            return observed.TargetView(name=self.name, known=False, error=self.unlisted)
        if self.stale and self._last is not None:
            self.stale -= 1
            return self._last
        views = {name: self._view(host, at) for name, host in sorted(self.hosts.items())}
        items = {item.ref: item for view in views.values() for item in view.state.items}
        self._last = observed.TargetView(
            name=self.name, hosts={name: view for name, view in views.items() if view.state.session}, items=items
        )
        return self._last

    def apply(self, assignment: spec.Assignment) -> settle.Outcome:
        """Make one attempt stand as assigned."""
        host = self.hosts.get(assignment.spec.host)
        if not assignment.spec.host:
            return settle.Outcome(result=Result.REFUSED, detail="no host was chosen for it")
        return self._act(host, lambda found: self._assign(found, assignment))

    def delete(self, ref: spec.AttemptRef, host: str) -> settle.Outcome:
        """Forget an attempt."""

        def forget(found: FakeHost) -> settle.Result:
            return Result.DELETED if found.attempts.pop(ref, None) else Result.UNCHANGED

        return self._act(self.hosts.get(host), forget)

    def confirm_gone(self, ref: spec.AttemptRef, host: str) -> target.Presence:
        """Say whether the attempt certainly does not run any more."""
        found = self.hosts.get(host)
        if found is None or found.silent:
            return target.Presence.UNKNOWN
        item = found.attempts.get(ref)
        running = item is not None and item.state is not observed.ItemState.ENDED
        return target.Presence.PRESENT if running else target.Presence.GONE

    def step(self) -> None:
        """Let every attempt advance by one step: prepare, start, work, end. A stopped one ends at once."""
        for host in self.hosts.values():
            for ref, item in host.attempts.items():
                host.attempts[ref] = self._advance(item)

    def lose(self, host: str) -> None:
        """The machine and all that was on it are gone; what it last said stays known."""
        self.hosts[host].attempts.clear()
        self.hosts[host].silent = True

    def _act(self, host: FakeHost | None, effect: Callable[[FakeHost], settle.Result]) -> settle.Outcome:
        if host is None or host.silent or self.lost_requests:
            self.lost_requests = max(0, self.lost_requests - 1)
            return settle.Outcome(result=Result.UNKNOWN, detail="no answer")
        result = effect(host)
        if self.lost_answers:
            self.lost_answers -= 1
            return settle.Outcome(result=Result.UNKNOWN, detail="no answer")
        return settle.Outcome(result=result)

    def _assign(self, host: FakeHost, assignment: spec.Assignment) -> settle.Result:
        wanted = assignment.spec
        item = host.attempts.get(wanted.ref)
        if item is None:
            state = observed.ItemState.PREPARING
            host.attempts[wanted.ref] = observed.Item(
                ref=wanted.ref, state=state, want=assignment.want, host=host.name, spec=wanted
            )
            return Result.CREATED
        changed = dataclasses.replace(item, spec=wanted, want=assignment.want)
        host.attempts[wanted.ref] = changed
        return Result.UNCHANGED if changed == item else Result.CHANGED

    def _advance(self, item: observed.Item) -> observed.Item:
        now = self._clock.now()
        if item.state is observed.ItemState.ENDED or item.spec is None:
            return item
        if item.want is not spec.Want.RUN:
            ended = observed.Exit(kind=observed.ExitKind.SIGNALED, signal=15, stopped=True)
            return dataclasses.replace(item, state=observed.ItemState.ENDED, exit=ended, ended_at=now)
        if item.state is observed.ItemState.PREPARING:
            return dataclasses.replace(item, state=observed.ItemState.RUNNING, started_at=now)
        program = self._program(item.spec)
        done = (item.progress.step if item.progress else 0) + 1
        progress = observed.Progress(step=done, of=program.steps, at=now)
        item = dataclasses.replace(item, progress=progress, first_step=item.first_step or done)
        if done < program.steps:
            return item
        return dataclasses.replace(item, state=observed.ItemState.ENDED, exit=program.exit, ended_at=now)

    def _view(self, host: FakeHost, at: float) -> observed.HostView:
        if not host.silent:
            host.generation += 1
            host.heard_at, host.tries = at, 0
            host.shown = observed.HostState(
                host=host.name,
                pool=host.pool,
                labels=dict(host.labels),
                cpu=host.cpu,
                memory=host.memory,
                boot=host.boot,
                session=1,
                generation=host.generation,
                items=tuple(item for _, item in sorted(host.attempts.items())),
            )
            return observed.HostView(state=host.shown, seen_at=at)
        host.tries += 1
        state = host.shown or observed.HostState(host=host.name)
        return observed.HostView(state=state, seen_at=host.heard_at, silent_since=host.heard_at, silent_tries=host.tries)
