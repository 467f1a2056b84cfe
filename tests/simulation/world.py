"""Everything put together: hosts, reconcilers, repository, ledger and store under one schedule, decided by one seed."""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass, field

from reconciler import errors
from reconciler.contracts import ledger as contract
from reconciler.core import observed, record, situation, spec
from reconciler.ledger import fake as ledgers
from reconciler.source import fake as sources
from tests.simulation import (
    chaos,
    clocks,
    depot,
    fate,
    machine,
    network,
    person,
    program,
    reconciler,
    schedule,
    watch,
)

BUDGETS = situation.Budgets(lost_after=30.0, lost_tries=3, backoff=5.0, backoff_cap=60.0)

EXITS = (
    observed.Exit(kind=observed.ExitKind.EXITED, code=3),
    observed.Exit(kind=observed.ExitKind.SIGNALED, signal=11),
    observed.Exit(kind=observed.ExitKind.OUT_OF_MEMORY, signal=9),
)


@dataclass(slots=True)
class World:
    """One seed's world."""

    seed: int
    hosts: int = 3
    rivals: int = 1
    rates: dict[str, float] = field(default_factory=dict)
    fates: fate.Fates = field(default_factory=fate.Fates)
    programs: dict[str, program.Program] = field(default_factory=dict)
    """What runs do, by job, where it is not left to chance."""
    events: schedule.Schedule = field(default_factory=schedule.Schedule)
    trace: list[tuple[float, str, str]] = field(default_factory=list)
    interval: float = 30.0
    """Longest seconds between two passes."""
    calm: float = 1.0
    """How many times as long things may idle."""
    invited: int = 0
    """How many tokens somebody else has made."""
    address: int = 0
    """Which of the reconcilers agents reach."""
    over: bool = False
    settling: bool = False
    """The faults have stopped, and nobody edits any more."""
    budgets: situation.Budgets = BUDGETS
    chance: random.Random = field(init=False)
    faults: chaos.Faults = field(init=False)
    source: sources.FakeSource = field(init=False)
    ledger: ledgers.FakeLedger = field(init=False)
    watch: watch.Watch = field(init=False)
    depot: depot.Depot = field(init=False)
    network: network.Network = field(init=False)
    machines: dict[str, machine.Machine] = field(init=False)
    reconcilers: list[reconciler.Reconciler] = field(init=False)
    person: person.Person = field(init=False)
    bad_ends: dict[str, int] = field(default_factory=dict)
    _failed: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.faults = chaos.Faults(random.Random(self.seed + 1), self.rates)
        if self.rates:
            self.fates.choose = self.faults.choose
        self.source = sources.FakeSource()
        self.ledger = ledgers.FakeLedger("sim")
        self.watch = watch.Watch(self)
        self.depot = depot.Depot(self, person.STORE)
        self.network = network.Network(self, self.events, self.faults)
        self.machines = {f"host{n}": machine.Machine(self, f"host{n}", cpu=4000) for n in range(1, self.hosts + 1)}
        self.reconcilers = [reconciler.Reconciler(self, f"reconciler{n}") for n in range(1, self.rivals + 1)]
        self.person = person.Person(self, random.Random(self.seed + 2))

    def start(self) -> None:
        """Start every process."""
        for each in self.machines.values():
            each.start_agent()
        for rival in self.reconcilers:
            rival.start()

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.events.now + seconds
        self.events.after(seconds, lambda: None)
        while self.events.now < end and self.events.step():
            pass

    def close(self) -> None:
        """End every process."""
        self.over = True
        for each in self.reconcilers:
            each.kill()

    # what its parts ask of it

    def note(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        self.trace.append((self.events.now, who, what))

    def call(self, ref: spec.AttemptRef) -> str:
        """Return what a person calls an attempt."""
        run = self.recorded(ref.run)
        name = f"{run.job}[{run.replica}]" if run else "unrecorded"
        return f"{name}/{ref.run[:4]}#{ref.attempt}"

    def recorded(self, run: str) -> record.Record | None:
        """Return a run's record as it is on the server."""
        return self.ledger._snapshot.records.get(run)

    def behaviour(self, run: str) -> program.Program:
        """Return what a run does: what was said of its job, or a matter of the seed and its name."""
        known = self.recorded(run)
        if known is not None and known.job in self.programs:
            return self.programs[known.job]
        chance = random.Random(f"{self.seed} {run}")
        steps = chance.randint(20, 120)
        return program.Program(
            steps=steps,
            pace=chance.uniform(0.5, 3.0),
            saves_every=chance.choice((0, 0, 10)),
            fails=chance.choice((0, 0, 0, 1, 2)),
            fails_at=chance.randint(1, steps - 1),
            failure=chance.choice(EXITS),
        )

    def failures_left(self, run: str, what: program.Program) -> int:
        """Return how many executions of a run still end badly."""
        return what.fails - self._failed.get(run, 0)

    def failed(self, run: str) -> None:
        """An execution of a run has ended as its program has it."""
        self._failed[run] = self._failed.get(run, 0) + 1

    def ended_badly(self, run: str) -> None:
        """A process of a run has come to a bad end, for whatever reason."""
        self.bad_ends[run] = self.bad_ends.get(run, 0) + 1

    def answering(self) -> reconciler.Reconciler | None:
        """Return the reconciler behind the address that agents dial, if it takes a connection."""
        found = self.reconcilers[self.address % len(self.reconcilers)]
        return found if found.up else None

    def readdress(self) -> None:
        """Let the address lead to another reconciler; connections to the former one break, one after the other."""
        self.address += 1
        self.note("network", f"the address of the reconciler leads to {self.reconcilers[self.address % self.rivals].name}")
        for host in self.machines.values():
            self.events.after(self.chance.uniform(0.0, 20.0), host.redial)

    def restart(self, killed: reconciler.Reconciler) -> None:
        """Start a killed reconciler again, soon."""
        self.events.after(self.chance.uniform(0.1, 20.0), killed.start)

    def restart_agent(self, host: machine.Machine) -> None:
        """Start a killed agent again, soon."""
        self.events.after(self.chance.uniform(0.1, 20.0), host.start_agent)

    def scribble(self) -> None:
        """Somebody writes on the note of a revision."""
        if self.person.revisions:
            revision = self.chance.choice(self.person.revisions)
            line = f"somebody was here at {self.events.now:.3f}"
            self.ledger.scribble(revision, line)
            self.watch.scribbled(revision, line)

    def invite(self) -> None:
        """Somebody makes a token for a host: a commit between two of the reconciler's."""
        number = self.invited + 1
        token = record.Join(token=f"{number:064x}", host="host9", pool="", expires_at=clocks.EPOCH + 1e6)
        with contextlib.suppress(errors.PerdureError):
            answer = self.ledger.append(self.ledger.read(), contract.Change(joins=(token,)))
            self.invited += isinstance(answer, contract.Committed)

    def runs(self, job: str) -> list[record.Record]:
        """Return the records of a job's runs as they are on the server."""
        return [run for run in self.ledger._snapshot.records.values() if run.job == job]

    def borrowers(self, digest: str) -> list[str]:
        """Return the unfinished runs that were restored from another run's checkpoint."""
        unfinished = (run for run in self.ledger._snapshot.records.values() if run.phase not in record.TERMINAL)
        return [
            run.job
            for run in unfinished
            for saved in run.checkpoints
            if (saved.taken.digest, saved.taken.attempt) == (digest, 0)
        ]

    def heal(self) -> None:
        """Everything that was broken works again, and nothing breaks any more."""
        self.note("world", "the faults stop")
        self.faults.rates = {}
        self.fates.choose = lambda effect: fate.Fate.WELL
        self.ledger.mend()
        self.source.mend()
        self.depot.mend()
        for each in self.machines.values():
            each.heal()
            each.boot()
            each.clock.run_at(1.0)
        for rival in self.reconcilers:
            rival.clock.run_at(1.0)
            rival.frozen_for = 0.0
            rival.start()
