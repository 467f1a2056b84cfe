"""A machine that has few programs, for a test that must not take more for granted."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path


def only(folder: Path, names: Iterable[str]) -> Path:
    """Makes `folder`, a PATH on which nothing but these programs of this machine is found; returns it."""
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    for name in names:
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder
