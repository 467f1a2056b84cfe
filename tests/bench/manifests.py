"""Desired-state folders of any size, the same for the same seed. `python -m tests.bench.manifests FOLDER 10000 [SEED]`"""

from __future__ import annotations

import random
import sys
from pathlib import Path

LINES = 40
"""Lines of each manifest."""

_JOB = """\
apiVersion: perdure.dev/v1alpha1
kind: Job
metadata:
  name: {name}
  labels:
    team: {team}
    stage: "{stage}"
spec:
  tenant: {tenant}
  target: machines
  placement:
    labels:
      disk: {disk}
  state: Running
  workload:
    code:
      path: code/{code}
      entrypoint: train.py
    args:
      - --steps
      - "{steps}"
      - --seed
      - "{seed}"
    env:
      MODE: {mode}
  resources:
    cpu: {cpu}
    memory: {memory}
  timeout: {timeout}
  retries:
    failure: {failure}
    preemption: 20
  priority: {priority}
  checkpoint:
    engine: application
    interval: {interval}
    on: [notice, suspend]
    store: main
  drift: observe
  onLost: replace
"""

_INFRASTRUCTURE = """\
apiVersion: perdure.dev/v1alpha1
kind: Target
metadata: {name: machines}
spec: {hosts: {}}
---
apiVersion: perdure.dev/v1alpha1
kind: Store
metadata: {name: main}
spec: {path: {root: /srv/checkpoints}}
"""

CODES = ("prepare", "train", "evaluate")


def job(number: int, chance: random.Random) -> str:
    """Return a valid manifest of LINES lines; `number` makes its name."""
    return _JOB.format(
        name=f"job-{number:05d}",
        team=chance.choice(("vision", "speech", "search", "risk")),
        stage=chance.randrange(10),
        tenant=f"tenant-{chance.randrange(20)}",
        disk=chance.choice(("ssd", "nvme")),
        code=chance.choice(CODES),
        steps=chance.randrange(100, 100_000),
        seed=chance.randrange(2**31),
        mode=chance.choice(("fast", "exact")),
        cpu=chance.choice(("500m", "1", "2", "4")),
        memory=chance.choice(("512Mi", "2Gi", "8Gi")),
        timeout=chance.choice(("30m", "2h", "1d")),
        failure=chance.randrange(6),
        priority=chance.randrange(-10, 10),
        interval=chance.choice(("30s", "5m", "1h", "auto")),
    )


def write(folder: Path, count: int, seed: int = 0) -> None:
    """Write a folder with `count` Jobs, one a file, and all that they name."""
    chance = random.Random(seed)
    for code in CODES:
        (folder / "code" / code).mkdir(parents=True, exist_ok=True)
        (folder / "code" / code / "train.py").write_text("print('done')\n")
    (folder / "jobs").mkdir(exist_ok=True)
    (folder / "infrastructure.yaml").write_text(_INFRASTRUCTURE)
    for number in range(count):
        (folder / "jobs" / f"job-{number:05d}.yaml").write_text(job(number, chance))


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
