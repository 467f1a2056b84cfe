"""An agent that runs containers of a fake engine, look by look, on a clock that stands still."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

from agent import checkpointing, fake, journal, loop, places, setup, verdicts
from agent.containers import controller, judge, router, seam
from agent.containers import fake as engines
from reconciler.core import model, observed, spec
from reconciler.engines.fake import FakeEngine
from reconciler.storage.fake import FakeStore
from tests import conditions
from tests.agent.host import ByHand

IMAGE = seam.Image(id="sha256:" + "a" * 64, digests=("train@sha256:" + "d" * 64,))
CRIU = model.CheckpointPolicy(engine=model.EngineName.CRIU, store="main", deadline=5.0)
WHAT = spec.AttemptSpec(
    instance="i",
    run="1" * 32,
    attempt=1,
    tenant="t",
    job="j",
    replica=0,
    revision="r",
    workload=model.Workload(image="train:1", args=("--fast",), env={"A": "b"}),
    checkpoint=CRIU,
    store=model.StoreSpec(name="main", root="/nowhere"),
)
REF = WHAT.ref


class Still:
    """A clock that moves when the test moves it."""

    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def wait(self, seconds: float, until: Any = None) -> bool:
        self.at += seconds
        return until is not None and until.is_set()


class Capturing(FakeEngine):
    """Ends the container once its last checkpoint is safe, as CRIU does."""

    docker: engines.FakeDocker

    def take(self, site: Any, open_sink: Any, request: spec.Request) -> Any:
        self.state.setdefault(site.ref, b"memory")
        outcome = FakeEngine.take(self, site, open_sink, request)
        if request.then_stop and hasattr(outcome, "taken"):
            self.docker.end(site.container.id, 137)
        return outcome


class Rig:
    """`start` is a new agent on the same data, the same engine and the same store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Still()
        self.store = FakeStore()
        self.docker = engines.FakeDocker(self.clock.now, images={"train:1": IMAGE})
        self.criu = Capturing()
        self.criu.docker = self.docker
        self.link = ByHand()
        self.generation = 0
        for name in ("secrets", "agent"):
            (folder / name).mkdir(mode=0o700)
        self.items: dict[spec.AttemptRef, spec.Assignment] = {}
        self.start()

    def start(self) -> None:
        where = places.lay_out(self.folder / "agent", None, self.folder / "jobs")
        self.about = about = setup.Setup(
            offer=setup.Offer(host="h"),
            places=where,
            secrets=self.folder / "secrets",
            account=None,
            groups=None,
            clock=self.clock,
            engines={model.EngineName.CRIU: self.criu},
            open_store=lambda config: self.store,
        )
        self.book = journal.Journal(where)
        self.book.open(self.clock.now())
        self.control = controller.ContainerController(about, self.docker, checkpointing.Stores(about))
        self.control.view.look()
        self.judge = judge.Judge(self.book.entries, self.control, self.docker, self.clock)
        self.docker.judge = self.judge
        both = router.Router(fake.FakeController(), self.control)
        self.agent = loop.Agent(about, self.book, self.link, both, fake.Inline())

    def assign(self, what: spec.AttemptSpec = WHAT, **changed: Any) -> None:
        self.generation += 1
        self.items[what.ref] = spec.Assignment(spec=what, **changed)
        items = tuple(self.items.values())
        self.link.assignments = spec.Assignments(host="h", generation=self.generation, items=items)

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.at += 0.2
            self.control.view.look()
            self.agent.tick()
            conditions.eventually(lambda: not any(each.name in ("inspect", "end") for each in threading.enumerate()))

    def item(self, ref: spec.AttemptRef = REF) -> observed.Item:
        return next(item for item in self.agent.state().items if item.ref == ref)

    def running(self, what: spec.AttemptSpec = WHAT) -> engines.FakeContainer:
        self.assign(what)
        self.look(6)
        one = self.container(what.ref)
        assert one.state is seam.State.RUNNING, self.item(what.ref)
        return one

    def container(self, ref: spec.AttemptRef = REF) -> engines.FakeContainer:
        (one,) = [one for one in self.docker.containers.values() if one.name == f"perdure-{ref}"]
        return one

    def ended(self) -> observed.Exit:
        self.look(6)
        found = self.item().exit
        assert found is not None, self.item()
        return found


def without(engine: model.EngineName) -> spec.AttemptSpec:
    return dataclasses.replace(WHAT, checkpoint=dataclasses.replace(CRIU, engine=engine))


def restored(rig: Rig, image: seam.Image = IMAGE) -> spec.AttemptSpec:
    """The second attempt, from a checkpoint of the first."""
    rig.running()
    rig.assign(request=spec.Request(id="r1", purpose=spec.Purpose.SUSPEND, then_stop=True))
    rig.ended()
    rig.docker.images["train:1"] = image
    digest = rig.item().checkpoints[0].digest
    rig.assign(WHAT, want=spec.Want.REMOVE)
    rig.look(4)
    return dataclasses.replace(WHAT, attempt=2, restore=digest)


def asked(one: str, attempt: str = str(REF)) -> verdicts.Asked:
    """What the interposer asks about a container."""
    return verdicts.Asked(container=one, namespace="moby", attempt=attempt)
