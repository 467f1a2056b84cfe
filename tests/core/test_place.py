"""A host has its room once, however many targets it belongs to."""

from __future__ import annotations

import dataclasses

from reconciler.core import model, observed, place, record, spec
from tests.core import runs, scene

GIB = scene.GIB
HALF = model.Resources(cpu=500, memory=GIB)


def job(target: str, resources: model.Resources = HALF) -> model.Job:
    return model.Job(name="train", target=target, workload=model.Workload(command=("true",)), resources=resources)


def seen(*items: observed.Item) -> observed.World:
    """Two targets that the host `a` belongs to: 1 core, 4 GiB. The second one sees half of its memory only."""
    state = observed.HostState(host="a", cpu=1000, memory=4 * GIB)
    lesser = dataclasses.replace(state, memory=2 * GIB)
    listed = {item.ref: item for item in items}
    return observed.World(
        at=0.0,
        targets={
            name: observed.TargetView(name=name, hosts={"a": observed.HostView(state=each, seen_at=0.0)}, items=listed)
            for name, each in (("first", state), ("second", lesser))
        },
    )


def running(target: str) -> record.Record:
    """A run that was placed on `a`, which may not have said so yet."""
    attempt = record.Attempt(number=1, target=target, host="a", intended_at=0.0)
    return runs.of(job(target), attempt, run="1" * 32, phase=record.Phase.RUNNING)


def item(number: int, state: observed.ItemState = observed.ItemState.RUNNING) -> observed.Item:
    what = spec.AttemptSpec(
        instance="i",
        run="1" * 32,
        attempt=number,
        tenant="default",
        job="train",
        replica=0,
        revision="r",
        workload=model.Workload(command=("true",)),
        resources=HALF,
    )
    return observed.Item(ref=what.ref, state=state, host="a", spec=what)


def chosen(rooms: place.Rooms, *targets: str) -> list[str]:
    """Which of the jobs, each for a target, find room, one after the other."""
    return [target for target in targets if rooms.choose(job(target)) == "a"]


def test_what_is_placed_for_one_target_takes_the_room_of_the_others() -> None:
    assert chosen(place.rooms(seen(), ()), "first", "second", "first") == ["first", "second"]


def test_what_one_target_runs_takes_the_room_of_the_others_once() -> None:
    for listed in ((), (item(1),)):
        assert chosen(place.rooms(seen(*listed), [running("first")]), "second", "second") == ["second"]


def test_what_was_given_up_and_still_runs_takes_room_until_it_has_ended() -> None:
    ended = item(2, observed.ItemState.ENDED)
    assert chosen(place.rooms(seen(item(1), ended), ()), "second", "first", "first") == ["second"]


def test_a_target_that_sees_less_of_a_host_offers_less() -> None:
    rooms = place.rooms(seen(), ())
    large = model.Resources(cpu=500, memory=3 * GIB)
    assert isinstance(rooms.choose(job("second", large)), place.Refusal)
    assert rooms.choose(job("first", large)) == "a"
    assert isinstance(rooms.choose(job("second")), place.Refusal)
