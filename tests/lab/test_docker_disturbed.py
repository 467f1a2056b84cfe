"""Containers that somebody handles by hand (`docker pause`, `commit`, `start` …) while a checkpoint or an end is under way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import fleet
from tests.lab.lab import Lab
from tests.lab.test_docker_jobs import COUNT, counted_on, lines, started

LARGE = f"import os\nheld = os.urandom(1 << 20) * 1500\n{COUNT}"
"""Stands still for a second or so while its memory is read."""

CHECKPOINT = "apiVersion: perdure.dev/v1alpha1\nkind: Checkpoint\nmetadata: {name: %s}\nspec: {job: %s}\n"

IN_THE_MIDDLE = """
while grep -q "TracerPid:.0$" "/proc/$1/status"; do :; done
while ! grep -q THAWED "$2"; do :; done
shift 2
exec "$@"
"""
"""Runs a command once CRIU holds every process still, and has let go of the control group by which it caught them."""


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[fleet.Fleet]:
    made = fleet.Fleet(lab, lost_after="60s")
    made.host("alpha")
    yield made
    made.close()


@pytest.mark.parametrize("verb", ["pause", "unpause", "commit"])
def test_who_pauses_it_or_lets_it_go_on_in_the_middle_of_a_checkpoint_waits_for_its_end(site: fleet.Fleet, verb: str) -> None:
    """`docker commit` does both. Frozen by somebody else CRIU could not get its code out of the program again."""
    name, host = f"held-{verb}", site.hosts["alpha"]
    site.commit({f"job-{name}.yaml": fleet.job(name, LARGE)})
    site.until(name, started(1))
    counted_on(site, name, 20, 1)
    (own,) = host.containers()
    group = f"/sys/fs/cgroup/freezer/docker/{own['Id']}/freezer.state"
    if verb == "unpause":
        host.docker.cli("pause", own["Id"])
    words = ["docker", verb, own["Id"]]
    somebody = host.node.popen(["timeout", "60", "sh", "-c", IN_THE_MIDDLE, "sh", str(own["State"]["Pid"]), group, *words])
    site.commit({f"job-{name}-saved.yaml": CHECKPOINT % (name, name)})
    said, _ = somebody.communicate(timeout=90)
    assert somebody.returncode == 0, said
    site.until(name, lambda run: run["checkpoints"])
    assert host.docker.inspect(own["Id"])["State"]["Status"] == ("paused" if verb == "pause" else "running")
    if verb == "pause":
        host.docker.cli("unpause", own["Id"])
    counted = counted_on(site, name, lines(site, name)[-1][1] + 20, 1)
    assert [n for _, n in counted] == list(range(1, counted[-1][1] + 1))
    assert [each["ending"] for each in site.run(name)["attempts"]] == [None]
    site.commit({f"job-{name}.yaml": None, f"job-{name}-saved.yaml": None, "empty.txt": name}, "x\n\nPerdure-Allow-Empty: true")


def test_a_program_that_is_killed_in_the_middle_of_its_last_checkpoint_is_not_waited_for(site: fleet.Fleet) -> None:
    """CRIU may wait for it without end."""
    host, text = site.hosts["alpha"], fleet.job("killed", LARGE)
    site.commit({"job-killed.yaml": text})
    site.until("killed", started(1))
    counted_on(site, "killed", 20, 1)
    (own,) = host.containers()
    group = f"/sys/fs/cgroup/freezer/docker/{own['Id']}/freezer.state"
    words = ["docker", "kill", own["Id"]]
    somebody = host.node.popen(["timeout", "60", "sh", "-c", IN_THE_MIDDLE, "sh", str(own["State"]["Pid"]), group, *words])
    site.commit({"job-killed.yaml": f"{text}  state: Suspended\n"})
    said, _ = somebody.communicate(timeout=90)
    assert somebody.returncode == 0, said
    site.until("killed", lambda run: run["phase"] == "suspended", timeout=90)
    assert host.node.run(["pgrep", "-x", "criu"], check=False).stdout == ""
