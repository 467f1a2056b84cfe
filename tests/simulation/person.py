"""Who edits the desired state: jobs come, change, change back, are suspended, stopped, removed; some manifests are broken."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from reconciler.core import model
from tests.simulation import clocks, manifests

if TYPE_CHECKING:
    from tests.simulation import world

STORE = model.StoreSpec(name="store", root="/store", retention=1800.0)
TARGET = model.TargetSpec(name="hosts")
PLATFORM = {"store.yaml": manifests.store(STORE), "target.yaml": manifests.target(TARGET)}


class Person:
    """Keeps the repository: a draft per job, and every revision ever pushed."""

    def __init__(self, within: world.World, chance: random.Random) -> None:
        self._world = within
        self._chance = chance
        self.jobs: dict[str, model.Job] = {}
        self.checkpoints: dict[str, model.CheckpointRequest] = {}
        self.broken: dict[str, bytes] = {}
        """By job: what stands in its file instead of it."""
        self.revisions: list[str] = []
        self._trees: list[Mapping[str, bytes]] = []
        self._count = 0
        self._empty = False

    # commits

    def commit(self, what: str) -> None:
        """Push the drafts as they are."""
        files = self._files()
        self._push(files, what)

    def rewrite(self) -> None:
        """Force-push an earlier state over the newest; what was there comes back with the next commit."""
        if len(self.revisions) < 3:
            return
        index = self._chance.randrange(len(self.revisions) - 2)
        revision = self._world.source.commit(self._trees[index], parent=self.revisions[0])
        self._pushed(revision, self._trees[index], "rewrite the history")

    def _files(self) -> dict[str, bytes]:
        if self._empty:
            return dict(PLATFORM)
        files = {f"jobs/{name}.yaml": manifests.job(job) for name, job in self.jobs.items()}
        files |= {f"checkpoints/{name}.yaml": manifests.checkpoint(each) for name, each in self.checkpoints.items()}
        broken = {f"jobs/{name}.yaml": how for name, how in self.broken.items() if name in self.jobs}
        return PLATFORM | files | broken

    def _push(self, files: Mapping[str, bytes], what: str) -> None:
        trailers = {"Perdure-Allow-Rewrite": "true"}
        self._pushed(self._world.source.commit(files, trailers), files, what)

    def _pushed(self, revision: str, files: Mapping[str, bytes], what: str) -> None:
        self.revisions.append(revision)
        self._trees.append(files)
        self._world.note("person", what)
        for each in self._world.reconcilers:
            if self._chance.random() < 0.7:
                each.poke()

    def declare(self, name: str, **more: object) -> None:
        """Draft a job."""
        job = model.Job(
            name=name,
            target=TARGET.name,
            workload=model.Workload(command=("work", "A")),
            resources=model.Resources(cpu=500, memory=1 << 20),
            on_lost=model.OnLost.REPLACE,
            checkpoint=model.CheckpointPolicy(interval=10.0, store=STORE.name, keep=2),
        )
        self.jobs[name] = dataclasses.replace(job, **more)  # type: ignore[arg-type]

    # edits

    def edit(self) -> None:
        """Make one edit and push it."""
        edits: list[Callable[[], str]] = [
            self.add, self.add, self._suspend, self._suspend, self._resume, self._resume, self._resume, self._stop,
            self._remove, self._change, self._change, self._rerun, self._tune, self._grow, self._move, self._demand,
            self._withdraw, self._return_to, self._scale, self._break, self._mend, self._mend, self._empty_out,
        ]  # fmt: skip
        what = ""
        while not what:
            what = self._chance.choice(edits)()
        self.commit(what)

    def settle(self) -> None:
        """Say at last, in valid manifests, what is wanted: nothing is broken, a few jobs stay suspended or stopped."""
        self.broken.clear()
        self._empty = False
        self.checkpoints = {name: each for name, each in self.checkpoints.items() if not each.stop and each.job in self.jobs}
        if not self.jobs:
            self.add()
        for name, job in self.jobs.items():
            state = job.state if self._chance.random() < 0.4 else model.JobState.RUNNING
            there = tuple(each for each in job.depends_on if each in self.jobs)
            self.set(name, state=state, suspend=model.Suspension(), on_change=model.OnChange.RESTART)
            self.set(name, restore_from="latest", depends_on=there)
        self.commit("says at last what is wanted")

    def _one(self) -> str:
        return self._chance.choice(sorted(self.jobs)) if self.jobs else ""

    def set(self, name: str, **changes: object) -> None:
        """Change a draft."""
        self.jobs[name] = dataclasses.replace(self.jobs[name], **changes)  # type: ignore[arg-type]

    def add(self) -> str:
        if len(self.jobs) >= 6:
            return ""
        self._count += 1
        name = f"job{self._count}"
        chance = self._chance
        engine = model.EngineName.NONE if chance.random() < 0.1 else model.EngineName.APPLICATION
        policy = model.CheckpointPolicy(
            engine=engine,
            interval=chance.choice((None, 10.0, 10.0, 10.0, 30.0)),
            deadline=30.0,
            store="" if engine is model.EngineName.NONE else STORE.name,
            keep=chance.randint(1, 3),
        )
        if engine is model.EngineName.NONE:
            policy = dataclasses.replace(policy, interval=None)
        self.declare(
            name,
            replicas=chance.choice((1, 1, 1, 2)),
            retries=model.Retries(failure=chance.randint(0, 3), preemption=chance.choice((None, None, None, 10))),
            checkpoint=policy,
            on_lost=chance.choice((model.OnLost.WAIT, model.OnLost.REPLACE, model.OnLost.REPLACE)),
            on_change=chance.choice(tuple(model.OnChange)),
            timeout=chance.choice((None, None, None, 900.0)),
            depends_on=(self._one(),) if self.jobs and chance.random() < 0.25 else (),
        )
        return f"add {name}"

    def _suspend(self) -> str:
        name = self._one()
        if not name:
            return ""
        until = clocks.EPOCH + self._world.events.now + 90.0 if self._chance.random() < 0.3 else None
        self.set(name, state=model.JobState.SUSPENDED, suspend=model.Suspension(reason="a pause", until=until))
        return f"suspend {name}" + (" for 90 s" if until else "")

    def _resume(self) -> str:
        name = next((each for each, job in self.jobs.items() if job.state is not model.JobState.RUNNING), "")
        if name:
            self.set(name, state=model.JobState.RUNNING, suspend=model.Suspension())
        return name and f"resume {name}"

    def _stop(self) -> str:
        name = self._one()
        if name:
            self.set(name, state=model.JobState.STOPPED)
        return name and f"stop {name}"

    def _remove(self) -> str:
        name = self._one()
        if name and not any(name in job.depends_on for job in self.jobs.values()):
            gone = self.jobs.pop(name)
            if self._chance.random() < 0.5:
                self._world.events.after(self._chance.uniform(5.0, 200.0), lambda: self._return(gone))
            return f"remove {name}"
        return ""

    def _return(self, gone: model.Job) -> None:
        if gone.name not in self.jobs and not self._world.settling:
            self.jobs[gone.name] = dataclasses.replace(gone, depends_on=())
            self.commit(f"add {gone.name} again")

    def _change(self) -> str:
        """A to B, and mostly back to A."""
        name = self._one()
        if not name:
            return ""
        workload = self.jobs[name].workload
        other = "A" if workload.command[-1] == "B" else "B"
        self.set(name, workload=dataclasses.replace(workload, command=("work", other)))
        return f"change {name} to {other}"

    def _rerun(self) -> str:
        name = self._one()
        if not name or self._chance.random() < 0.5:
            return ""
        self.set(name, rerun=f"again {self._count}")
        return f"rerun {name}"

    def _tune(self) -> str:
        """Changes that are made in place."""
        name = self._one()
        if name:
            self.set(name, priority=self._chance.randint(-5, 5), on_lost=self._chance.choice(tuple(model.OnLost)))
        return name and f"tune {name}"

    def _grow(self) -> str:
        name = self._one()
        if name:
            self.set(name, resources=model.Resources(cpu=self._chance.choice((400, 500, 600)), memory=1 << 20))
        return name and f"resize {name}"

    def _move(self) -> str:
        name = self._one()
        if name:
            node = self._chance.choice(("", *self._world.machines))
            self.set(name, placement=model.Placement(node=node))
        return name and f"place {name}"

    def _demand(self) -> str:
        name = self._one()
        if not name or len(self.checkpoints) >= 3 or not self.jobs[name].checkpoint.store:
            return ""
        self._count += 1
        title = f"save{self._count}"
        self.checkpoints[title] = model.CheckpointRequest(name=title, job=name, stop=self._chance.random() < 0.3)
        return f"checkpoint {name}"

    def _return_to(self) -> str:
        """Ask for an older checkpoint by its digest, for none, or for the newest again."""
        name = self._one()
        if not name:
            return ""
        offered = [saved.taken.digest for run in self._world.runs(name) for saved in run.checkpoints]
        wanted = self._chance.choice(("latest", "none", *offered))
        self.set(name, restore_from=wanted)
        return f"restore {name} from {wanted[:19]}"

    def _scale(self) -> str:
        name = self._one()
        if name:
            self.set(name, replicas=self._chance.randint(1, 2))
        return name and f"set the replicas of {name} to {self.jobs[name].replicas}"

    def _withdraw(self) -> str:
        if not self.checkpoints:
            return ""
        title = self._chance.choice(sorted(self.checkpoints))
        del self.checkpoints[title]
        return f"withdraw {title}"

    def _break(self) -> str:
        name = self._one()
        if name:
            self.broken[name] = self._chance.choice(manifests.BROKEN)
        return name and f"break {name}"

    def _mend(self) -> str:
        name = next(iter(sorted(self.broken)), "")
        self.broken.pop(name, None)
        self._empty = False
        return name and f"mend {name}"

    def _empty_out(self) -> str:
        if self._chance.random() < 0.7:
            return ""
        self._empty = not self._empty
        return "remove everything" if self._empty else "bring everything back"
