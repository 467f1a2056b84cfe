"""The lab: real nodes, engines, networks and stores on one Linux machine, as root.

    with lab.Lab() as site:                                  # a slot of its own; several labs may run at once
        node = site.node("one")                              # boots in a moment; `node.address`, reachable from here
        node.run(["ip", "address"]).stdout                   # or node.out(…), node.popen(…), node.daemon(argv, log=…)
        node.path("/etc/hostname").read_text()               # its files and unix sockets, from outside
        docker = node.docker({"live-restore": True})         # dockerd with images; docker.cli("run", …), docker.url
        swarm = site.swarm(managers=3, workers=1)            # swarm.leader().cli("service", "create", …)
        site.partition(node); site.heal(node); site.limit_link(node, "100mbit")
        node.kill(); node.start()                            # its disk stays; node.restart() is both
        store = site.store("depot", size="64m", kind="ext4") # /srv/lab/depot in every node; store.fill(), .unmount()

Tests take the fixtures `lab` (one a session), `node`, `docker_node` and `swarm`, and carry the marker `lab`. The checkout, its
`.venv` and the interpreter are in every node at their own paths, read-only: `node.run([sys.executable, "-m", "agent", …])`.
Everything ends with the process that made it, however it ends. `python -m tests.lab` builds what is slow to make.
"""

from __future__ import annotations

from tests.lab.ability import LabUnable
from tests.lab.docker import Containerd, Docker
from tests.lab.lab import Lab
from tests.lab.node import CommandFailed, Daemon, Node
from tests.lab.recipe import BASE_IMAGE, SERVICES_IMAGE, TINY_IMAGE
from tests.lab.stores import Store
from tests.lab.swarm import Swarm

__all__ = [
    "BASE_IMAGE",
    "SERVICES_IMAGE",
    "TINY_IMAGE",
    "CommandFailed",
    "Containerd",
    "Daemon",
    "Docker",
    "Lab",
    "LabUnable",
    "Node",
    "Store",
    "Swarm",
]
