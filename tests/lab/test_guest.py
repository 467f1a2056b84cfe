"""On a kernel with cgroup v2: what the lab's own machine cannot show."""

from __future__ import annotations

import pytest

from tests.lab import recipe
from tests.lab.guest import Guest
from tests.lab.lab import Lab

CONTAINER = """
set -eu
fail() { echo "FAILED $1"; tail -30 /tmp/dockerd.log /tmp/image/*.log 2> /dev/null; exit 1; }
dockerd > /tmp/dockerd.log 2>&1 &
for second in $(seq 120); do docker version > /dev/null 2>&1 && break; sleep 1; done
docker load --quiet --input /given/tiny.tar
count='n=0; while :; do echo $n > /tmp/count.new; mv /tmp/count.new /tmp/count; n=$((n+1)); sleep 0.1; done'
id=$(docker run --detach --network none --memory 64m perdure-lab/tiny:1 sh -c "$count")
until docker exec "$id" cat /tmp/count 2> /dev/null; do sleep 1; done
grep . /sys/fs/cgroup/docker/$id/memory.max
mkdir /tmp/image
runc --root /run/docker/runtime-runc/moby checkpoint --image-path /tmp/image --work-path /tmp/image \\
    --manage-cgroups-mode soft --leave-running "$id" || fail checkpoint
before=$(docker exec "$id" cat /tmp/count)
sleep 2
after=$(docker exec "$id" cat /tmp/count)
[ "$after" -gt "$before" ] || fail "it does not go on"
grep -q "Dumping finished successfully" /tmp/image/dump.log || fail dump
docker rm --force "$id"
echo checkpointed
"""


@pytest.fixture(scope="module")
def guest(lab: Lab) -> Guest:
    assert lab.supervisor  # where no lab can be, there is no guest
    return Guest()


def test_it_has_cgroup_v2_and_criu_is_good(guest: Guest) -> None:
    outcome = guest.run(
        "uname -r; cat /sys/fs/cgroup/cgroup.controllers; criu check; criu check --feature mem_dirty_track; exit 3"
    )
    assert outcome.status == 3
    assert {"cpu", "cpuset", "io", "memory", "pids"} <= set(outcome.output.split())
    assert outcome.output.count("Looks good") == 1
    assert "mem_dirty_track is supported" in outcome.output


def test_docker_runs_and_criu_dumps_a_container_there(guest: Guest, lab: Lab) -> None:
    outcome = guest.run(CONTAINER, files={"tiny.tar": lab.cache.image(recipe.TINY_IMAGE)})
    assert outcome.status == 0, outcome.output
    assert "67108864" in outcome.output
    assert "checkpointed" in outcome.output
