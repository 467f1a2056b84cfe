"""The Swarm target over a fake Swarm and a fake link: who has the word, what is created when, what is never concluded."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from reconciler.contracts import swarm, target
from reconciler.core import container, model, observed, place, settle, spec
from reconciler.link import fake as fake_link
from reconciler.targets import books, hosts
from reconciler.targets.swarm import fake, services, wire
from tests.link.site import attempt
from tests.targets.hands import Clock, Host

Result = settle.Result
State = observed.ItemState
AT = 1_000_000.0
GIB = 2**30

WORK = model.Workload(image="train:1", command=("python3",), args=("-u", "train.py"), env={"B": "2", "A": "1"})


def what(run: str = "r1", host: str = "a", **more: Any) -> spec.AttemptSpec:
    made = dataclasses.replace(attempt(run, host=host), created_by=spec.Creator.ENGINE, workload=WORK)
    return dataclasses.replace(made, **more)


def run(run: str = "r1", host: str = "a", **more: Any) -> spec.Assignment:
    return spec.Assignment(spec=what(run, host, **more))


def item(assignment: spec.Assignment, state: observed.ItemState = State.PREPARING, **more: Any) -> observed.Item:
    given = assignment.spec
    return observed.Item(ref=given.ref, state=state, host=given.host, spec=given, **more)


class Site:
    """A Swarm of three nodes; the first two have an agent: hosts a and b."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.link = fake_link.FakeLink(self.clock)
        self.books = books.Books(self.link, self.clock)
        nodes = (swarm.Node(id=f"n{number}", name=f"node{number}", cpu=4000, memory=8 * GIB) for number in (1, 2, 3))
        self.managers = fake.FakeSwarm(*nodes)
        self.target = self.make()
        self.a, self.b = self.host("a", "n1"), self.host("b", "n2")

    def make(self, instance: str = "test") -> services.SwarmTarget:
        return services.SwarmTarget(model.TargetSpec(name="cluster"), instance, self.books, self.managers, self.clock)

    def host(self, name: str, node: str) -> Host:
        host = Host(self.link, name, facts={"swarm.node": node}, cpu=4000, memory=8 * GIB, engines=("docker", "criu"))
        host.report()
        return host

    def view(self) -> observed.TargetView:
        return self.target.observe(AT)

    def ready(self, assignment: spec.Assignment) -> None:
        """The host has prepared an attempt."""
        self.a.report(item(assignment, ready=True))

    def running(self, *assignments: spec.Assignment) -> None:
        """Attempts that were created the proper way and run on host a."""
        self.a.report(*(item(each, ready=True) for each in assignments))
        for each in assignments:
            assert self.target.apply(each).result is Result.CREATED
        self.managers.step()
        self.a.report(*(item(each, State.RUNNING, started_at=AT) for each in assignments))


@pytest.fixture
def site() -> Site:
    return Site()


# what is created, and when


def test_no_service_exists_before_the_host_is_ready(site: Site) -> None:
    assert site.target.apply(run()).result is Result.CREATED
    site.a.report(item(run()))
    assert site.target.apply(run()).result is Result.UNCHANGED
    assert site.managers.asked == []
    site.ready(run())
    assert site.view().items[run().spec.ref].ready
    assert site.target.apply(run()).result is Result.CREATED
    assert site.managers.asked == [f"create {container.name(run().spec.ref)}"]


def test_a_service_that_exists_is_adopted_and_asked_for_no_more(site: Site) -> None:
    site.ready(run())
    site.target.apply(run())
    assert not site.view().items[run().spec.ref].ready
    assert site.target.apply(run()).result is Result.UNCHANGED
    assert len(site.managers.bodies) == 1


@pytest.mark.parametrize("image", ["train@sha256:" + "d" * 64, "sha256:" + "a" * 64, ""], ids=["digest", "id", "not-said"])
def test_a_service_is_of_the_image_that_its_host_has_prepared(site: Site, image: str) -> None:
    site.a.report(item(run(), ready=True, image=image))
    assert site.target.apply(run()).result is Result.CREATED
    (body,) = site.managers.bodies.values()
    assert body["TaskTemplate"]["ContainerSpec"]["Image"] == (image or WORK.image)


def test_an_answer_that_was_lost_is_an_unknown_and_then_an_adoption(site: Site) -> None:
    site.ready(run())
    site.managers.lost_answers = 1
    assert site.target.apply(run()).result is Result.UNKNOWN
    assert site.target.apply(run()).result is Result.UNCHANGED
    assert len(site.managers.bodies) == 1


def test_a_stranger_of_the_same_name_is_not_ours(site: Site) -> None:
    stranger = wire.service(what(), "n1", wire.Known())
    site.managers.create({**stranger, "Labels": {**stranger["Labels"], container.INSTANCE: "other"}})
    site.ready(run())
    outcome = site.target.apply(run())
    assert outcome.result is Result.REFUSED
    assert "not ours" in outcome.detail
    site.target.delete(run().spec.ref, "a")
    assert len(site.managers.bodies) == 1


@pytest.mark.parametrize(
    "assignment",
    [
        dataclasses.replace(run(), want=spec.Want.STOP),
        dataclasses.replace(run(), request=spec.Request(id="stop.1.1", purpose=spec.Purpose.STOP, then_stop=True)),
    ],
    ids=["stop", "checkpoint-and-stop"],
)
def test_what_is_to_end_is_not_created(site: Site, assignment: spec.Assignment) -> None:
    site.ready(run())
    site.target.apply(assignment)
    assert site.managers.asked == []


def test_what_changes_in_place_never_touches_the_service(site: Site) -> None:
    site.running(run())
    changed = run(timeout=60.0, labels={"team": "vision"}, checkpoint=model.CheckpointPolicy(keep=9, interval=30.0))
    assert site.target.apply(changed).result is Result.CHANGED
    assert len(site.managers.asked) == 1


def test_a_missing_secret_is_refused_by_name(site: Site) -> None:
    wanted = run(workload=dataclasses.replace(WORK, secrets=("TOKEN",)))
    site.ready(wanted)
    outcome = site.target.apply(wanted)
    assert outcome.result is Result.REFUSED
    assert "no secret TOKEN" in outcome.detail
    site.managers.named["secrets"]["TOKEN"] = "id-1"
    assert site.target.apply(wanted).result is Result.CREATED


def test_the_service_says_all_that_a_container_needs() -> None:
    given = what(
        workload=dataclasses.replace(
            WORK,
            workdir="/srv",
            secrets=("TOKEN",),
            configs=(model.Config(name="settings", target="/etc/train.toml"),),
            volumes=(model.Volume(source="/data/", target="/in", read_only=True),),
        ),
        resources=model.Resources(cpu=1500, memory=GIB),
        checkpoint=model.CheckpointPolicy(engine=model.EngineName.CRIU, deadline=30.0),
    )
    body = wire.service(given, "n1", wire.Known(secrets={"TOKEN": "id-1"}, configs={"settings": "id-2"}))
    task = body["TaskTemplate"]
    inner = task["ContainerSpec"]
    assert body["Mode"] == {"Replicated": {"Replicas": 1}}
    assert task["RestartPolicy"] == {"Condition": "none"}
    assert task["Placement"] == {"Constraints": ["node.id==n1"]}
    assert task["Resources"]["Reservations"] == {"NanoCPUs": 1_500_000_000, "MemoryBytes": GIB}
    assert task["Resources"]["Reservations"].items() <= task["Resources"]["Limits"].items()
    assert (inner["Image"], inner["Command"], inner["Args"], inner["Dir"]) == (
        "train:1",
        ["python3"],
        ["-u", "train.py"],
        "/srv",
    )
    assert {"A=1", "B=2", "PERDURE_ATTEMPT=r1-1", "TOKEN_FILE=/run/secrets/TOKEN"} <= set(inner["Env"])
    assert inner["Secrets"][0]["SecretID"] == "id-1"
    assert (inner["Configs"][0]["ConfigID"], inner["Configs"][0]["File"]["Name"]) == ("id-2", "/etc/train.toml")
    assert inner["Mounts"][0].items() >= {"Source": "/data", "Target": "/in", "ReadOnly": True}.items()
    assert inner["StopGracePeriod"] == 40 * 10**9
    assert container.owner(body["Labels"]) == container.owner(inner["Labels"])
    assert len(container.name(spec.AttemptRef(run="f" * 32, attempt=9999))) <= 63


# whose word counts


def test_a_checkpointed_attempt_that_swarm_calls_failed_is_the_agents_to_judge(site: Site) -> None:
    site.running(run())
    site.managers.end(container.name(run().spec.ref))
    assert site.view().items[run().spec.ref].state is State.RUNNING
    stopped = observed.Exit(kind=observed.ExitKind.SIGNALED, signal=9, stopped=True)
    site.a.report(item(run(), State.ENDED, exit=stopped, ended_at=AT))
    assert site.view().items[run().spec.ref].exit == stopped


def test_what_swarm_could_not_create_has_not_started(site: Site) -> None:
    site.ready(run())
    site.target.apply(run())
    site.managers.end(container.name(run().spec.ref), "rejected", "No such image: train:1")
    seen = site.view().items[run().spec.ref]
    assert seen.state is State.ENDED
    assert seen.exit is not None
    assert seen.exit.kind is observed.ExitKind.NOT_STARTED
    assert "No such image: train:1" in seen.exit.detail


def test_a_short_program_that_has_finished_before_its_hosts_word_of_it_is_not_taken_for_one_that_never_began(
    site: Site,
) -> None:
    site.ready(run())
    site.target.apply(run())
    site.managers.step()
    site.managers.end(container.name(run().spec.ref), "complete", "finished")
    for _ in range(4):
        assert site.view().items[run().spec.ref].state is State.PREPARING
        site.clock.pass_(2.0)
    done = observed.Exit(kind=observed.ExitKind.EXITED, code=0)
    site.a.report(item(run(), State.ENDED, exit=done, ended_at=AT))
    assert site.view().items[run().spec.ref].exit == done


def test_a_container_that_was_made_and_never_begun_is_told_once_its_host_has_looked_long_enough(site: Site) -> None:
    site.ready(run())
    site.target.apply(run())
    site.managers.step()
    site.managers.end(container.name(run().spec.ref), "failed", "starting container failed: refused")
    for _ in range(3):
        site.clock.pass_(10.0)
        site.a.report()
        assert site.view().items[run().spec.ref].state is State.PREPARING
    site.clock.pass_(10.0)
    site.a.report()
    seen = site.view().items[run().spec.ref]
    assert seen.exit is not None
    assert "starting container failed: refused" in seen.exit.detail


@pytest.mark.parametrize("state", ["orphaned", "rejected"])
def test_of_a_silent_host_nothing_is_concluded(site: Site, state: str) -> None:
    site.ready(run())
    site.target.apply(run())
    site.view()
    site.managers.end(container.name(run().spec.ref), state)
    site.a.leave()
    assert site.view().items[run().spec.ref].state is State.PREPARING


def test_what_swarm_cannot_place_waits_and_says_why(site: Site) -> None:
    site.managers.nodes["n1"] = dataclasses.replace(site.managers.nodes["n1"], availability="drain")
    site.ready(run())
    site.target.apply(run())
    site.managers.step()
    seen = site.view().items[run().spec.ref]
    assert (seen.state, seen.ready) == (State.PREPARING, False)
    assert "no suitable node" in seen.condition


def test_an_attempt_that_only_swarm_lists_is_not_absent(site: Site) -> None:
    site.running(run())
    site.a.state = dataclasses.replace(site.a.state, items=())
    site.a.report()
    seen = site.view().items[run().spec.ref]
    assert (seen.state, seen.host) == (State.RUNNING, "")
    assert "no agent reports it" in seen.condition
    site.managers.end(container.name(run().spec.ref))
    assert run().spec.ref not in site.view().items
    assert run().spec.ref in site.view().objects


def test_a_service_that_somebody_removed_is_told(site: Site) -> None:
    site.running(run("r1"), run("r2"))
    site.managers.remove(next(iter(site.managers.bodies)))
    view = site.view()
    assert view.known
    assert "its service is gone" in view.items[run("r1").spec.ref].condition
    assert view.items[run("r2").spec.ref].condition == ""


def test_services_of_other_instances_and_other_people_are_not_ours(site: Site) -> None:
    site.managers.create(wire.service(what(instance="other"), "n1", wire.Known()))
    site.managers.create({**wire.service(what(), "n1", wire.Known()), "Name": "by-hand"})
    site.managers.create({**wire.service(what("r9"), "n1", wire.Known()), "Labels": {}})
    view = site.view()
    assert (view.items, view.objects) == ({}, {})


def test_plain_targets_do_not_speak_of_a_swarms_attempts(site: Site) -> None:
    site.running(run())
    plain = hosts.HostsTarget(model.TargetSpec(name="plain"), site.books)
    assert plain.observe(AT).items == {}
    assert set(plain.observe(AT).hosts) == {"a", "b"}


def test_a_machine_that_two_targets_share_offers_what_the_other_leaves(site: Site) -> None:
    site.running(run(resources=model.Resources(cpu=3500, memory=GIB)))
    plain = hosts.HostsTarget(model.TargetSpec(name="plain"), site.books).observe(AT)
    rooms = place.rooms(observed.World(at=AT, targets={"cluster": site.view(), "plain": plain}), ())
    left = {(name, host): (room.cpu, room.memory) for name, known in rooms.by_target.items() for host, room in known.items()}
    assert left == {
        ("cluster", "a"): (500, 7 * GIB),
        ("plain", "a"): (500, 7 * GIB),
        ("cluster", "b"): (4000, 8 * GIB),
        ("plain", "b"): (4000, 8 * GIB),
    }


# nothing is concluded from managers that do not answer, or cannot be believed


@pytest.mark.parametrize(
    "said", ["rpc error: code = Unknown desc = The swarm does not have a leader", "context deadline exceeded", "no answer"]
)
def test_a_swarm_without_an_answer_is_unknown(site: Site, said: str) -> None:
    site.running(run())
    site.view()
    site.managers.silent = said
    view = site.view()
    assert not view.known
    assert said in view.error
    assert set(view.hosts) == {"a", "b"}
    site.managers.silent = ""
    assert site.view().items[run().spec.ref].state is State.RUNNING


def test_an_empty_listing_while_hosts_run_attempts_is_not_believed(site: Site) -> None:
    site.running(run("r1"), run("r2"))
    site.managers.blank = True
    view = site.view()
    assert not view.known
    assert "no service of any of the 2 attempts" in view.error


def test_a_listing_without_nodes_is_not_believed(site: Site) -> None:
    site.managers.nodes.clear()
    assert not site.view().known


def test_another_swarm_at_the_same_address_is_not_this_one(site: Site) -> None:
    site.view()
    site.managers.cluster = "swarm-2"
    view = site.view()
    assert not view.known
    assert "swarm-2" in view.error


# what is gone, and what is removed


def test_the_service_is_removed_once_the_host_has_sent_the_last_output_and_forgotten(site: Site) -> None:
    site.running(run())
    site.a.report(item(run(), State.ENDED))
    assert site.target.delete(run().spec.ref, "a").result is Result.DELETED
    assert len(site.managers.bodies) == 1, "with it would go what the container has printed"
    site.a.obey()
    assert run().spec.ref in site.view().objects
    site.managers.silent = "no leader"
    assert site.target.delete(run().spec.ref, "a").result is Result.UNKNOWN
    site.managers.silent = ""
    assert site.target.delete(run().spec.ref, "a").result is Result.DELETED
    assert site.managers.bodies == {}
    assert site.target.delete(run().spec.ref, "a").result is Result.UNCHANGED


def test_the_service_of_a_host_that_is_gone_is_removed(site: Site) -> None:
    site.running(run())
    site.a.leave()
    site.target.delete(run().spec.ref, "a")
    assert site.managers.bodies == {}
    assert site.view().objects == {}


def test_gone_is_what_the_nodes_agent_says_and_no_task_contradicts(site: Site) -> None:
    site.running(run())
    ref = run().spec.ref
    assert site.target.confirm_gone(ref, "a") is target.Presence.PRESENT
    site.managers.end(container.name(ref))
    site.view()
    assert site.target.confirm_gone(ref, "a") is target.Presence.PRESENT, "the managers may be wrong about a node"
    site.a.state = dataclasses.replace(site.a.state, items=())
    site.a.obey()
    site.target.confirm_gone(ref, "a")
    site.a.obey()
    assert site.target.confirm_gone(ref, "a") is target.Presence.GONE
    site.a.leave()
    assert site.target.confirm_gone(ref, "a") is target.Presence.UNKNOWN


def test_an_unlisted_attempt_with_a_living_task_is_not_gone(site: Site) -> None:
    site.running(run())
    site.a.state = dataclasses.replace(site.a.state, items=())
    site.a.report()
    site.view()
    for _ in range(3):
        site.a.obey()
        assert site.target.confirm_gone(run().spec.ref, "a") is target.Presence.UNKNOWN


# where there is room


def test_hosts_are_the_nodes_with_an_agent(site: Site) -> None:
    elsewhere = Host(site.link, "c", facts={"swarm.node": "of-another-swarm"})
    elsewhere.report()
    Host(site.link, "d").report()
    assert set(site.view().hosts) == {"a", "b"}


def test_a_node_that_has_left_is_seen_while_it_has_attempts(site: Site) -> None:
    site.running(run())
    site.view()
    site.a.report(item(run(), State.RUNNING), facts={})
    view = site.view()
    assert view.hosts["a"].closed == "not a node of the Swarm now"
    assert run().spec.ref in view.items


@pytest.mark.parametrize(
    ("change", "closed"),
    [
        ({"availability": "drain"}, "set to drain in the Swarm"),
        ({"availability": "pause"}, "set to pause in the Swarm"),
        ({"state": "down"}, "down in the Swarm"),
        ({}, ""),
    ],
    ids=str,
)
def test_a_node_may_be_closed_to_new_work(site: Site, change: dict[str, str], closed: str) -> None:
    site.managers.nodes["n1"] = dataclasses.replace(site.managers.nodes["n1"], **change)  # type: ignore[arg-type]
    assert site.view().hosts["a"].closed == closed


def test_labels_of_the_node_count_and_the_agents_own_come_first(site: Site) -> None:
    labels = {"zone": "x", "disk": "ssd"}
    site.managers.nodes["n1"] = dataclasses.replace(site.managers.nodes["n1"], labels=labels)
    site.a.report(labels={"zone": "y"})
    assert site.view().hosts["a"].state.labels == {"zone": "y", "disk": "ssd"}


def test_room_is_the_nodes_less_what_others_reserve(site: Site) -> None:
    site.managers.nodes["n1"] = dataclasses.replace(site.managers.nodes["n1"], cpu=3000)
    site.managers.others = [
        swarm.Task(id="x", service="web", node="n1", state="running", cpu=500, memory=GIB),
        swarm.Task(id="y", service="web", node="n1", state="failed", cpu=500, memory=GIB),
    ]
    view = site.view().hosts["a"]
    assert (view.state.cpu, view.held_cpu) == (3000, 500)
    assert (view.state.memory, view.held_memory) == (8 * GIB, GIB)


def test_labels_of_a_pool_count_for_hosts_that_joined_for_it() -> None:
    site = Site()
    declared = model.TargetSpec(name="cluster", by_pool={"cheap": {"zone": "a"}})
    site.target = services.SwarmTarget(declared, "test", site.books, site.managers, site.clock)
    cheap = Host(site.link, "a", pool="cheap", facts={"swarm.node": "n1"}, labels={"zone": "b", "disk": "ssd"})
    cheap.report()
    assert {name: dict(view.state.labels) for name, view in site.view().hosts.items()} == {
        "a": {"zone": "a", "disk": "ssd"},
        "b": {},
    }
