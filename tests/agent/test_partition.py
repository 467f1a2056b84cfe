"""Networks that stop passing anything and say nothing about it."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from pathlib import Path

import pytest

from agent import dial, identity
from tests.agent.test_dial import QUICK
from tests.conditions import eventually
from tests.link.proxy import Proxy
from tests.link.site import Site, assignments, heard, state

HOSTS = ("a", "b", "c", "d")


@pytest.mark.parametrize("seed", [1, 2])
def test_clogged_one_by_one_and_freed_in_any_order(tmp_path: Path, seed: int) -> None:
    """Each agent is cut off in silence, all are told something meanwhile, and each catches up when its wire is free."""
    order = random.Random(seed)
    with contextlib.ExitStack() as stack:
        here = stack.enter_context(Site(tmp_path))
        wires: dict[str, Proxy] = {}
        agents: dict[str, dial.Dial] = {}
        for name in HOSTS:
            wires[name] = stack.enter_context(Proxy(here.addresses.agents))
            (tmp_path / name).mkdir()
            identity.save(tmp_path / name, dataclasses.replace(here.join(name), address=wires[name].address))
            agents[name] = dial.Dial(tmp_path / name, here.clock, QUICK)
            agents[name].start()
            stack.callback(agents[name].stop)
            agents[name].send(state(name, 1))
        for name in HOSTS:
            heard(here, name, state(name, 1))

        for name in order.sample(HOSTS, len(HOSTS)):
            wires[name].clog()
        for name in HOSTS:
            agents[name].send(state(name, 2, draining=True))
            for generation in range(1, 6):
                here.board.send(assignments(name, generation))
        eventually(lambda: not any(one.connected for one in here.board.hosts().values()))
        assert all(one.state.generation == 1 for one in here.board.hosts().values())

        for name in order.sample(HOSTS, len(HOSTS)):
            wires[name].unclog()
            heard(here, name, state(name, 2, draining=True))
            eventually(lambda name=name: agents[name].newest() == assignments(name, 5))  # type: ignore[misc]
