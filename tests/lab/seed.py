"""What a new dockerd starts from: a data directory that has the lab's usual images, by links instead of `docker load`."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.lab import recipe
from tests.lab.cache import Cache
from tests.lab.lab import Lab

PARTS = ("image", "overlay2")
"""What dockerd only ever adds to, or replaces by renaming, so that many may share the files. Its databases are not among it."""


def ensure(cache: Cache) -> Path:
    """Makes the seed where it is missing. Who loses a race throws its own away."""
    if not cache.seed.exists():
        aside = Path(tempfile.mkdtemp(prefix=".seed-", dir=cache.place))
        fill(aside, recipe.USUAL)
        try:
            aside.rename(cache.seed)
        except OSError:
            shutil.rmtree(aside)
    return cache.seed


def fill(folder: Path, images: Sequence[str]) -> None:
    """Makes a seed with these images in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with Lab() as site:
        docker = site.node().docker(images=images)
        docker.stop()
        data = docker.node.path("/var/lib/docker")
        for part in PARTS:
            subprocess.run(["cp", "--archive", str(data / part), str(folder / part)], check=True)
