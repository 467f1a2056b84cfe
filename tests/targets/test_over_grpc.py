"""Books, switchboard, server and an agent's connection together, over real mutual TLS, through a reconciler's restart."""

from __future__ import annotations

from pathlib import Path

from agent import dial
from reconciler.core import model, observed, settle
from reconciler.link import switchboard
from reconciler.targets import books, hosts
from tests.agent.test_dial import QUICK
from tests.conditions import eventually
from tests.link.site import Site, heard, state
from tests.targets.test_hosts import run


def made(here: Site) -> hosts.HostsTarget:
    return hosts.HostsTarget(model.TargetSpec(name="plain"), books.Books(here.board, here.clock))


def test_an_assignment_reaches_its_host_and_a_new_reconciler_adopts_it(tmp_path: Path) -> None:
    with Site(tmp_path) as here:
        here.join("a")
        agent = dial.Dial(tmp_path / "agent-a", here.clock, QUICK)
        agent.start()
        agent.send(state("a", 1))
        heard(here, "a", state("a", 1))
        assert made(here).apply(run()).result is settle.Result.CREATED
        given = eventually(agent.newest)
        assert given is not None
        assert given.items == (run(),)

        here.server.stop()
        item = observed.Item(ref=run().spec.ref, state=observed.ItemState.RUNNING, host="a", spec=run().spec)
        running = state("a", 2, accepted=given.generation, items=(item,))
        agent.send(running)
        here.board = switchboard.Switchboard(here.clock)
        here.start()
        heard(here, "a", running)
        target = made(here)
        assert target.observe(here.clock.now()).items == {item.ref: item}
        assert target.apply(run()).result is settle.Result.UNCHANGED
        assert target.delete(item.ref, "a").result is settle.Result.DELETED
        eventually(lambda: (now := agent.newest()) is not None and now.generation > given.generation)
        agent.stop()
