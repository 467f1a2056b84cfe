"""Runs in a guest whose first process is systemd, on the machine itself: what the guides say, with the units as they are.

Its dockerd is Debian's, so that control groups are of version 2 and made by systemd. Each test goes on where the one before it
has stopped.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import conditions
from tests.lab import recipe
from tests.lab.lab import CHECKOUT

CONFIG = "/etc/perdure/perdure.yaml"
SETTINGS = """
data: /var/lib/perdure/reconciler
source: {repository: "file:///srv/jobs.git", ref: main}
agents: {embedded: false, listen: "127.0.0.1:7443"}
keys: {directory: /etc/perdure/keys}
"""
COUNT = "nonce=$(cat /proc/sys/kernel/random/uuid) n=0; while :; do echo $nonce $n; n=$((n+1)); sleep 0.5; done"
DECLARED = f"""
apiVersion: perdure.dev/v1alpha1
kind: Target
metadata: {{name: machines}}
spec: {{hosts: {{}}}}
---
apiVersion: perdure.dev/v1alpha1
kind: Store
metadata: {{name: main}}
spec: {{path: {{root: /srv/store}}}}
---
apiVersion: perdure.dev/v1alpha1
kind: Job
metadata: {{name: count}}
spec:
  target: machines
  resources: {{cpu: 500m, memory: 64Mi}}
  workload:
    image: {recipe.TINY_IMAGE}
    command: [sh, -c, {json.dumps(COUNT)}]
"""
INSTALLED = f"""
chmod a+x {" ".join(str(above) for above in reversed(Path(sys.base_prefix).parents))} # its interpreter is of everybody
mkdir -p /opt/perdure /var/lib/docker
ln -s {Path(sys.executable).parent} /opt/perdure/bin
ln -s /opt/perdure/bin/perdure /opt/perdure/bin/perdure-agent /usr/local/bin/
useradd --system --home-dir /var/lib/perdure/reconciler --shell /usr/sbin/nologin perdure
install -d -o perdure -g perdure -m 700 /etc/perdure /etc/perdure/keys
install -d -g perdure -m 2770 /srv/store
git init -q --bare -b main /srv/jobs.git
git clone -q /srv/jobs.git /root/jobs
chown -R perdure:perdure /srv/jobs.git
git config --global safe.directory /srv/jobs.git # root pushes there, too
mount --bind /var/cache/perdure/docker /var/lib/docker
cp {CHECKOUT}/manifests/systemd/*.service /etc/systemd/system/
systemctl daemon-reload
systemctl start docker
"""
PUSHED = """
cd /root/jobs
git add . && git -c user.name=n -c user.email=n@lab.invalid commit -qm change
git push -q origin HEAD:main
chown -R perdure:perdure /srv/jobs.git
"""


def sh(script: str, *, check: bool = True) -> str:
    """What a shell script prints, as root."""
    done = subprocess.run(["sh", "-ec", script], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0 or not check, f"{script}\n{done.stdout}"
    return done.stdout.strip()


def perdure(words: str, *, check: bool = True) -> str:
    """What a command of the loop's user prints."""
    command = f"perdure {words} --config {CONFIG}"
    return sh(f"su -s /bin/sh perdure -c {shlex.quote(command)}", check=check)


def run() -> dict[str, Any]:
    """The job's newest run."""
    said = perdure("history count -o json", check=False)
    return dict(json.loads(said)["runs"][-1]) if said.startswith("{") and json.loads(said)["runs"] else {"attempts": []}


def told() -> str:
    """What explains a wait that was in vain."""
    return perdure("why count", check=False) + sh("journalctl --no-pager --lines 40 -u perdure -u perdure-agent -u docker")


def container() -> str:
    """The id of the one container that runs; empty while there is none."""
    return sh("docker ps --quiet --no-trunc")


def counted() -> list[tuple[str, int]]:
    """What the job has printed, over all attempts."""
    found = re.findall(r"([0-9a-f]{8}-[0-9a-f-]{27}) (\d+)$", perdure("logs count", check=False), re.MULTILINE)
    return [(nonce, int(number)) for nonce, number in found]


def counts_on() -> list[tuple[str, int]]:
    """Waits until it counts."""
    before = len(counted())
    conditions.eventually(lambda: len(counted()) > before + 2, message=told)
    return counted()


def confined(identity: str) -> None:
    """It is in the scope that systemd has made for it, and its limits hold there."""
    (pid,) = sh(f"docker inspect --format '{{{{.State.Pid}}}}' {identity}").split()
    scope = f"/system.slice/docker-{identity}.scope"
    assert Path(f"/proc/{pid}/cgroup").read_text().strip() == f"0::{scope}"
    limits = {name: Path(f"/sys/fs/cgroup{scope}/{name}").read_text().strip() for name in ("memory.max", "cpu.max")}
    assert limits == {"memory.max": str(64 << 20), "cpu.max": "50000 100000"}
    shown = sh(f"systemctl show docker-{identity}.scope --property ActiveState,MemoryMax")
    assert set(shown.split()) == {"ActiveState=active", f"MemoryMax={64 << 20}"}


@pytest.fixture(scope="module", autouse=True)
def machine() -> None:
    """Installed as docs/how-to/run-as-a-service.md, add-a-host.md and prepare-a-host.md say."""
    sh(INSTALLED)
    Path(CONFIG).write_text(SETTINGS)
    sh("systemctl enable --now perdure")
    join = f"su -s /bin/sh perdure -c 'perdure token create here --config {CONFIG}' | perdure-agent join --name here -"
    conditions.eventually(lambda: "has joined" in sh(join, check=False), interval=2, message=told)
    sh("perdure-agent install")
    sh("systemctl enable --now perdure-agent")


def test_the_guides_make_a_host() -> None:
    assert sh("docker info --format '{{.CgroupVersion}} {{.CgroupDriver}} {{.DefaultRuntime}}'") == "2 systemd perdure"
    conditions.eventually(
        lambda: "FAIL" not in sh("perdure doctor --host", check=False), message=lambda: sh("perdure doctor --host")
    )
    sh("perdure doctor --host")


def test_a_container_runs_in_the_scope_of_systemd() -> None:
    Path("/root/jobs/all.yaml").write_text(DECLARED)
    sh(PUSHED)
    conditions.eventually(container, message=told)
    counts_on()
    confined(container())


def test_suspended_and_resumed_it_goes_on_in_a_scope_of_its_own() -> None:
    first = container()
    perdure("suspend count --reason test")
    conditions.eventually(lambda: not container(), message=told)
    conditions.eventually(lambda: run().get("phase") == "suspended", message=told)
    perdure("resume count")
    conditions.eventually(container, message=told)
    assert container() != first
    counts_on()
    confined(container())


def test_a_new_start_of_the_agent_leaves_it_alone() -> None:
    before = container()
    sh("systemctl restart perdure-agent")
    counts_on()
    assert container() == before


def test_a_new_start_of_dockerd_saves_it_first() -> None:
    before, attempts = container(), len(run()["attempts"])
    sh("systemctl restart docker")
    conditions.eventually(lambda: container() not in ("", before), message=told)
    counts_on()
    confined(container())
    assert len(run()["attempts"]) == attempts + 1


def test_it_is_one_process_that_has_counted() -> None:
    lines = counted()
    assert lines == [(lines[0][0], number) for number in range(len(lines))]
