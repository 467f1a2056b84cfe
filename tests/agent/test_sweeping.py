"""What a killed agent left in a store goes when the next one starts; who lives is left alone."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import conditions
from tests.agent.host import Host
from tests.storage import images

KILLED = """
import os, sys
from reconciler.contracts import store
from reconciler.storage import path
from tests.storage import images

depot = path.PathStore(images.config(sys.argv[1]), store.Keys())
run = sys.argv[2]
sink = depot.writer(images.meta(run=run))
images.fill(sink, {"state": images.noise(1, 40)})
os._exit(9)
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path)
    yield one
    one.close()


def test_when_an_agent_starts(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt("print('done')"))
        host.ended(ref)
    folder = Path(host.spec.root) / "runs" / ref.run
    living = host.store.writer(images.meta(run=ref.run))
    images.fill(living, {"state": images.noise(2, 40)})
    killed = subprocess.run([sys.executable, "-c", KILLED, host.spec.root, ref.run], check=False)
    assert killed.returncode == 9
    assert len(list((folder / "writing").iterdir())) == 2
    with host.up():
        conditions.eventually(lambda: len(list((folder / "writing").iterdir())) == 1)
        conditions.eventually(lambda: len({name.name[:16] for name in (folder / "packs").iterdir()}) == 1)
        taken, _ = living.commit()
    assert host.store.verify(taken.digest).ok


def test_a_store_out_of_reach_keeps_no_agent_from_starting(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    with host.up():
        ref = host.assign(host.attempt("print('done')"))
        host.ended(ref)
    with caplog.at_level(logging.WARNING, "perdure.agent"), host.without_store(), host.up():
        conditions.eventually(lambda: "stays for now" in caplog.text)
        assert host.item(ref) is not None
