"""Runs in the guest: a lab there, whose nodes lie over the guest's own root. Prints what it finds as a line of JSON."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests import conditions
from tests.lab import cache, recipe
from tests.lab.cache import Cache
from tests.lab.docker import Docker
from tests.lab.lab import Lab

COUNTER = "n=0; while :; do echo $n > /tmp/new; mv /tmp/new /tmp/count; n=$((n+1)); sleep 0.1; done"
PLACE = Path("/var/cache/perdure")
PATIENCE = 300.0


class Whole(Cache):
    """A cache whose only layer is the machine's own root."""

    @property
    def lower(self) -> str:
        """The `lowerdir` of a node."""
        return "/"

    def image(self, tag: str) -> Path:
        """An image that was given."""
        return Path("/given") / tag


def main() -> dict[str, object]:
    """Boots a node, starts dockerd in it, and checkpoints a container that goes on."""
    PLACE.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(PLACE)], check=True)  # an overlay's upper must not lie in its lower
    cache.PLACE = PLACE
    cache.ensure = lambda say=None: Whole(place=PLACE)
    found: dict[str, object] = {"kernel": os.uname().release, "security": Path("/sys/kernel/security/lsm").read_text()}
    with Lab() as site:
        node = site.node("inner")
        found["controllers"] = node.path("/sys/fs/cgroup/cgroup.subtree_control").read_text().split()
        found["criu"] = node.out("criu", "check")
        found["soft dirty"] = node.out("criu", "check", "--feature", "mem_dirty_track")
        found |= checkpoint(node.docker(images=[recipe.TINY_IMAGE]))
        node.kill()
    found["left"] = [str(path) for path in Path("/sys/fs/cgroup/perdure-lab").glob("*/*")]
    return found


def checkpoint(docker: Docker) -> dict[str, object]:
    """What runc's checkpoint of a Docker container answers, and whether the container goes on."""
    name = docker.cli("run", "--detach", "--network", "none", "--memory", "64m", recipe.TINY_IMAGE, "sh", "-c", COUNTER)

    def counted() -> int:
        return int(docker.node.run(["docker", "exec", name, "cat", "/tmp/count"], check=False).stdout or -1)

    conditions.eventually(lambda: counted() > 0, PATIENCE)
    command = ["runc", "--root", "/run/docker/runtime-runc/moby", "checkpoint", "--image-path", "/image", "--leave-running"]
    docker.node.run([*command, "--manage-cgroups-mode", "soft", name], timeout=PATIENCE)
    before = counted()
    conditions.eventually(lambda: counted() > before, PATIENCE)
    limit = docker.node.path(f"/sys/fs/cgroup/docker/{name}/memory.max").read_text().strip()
    return {"images": sorted(path.name for path in docker.node.path("/image").glob("core-*.img")), "limit": limit}


if __name__ == "__main__":
    print(json.dumps(main()))
