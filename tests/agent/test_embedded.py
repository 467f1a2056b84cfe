"""The agent in the reconciler's process, over the reconciler's own end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import embedded, service
from reconciler.core import observed, spec
from reconciler.link.embedded import EmbeddedDoor
from reconciler.link.switchboard import Switchboard
from reconciler.seams import clock
from tests import conditions
from tests.agent.host import HOST, Host, archive


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path)
    yield one
    one.close()


def test_direct_calls_carry_the_same_states(host: Host) -> None:
    time = clock.System()
    board = Switchboard(time)
    door = EmbeddedDoor(board, HOST, "pool")
    link = embedded.EmbeddedUplink(door.deliver, door.assignments, lambda tree: iter((archive({"f": tree}),)))
    door.listen(link.changed)
    what = host.attempt("print('hello')")
    with service.running(host.options(), link, time):
        conditions.eventually(lambda: HOST in board.hosts())
        accepted = board.hosts()[HOST].state.accepted
        board.send(spec.Assignments(host=HOST, generation=accepted + 1, items=(spec.Assignment(spec=what),)))

        def ended() -> bool:
            items = board.hosts()[HOST].state.items
            return bool(items) and items[0].state is observed.ItemState.ENDED

        conditions.eventually(ended)
        assert board.hosts()[HOST].state.pool == "pool"
        assert b"".join(link.archive("x"))
    door.close()
    assert host.log(what.ref) == b"hello\n"
