"""Hosts whose processors differ: a checkpoint goes only where what its program may use is there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from tests import conditions
from tests.lab import fleet
from tests.lab.lab import CHECKOUT, Lab
from tests.lab.test_docker_jobs import COUNT, counted_on, joins, started

LACKING = "sse4_2"
LESSER = f"""#!/bin/sh
# criu, but for one feature of the processor that it does not tell of
case "$1 $2" in "cpuinfo dump") ;; *) exec /usr/sbin/criu "$@" ;; esac
/usr/sbin/criu "$@" && cd {CHECKOUT} && exec {sys.executable} -B -c '
import sys
from pathlib import Path
from reconciler.engines.criu import messages
path, magics = Path(sys.argv[1]) / "cpuinfo.img", (messages.COMMON_MAGIC, messages.CPUINFO_MAGIC)
(entry,) = messages.messages(path.read_bytes(), *magics, "")
found = messages.nested(messages.decode(entry, ""), 1)
words = messages.numbers(messages.decode(found, ""), 6)
words[4] &= ~(1 << 20)  # {LACKING}
lesser = messages.edited(found, "", {{6: words}}, {{}})
path.write_bytes(messages.image(*magics, [messages.edited(entry, "", {{}}, {{1: lesser}})]))
' "$4"
"""

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the feature is one of x86")


@pytest.fixture
def site(lab: Lab) -> Iterator[fleet.Fleet]:
    made = fleet.Fleet(lab)
    yield made
    made.close()


def test_a_checkpoint_waits_for_a_processor_that_can_continue_it(site: fleet.Fleet) -> None:
    """What begins on the lesser one goes anywhere; what has seen the other one does not go back."""
    site.host("lesser", criu=LESSER)
    train = fleet.job("train", COUNT)
    site.commit({"train.yaml": train})
    site.until("train", started(1))
    counted_on(site, "train", 20, 1)
    site.host("better")
    site.commit({"train.yaml": f"{train}  placement: {{node: better}}\n"})
    site.until("train", started(2))
    joins(site, "train", 1)

    site.commit({"train.yaml": f"{train}  placement: {{node: lesser}}\n"})
    conditions.eventually(
        lambda: "WaitingForProcessor" in site.perdure("why", "train"), 90, interval=0.5, message=lambda: site.told("train")
    )
    said = " ".join(site.perdure("why", "train").split())
    assert "no host of target machines has the processor features that the checkpoint needs" in said
    assert f"1 of 2 hosts with another processor (lacking {LACKING})" in said
    assert "1 of 2 hosts not the node asked for" in said

    site.commit({"train.yaml": train})  # the emptier host is as good as the other: only one may continue it
    run = site.until("train", started(3))
    assert run["attempts"][2]["host"] == "better"
    joins(site, "train", 2)
