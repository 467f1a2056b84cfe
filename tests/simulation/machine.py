"""Hosts: a disk that survives its processes, job processes under supervisors, an agent that may be killed at any moment."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent import journal
from agent import process as processes
from reconciler.core import observed, spec
from tests.simulation import agent, clocks, program

if TYPE_CHECKING:
    from tests.simulation import world


@dataclass(slots=True)
class Disk:
    """What outlives the processes of a host: the journal, and the supervisors' records."""

    host: journal.Host
    entries: dict[spec.AttemptRef, journal.Entry] = field(default_factory=dict)
    jobs: dict[spec.AttemptRef, Job] = field(default_factory=dict)
    restored: dict[spec.AttemptRef, int] = field(default_factory=dict)
    """The step of the checkpoint that lies ready for an attempt."""


@dataclass(slots=True, eq=False)
class Job:
    """The process tree of one attempt and what its supervisor has recorded."""

    what: program.Program
    step: int
    fails: bool
    started_at: float
    alive: bool = True
    supervised: bool = True
    stopping: bool = False
    saved: int | None = None
    """The step at which the program has saved something that is not in the store yet."""
    exit: observed.Exit | None = None
    ended_at: float | None = None


class Machine:
    """One host."""

    def __init__(self, within: world.World, name: str, cpu: int) -> None:
        self.world = within
        self.name = name
        self.cpu = cpu
        self.clock = clocks.Clock(within.events, lambda seconds: None)
        self.up = True
        self.boots = 1
        self._disks = 0
        self._session = 0
        self.disk = self._new_disk()
        self.agent: agent.Agent | None = None
        self.partitioned = False
        """No reconciler can be reached."""
        self.cut_from_stores = False

    def _new_disk(self) -> Disk:
        self._disks += 1
        return Disk(host=journal.Host(agent=f"{self.name}/{self._disks}"))

    # what happens to it

    def lose(self) -> None:
        """The machine is gone with everything on it."""
        self._off("lost with its data")
        self.disk = self._new_disk()

    def crash(self) -> None:
        """The power is cut; the disk is there when it comes back."""
        self._off("crashed")

    def warn(self, seconds: float) -> None:
        """It is told that it goes away."""
        self.world.note(self.name, f"is told that it goes away in {seconds:.0f} s")
        if self.agent is not None:
            self.agent.warn(seconds)
            self.world.events.after(seconds, self.reclaim)

    def reclaim(self) -> None:
        """The time of its notice has come."""
        if self.disk.host.notice is not None:
            self.lose()
            self.world.events.after(self.world.chance.uniform(5.0, 200.0), self.boot)

    def heal(self) -> None:
        """The network is there again."""
        if self.partitioned or self.cut_from_stores:
            self.world.note(self.name, "reachable again")
        self.partitioned = self.cut_from_stores = False

    def redial(self) -> None:
        """The connection breaks."""
        if self.agent is not None:
            self.agent.wire.hang_up()

    def _off(self, why: str) -> None:
        self.world.note(self.name, why)
        self.kill_agent()
        self.up = False
        for job in self.disk.jobs.values():
            job.alive = job.supervised = False

    def boot(self) -> None:
        """Come up, with an agent."""
        if not self.up:
            self.boots += 1
            self.up = True
            self.world.note(self.name, f"up again as boot {self.boots}")
        self.start_agent()

    def kill_agent(self) -> None:
        """SIGKILL of the agent. Its jobs go on."""
        if self.agent is not None:
            self.agent.die()
            self.agent = None

    def start_agent(self) -> None:
        """Start the agent unless it runs."""
        if self.up and self.agent is None:
            # Sessions grow by the clock when the data was lost. A machine whose clock is behind that of the one it replaces is
            # not heard until it has caught up: that is a known limit, and not simulated.
            self._session = session = max(self.disk.host.session + 1, int(self.clock.now()), self._session + 1)
            self.disk.host = dataclasses.replace(self.disk.host, session=session)
            self.agent = agent.Agent(self)

    # its job processes

    def look(self, ref: spec.AttemptRef) -> processes.Look:
        """Return what the supervisor's files say."""
        job = self.disk.jobs.get(ref)
        if job is None:
            return processes.Look(presence=processes.Presence.ABSENT)
        if job.exit is not None:
            return processes.Look(
                presence=processes.Presence.ENDED, started_at=job.started_at, ended_at=job.ended_at, exit=job.exit
            )
        presence = processes.Presence.LIVE if job.supervised else processes.Presence.ORPHANED
        return processes.Look(presence=presence, started_at=job.started_at)

    def execute(self, ref: spec.AttemptRef, wanted: spec.AttemptSpec) -> None:
        """Have a supervisor stand by an attempt: one that starts it, or adopts what a killed one has left."""
        job = self.disk.jobs.get(ref)
        if job is not None:
            job.supervised = True
            if not job.alive and job.exit is None:
                job.exit = observed.Exit(kind=observed.ExitKind.UNKNOWN, detail="gone without a record")
                job.ended_at = self.clock.now()
            return
        what = self.world.behaviour(ref.run)
        fails = self.world.failures_left(ref.run, what) > 0
        step = self.disk.restored.get(ref, 0)
        self.disk.jobs[ref] = job = Job(what=what, step=step, fails=fails, started_at=self.clock.now())
        self.world.watch.started(self.name, wanted, self.disk.host.agent)
        self._go_on(ref, job)
        if wanted.timeout is not None:
            self.world.events.after(wanted.timeout, lambda: self._timeout(ref, job))

    def stop(self, ref: spec.AttemptRef, grace: float) -> None:
        """Let the supervisor end a job: it may still come to its own end within the grace."""
        job = self.disk.jobs[ref]
        if job.stopping or not job.supervised:
            return
        job.stopping = True
        delay = self.world.chance.uniform(0.0, grace)
        stopped = observed.Exit(kind=observed.ExitKind.SIGNALED, signal=15, stopped=True)
        self.world.events.after(delay, lambda: self._end(ref, job, stopped))

    def kill_job(self, ref: spec.AttemptRef) -> None:
        """Somebody ends a job that has done nothing wrong."""
        killed = observed.Exit(kind=observed.ExitKind.SIGNALED, signal=9, detail="signal 9, cause unknown")
        self._end(ref, self.disk.jobs[ref], killed)

    def kill_supervisor(self, ref: spec.AttemptRef) -> None:
        """The supervisor is killed; its job goes on, and nobody waits for it."""
        job = self.disk.jobs[ref]
        job.supervised = job.stopping = False
        self.world.note(self.name, f"supervisor of {self.world.call(ref)} killed")
        self._poke()

    def _go_on(self, ref: spec.AttemptRef, job: Job) -> None:
        self.world.events.after(job.what.pace, lambda: self._step(ref, job))

    def _step(self, ref: spec.AttemptRef, job: Job) -> None:
        if not job.alive:
            return
        job.step += 1
        if job.what.saves_every and job.step % job.what.saves_every == 0:
            job.saved = job.step
            self._poke()
        if job.fails and job.step >= job.what.fails_at:
            self.world.failed(ref.run)
            self._end(ref, job, job.what.failure)
        elif job.step >= job.what.steps:
            self.world.watch.completed(ref)
            self._end(ref, job, observed.Exit(kind=observed.ExitKind.EXITED, code=0))
        else:
            self._go_on(ref, job)

    def _timeout(self, ref: spec.AttemptRef, job: Job) -> None:
        self._end(ref, job, observed.Exit(kind=observed.ExitKind.TIMEOUT, signal=15))

    def _end(self, ref: spec.AttemptRef, job: Job, exit: observed.Exit) -> None:
        if not job.alive:
            return
        job.alive = False
        if not job.stopping and exit.code != 0:
            self.world.ended_badly(ref.run)
        if job.supervised:
            job.exit = dataclasses.replace(exit, stopped=job.stopping)
            job.ended_at = self.clock.now()
        self.world.note(self.name, f"{self.world.call(ref)} ended at step {job.step}: {exit.kind.value} {exit.code}")
        self._poke()

    def _poke(self) -> None:
        if self.agent is not None:
            self.agent.poke()
